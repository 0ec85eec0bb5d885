"""Manifest + encoder -> the caches of pictures, captions and class names, and the ledger that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache import store
from cache.features import RowKind
from cache.manifest import Manifest, read_manifest
from cache.store import Ledger
from stages.crew import register_ray
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.fill import Job, fill
from stages.extract.imported import Imported, open_imported
from stages.extract.params import ExtractParams
from stages.extract.plan import Row, cache_content, rows_digest, rows_of


def run(params: ExtractParams) -> None:
    """Fill what is missing of the three caches of a dataset and write the ledger; raises UserErrors of one line."""
    if params.section.backend == "ray":
        register_ray("extract")
    manifest = read_manifest(params.manifest)
    choice = choose(params)
    rows = rows_of(manifest, params.section.templates)
    sources = encoders(params, manifest, choice)
    jobs = [plan(params, manifest, choice, sources[kind], kind, some) for kind, some in rows.items()]
    keys = tuple(fill(job) for job in jobs)
    said = about(params, manifest, sources["image"])
    store.write_ledger(params.ledger, Ledger("features", params.made_from, said, keys))


def encoders(params: ExtractParams, manifest: Manifest, choice: EncoderChoice) -> Mapping[RowKind, Encoder | Imported]:
    """What makes each kind of rows: one encoder all of them, or the vectors that others made of them."""
    if params.features is not None:
        return open_imported(params, manifest)
    encoder = load_encoder(choice)
    return dict.fromkeys(("image", "text", "name"), encoder)


def choose(params: ExtractParams) -> EncoderChoice:
    """The encoder that the parameters ask for; its files are found from home."""
    section = params.section
    files = [params.home / Path(path).expanduser() if path else None for path in (section.weights, section.heads)]
    return EncoderChoice(
        encoder=params.encoder,
        weights=files[0],
        heads=files[1],
        device=section.device,
        precision=section.precision,
        home=params.home,
        allow_pickle=section.allow_pickle,
    )


def about(params: ExtractParams, manifest: Manifest, encoder: Encoder | Imported) -> dict[str, Any]:
    """What the ledger says of all its caches."""
    return {
        "dataset": manifest.name,
        "manifest": manifest.digest,
        "captions": max(map(len, manifest.texts), default=0),
        "encoder": encoder.name,
        "label": params.label,
        "aligned": encoder.aligned,
    }


def plan(
    params: ExtractParams,
    manifest: Manifest,
    choice: EncoderChoice,
    encoder: Encoder | Imported,
    kind: RowKind,
    rows: Sequence[Row],
) -> Job:
    """Name one of the three caches by all that decides its numbers."""
    section = params.section
    tokens = encoder.kind_of(section.tokens)
    if isinstance(encoder, Imported):
        rows, told = encoder.rows_of(rows), encoder.about(tokens, section.storage)
    else:
        told = encoder_about(encoder, kind)
    content = cache_content(kind, rows_digest(rows), told, section.storage, tokens)
    return Job(
        name=f"{manifest.name} {kind}s",
        kind=kind,
        rows=rows,
        root=params.home / manifest.root if kind == "image" else None,
        encoder=encoder,
        choice=choice,
        section=section,
        tokens=tokens,
        content=content,
        store=params.store,
        key=store.make_key("features", content),
        wait=params.wait_for_lock,
    )


def encoder_about(encoder: Encoder, kind: RowKind) -> dict[str, Any]:
    """What of an encoder decides the numbers of its rows."""
    own = {"preprocess": encoder.preprocess_about} if kind == "image" else {"tokenizer": encoder.tokenizer_about}
    return {
        "encoder": encoder.name,
        "weights": encoder.digest,
        **({"architecture": encoder.architecture} if encoder.architecture else {}),
        "aligned": encoder.aligned,
        "precision": encoder.precision,
        "device": encoder.device.type,
        **own,
    }
