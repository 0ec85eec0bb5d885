"""Mixture: tokens -> K component views an item, fitted once and kept in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cache import shards
from cache.files import digest_of
from cache.manifest import read_manifest
from cache.mixtures import FILES, read_mixture, write_mixture
from cache.store import Ledger, LedgerKey, folder_of, lock, make_key, read_ledger, write_ledger
from stages.items import MODALITIES, caption_rows, captions_read, common_ids, image_rows, open_features
from stages.mixture.diagnose import diagnose, warning
from stages.mixture.fit import fit_items
from stages.mixture.params import MixtureParams
from stages.progress import reporter
from stages.tokens import Tokens, check_tokens, open_tokens


def run(params: MixtureParams) -> None:
    """Fit what the store lacks, say what came of it, and write the ledger."""
    features = read_ledger(params.features)
    ids, sources = _sources(params, features)
    components = _components(params, sources)
    check_tokens(sources, ids, components)
    content = _content(params, features, ids, components)
    folder = folder_of(params.store, "mixtures", make_key("mixtures", content))
    if not shards.is_whole(folder):
        for source in sources:
            shards.require_sound(source.cache.path)
        with lock(params.store, "mixtures", folder.name, params.wait_for_lock, reporter().say):
            shards.begin(folder, {"content": content}, FILES)
            _fill(folder, params, sources, ids, components)
    figures = _diagnostics(folder, sources)
    _write(params, features, folder, components, figures)


def _sources(params: MixtureParams, features: Ledger) -> tuple[list[str], list[Tokens]]:
    image, text = (open_features(params.store, features, rows) for rows in MODALITIES)
    ids = common_ids(read_manifest(params.manifest), image, text)
    captions = caption_rows(text, ids, params.captions)
    return ids, [open_tokens("image", image, image_rows(image, ids)), open_tokens("text", text, captions)]


def _components(params: MixtureParams, sources: list[Tokens]) -> int:
    """K, or 1 where the caches hold no tokens: then an item's one view is its pooled vector."""
    if all(source.cache.has_tokens for source in sources):
        return params.section.components
    if params.section.components > 1:
        reporter().say("mixture: the caches hold no tokens, so K is 1 and an item's one view is its pooled vector")
    return 1


def _content(params: MixtureParams, features: Ledger, ids: list[str], components: int) -> dict[str, Any]:
    """All that decides the numbers."""
    return {
        **{rows: features.find(rows=rows).key for rows in MODALITIES},
        "ids": digest_of(ids),
        "captions": captions_read(params.captions),
        "params": {**params.section.model_dump(), "components": components},
    }


def _fill(folder: Path, params: MixtureParams, sources: list[Tokens], ids: list[str], components: int) -> None:
    missing = shards.unfinished(folder)
    for source in sources:
        name = f"{source.modality}.h5"
        if name in missing:
            rows = fit_items(source, ids, params.section, components)
            finished = shards.temporary(folder)
            write_mixture(finished, rows)
            shards.record(folder, finished, name, len(ids))


def _diagnostics(folder: Path, sources: list[Tokens]) -> dict[str, dict[str, Any]]:
    """The figures of both modalities, read back from the store: a rerun says the same as the first run."""
    figures: dict[str, dict[str, Any]] = {
        source.modality: diagnose(read_mixture(folder, source.modality)) for source in sources
    }
    for modality, found in figures.items():
        if line := warning(modality, found):
            reporter().warn(line)
    return figures


def _write(
    params: MixtureParams,
    features: Ledger,
    folder: Path,
    components: int,
    figures: dict[str, dict[str, Any]],
) -> None:
    about: dict[str, Any] = {
        "components": components,
        "covariance": params.section.covariance,
        "groups": params.section.groups,
    }
    known = {**about, "diagnostics": figures}
    key = LedgerKey("mixtures", folder.name, shards.folder_digest(folder), known)
    named: dict[str, Any] = {name: features.about[name] for name in ("dataset", "label") if name in features.about}
    write_ledger(params.ledger, Ledger("mixtures", params.made_from, {**named, **about}, (key,)))
