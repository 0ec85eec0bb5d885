"""What stage two works on: the pairs of a dataset, with their vectors and class names, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cache import shards
from cache.errors import DamagedError, MissingError, counted
from cache.features import FeatureCache, RowKind
from cache.features import Modality as Modality  # given on: stage two knows items, not caches
from cache.manifest import Manifest, read_manifest
from cache.mixtures import MixtureRows, read_mixture
from cache.store import Ledger, folder_of, read_ledger
from stages.tokens import Responsibilities, Tokens, open_tokens, read_tokens

MODALITIES: tuple[Modality, Modality] = ("image", "text")
KINDS: tuple[RowKind, ...] = (*MODALITIES, "name")
Space = Literal["joint", "raw"]  # where both modalities are comparable; each tower's own
Array = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Captions:
    """Every caption of N items, those of an item side by side: pooled (T, d) float32 and pooled_raw (T, D0) float32 or
    None, as in Items; counts (N,) int64, how many an item has, at least one."""

    pooled: Array
    pooled_raw: Array | None
    counts: Rows

    def take(self, rows: Rows) -> Captions:
        """The captions of some items, in that order."""
        counts = self.counts[rows]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = np.repeat(self._starts[rows], counts) + within
        raw = None if self.pooled_raw is None else self.pooled_raw[chosen]
        return Captions(self.pooled[chosen], raw, counts)

    def mean(self, values: Array) -> Array:
        """The mean over each item's captions of what belongs to them, (T, d) -> (N, d) float32."""
        return np.asarray(np.add.reduceat(values, self._starts) / self.counts[:, None], dtype=np.float32)

    @property
    def _starts(self) -> Rows:
        return np.cumsum(self.counts) - self.counts


@dataclass(frozen=True)
class Items:
    """N pairs that both towers could read, in manifest order.

    pooled[m] (N, d_m) float32, as the encoder gave it, not normalised; pooled_raw[m] (N, D0_m) float32 or None.
    views[m] (N, K, D_m), weights[m] (N, K) float32 and live[m] (N, K) bool, None where no mixture was asked for.
    names[space]: class name -> (D,) float32, the mean over the templates of the text tower's vectors: `joint` as in
    pooled (of unit vectors where aligned), `raw` as in pooled_raw, where there are such. encoder: its label.
    keys: what all this was read from ("image", "text", "name" and, with views, "mixtures").
    captions: every caption by itself, None where nobody asked for them. tokens[m]: those of the N items, or None, and
    responsibilities[m], with views, which of these belong to which."""

    ids: list[str]
    labels: list[tuple[str, ...]]
    aligned: bool
    encoder: str
    pooled: dict[Modality, Array]
    pooled_raw: dict[Modality, Array] | None
    views: dict[Modality, Array] | None
    weights: dict[Modality, Array] | None
    live: dict[Modality, NDArray[np.bool_]] | None
    names: dict[Space, dict[str, Array]]
    keys: dict[str, str]
    captions: Captions | None = None
    tokens: dict[Modality, Tokens] | None = None
    responsibilities: dict[Modality, Responsibilities] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Rows | Sequence[int]) -> Items:
        """The items of some rows, in that order; class names and keys stay."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            ids=[self.ids[row] for row in chosen],
            labels=[self.labels[row] for row in chosen],
            pooled={m: values[chosen] for m, values in self.pooled.items()},
            pooled_raw=_taken(self.pooled_raw, chosen),
            views=_taken(self.views, chosen),
            weights=_taken(self.weights, chosen),
            live=None if self.live is None else {m: values[chosen] for m, values in self.live.items()},
            captions=None if self.captions is None else self.captions.take(chosen),
            tokens=None if self.tokens is None else {m: own.take(chosen) for m, own in self.tokens.items()},
            responsibilities=None
            if self.responsibilities is None
            else {m: own.take(chosen) for m, own in self.responsibilities.items()},
        )

    def rows_of(self, ids: Sequence[str]) -> Rows:
        """The row of each id, (n,) int64; MissingError names the first id that is not here."""
        place = {name: row for row, name in enumerate(self.ids)}
        lost = [name for name in ids if name not in place]
        if lost:
            some = f"{len(lost)} of {len(ids)} ids of the episodes {'has' if len(lost) == 1 else 'have'} no features"
            raise MissingError(f"{lost[0]}: {some}; run 'split' again")
        return np.array([place[name] for name in ids], dtype=np.int64)


def _taken(values: dict[Modality, Array] | None, rows: Rows) -> dict[Modality, Array] | None:
    return None if values is None else {m: array[rows] for m, array in values.items()}


def common_ids(manifest: Manifest, image_cache: FeatureCache, text_cache: FeatureCache) -> list[str]:
    """The ids whose picture and text were both readable, in manifest order."""
    both = set(image_cache.ids) & set(text_cache.ids)
    return [name for name in manifest.ids if name in both]


def open_features(store: Path, ledger: Ledger, rows: RowKind) -> FeatureCache:
    """The cache of pictures, texts or class names that a features ledger names; errors as of FeatureCache.open."""
    return FeatureCache.open(folder_of(store, "features", ledger.find(rows=rows).key))


def captions_read(captions: str) -> Literal["all", "first"]:
    """Which captions of an item are read, for keys: `first` and `join` both read its first row of text."""
    return "all" if captions == "mean" else "first"


def image_rows(image_cache: FeatureCache, ids: Sequence[str]) -> list[Rows]:
    """The one row of the image cache that is each id's picture. Every id must be in the cache (see common_ids)."""
    place = {name: row for row, name in enumerate(image_cache.ids)}
    return [np.array([place[name]], dtype=np.int64) for name in ids]


def caption_rows(text_cache: FeatureCache, ids: Sequence[str], captions: str) -> list[Rows]:
    """The rows of the text cache that make up each id's text: with captions = `mean` all of its captions, in
    their order, else the first that could be read alone. Every id must be in the cache (see common_ids)."""
    found: dict[str, list[tuple[int, int]]] = {}
    for row, (name, caption) in enumerate(zip(text_cache.ids, _captions(text_cache), strict=True)):
        found.setdefault(name, []).append((caption, row))
    rows = [[row for _, row in sorted(found[name])] for name in ids]
    return [np.array(own if captions_read(captions) == "all" else own[:1], dtype=np.int64) for own in rows]


def unit(values: Array) -> Array:
    """Vectors along the last axis at length 1; a zero vector stays zero."""
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1), dtype=np.float32)


def load_items(
    store: Path, manifest: Path, features: Path, mixtures: Path | None, captions: str, apart: bool = False
) -> Items:
    """Read all common items of a dataset: pooled vectors, class names and, given a mixtures ledger, views; of their
    tokens, how many there are.

    With captions = `mean` a text's pooled vector is the mean of its captions'. apart: every caption is kept by itself,
    too, whatever `captions` says. MissingError and DamagedError
    name the file that is wrong and the command that renews it, DamagedError also the first item whose vector is not
    finite; a zero vector is let through, and is unlike everything."""
    pairs, ledger = read_manifest(manifest), read_ledger(features)
    caches = {kind: open_features(store, ledger, kind) for kind in KINDS}
    ids = common_ids(pairs, caches["image"], caches["text"])
    rows: dict[Modality, list[Rows]] = {
        "image": image_rows(caches["image"], ids),
        "text": caption_rows(caches["text"], ids, captions),
    }
    known = dict(zip(pairs.ids, pairs.labels, strict=True))
    mixed = None if mixtures is None else _mixtures(store, read_ledger(mixtures), len(ids))
    pooled, raw = {m: _mean_rows(caches[m].pooled(), rows[m]) for m in MODALITIES}, _raw(caches, rows)
    _require_finite(ids, pooled, caches)
    _require_finite(ids, raw or {}, caches)
    told = _captions_apart(caches["text"], ids) if apart else None
    return Items(
        ids=ids,
        labels=[tuple(known[name]) for name in ids],
        aligned=bool(ledger.about["aligned"]),
        encoder=str(ledger.about["label"]),
        pooled=pooled,
        pooled_raw=raw,
        views=None if mixed is None else {m: np.asarray(mixed[m].views, np.float32) for m in MODALITIES},
        weights=None if mixed is None else {m: np.asarray(mixed[m].weights, np.float32) for m in MODALITIES},
        live=None if mixed is None else {m: np.asarray(mixed[m].live, np.bool_) for m in MODALITIES},
        names=_names(caches["name"], bool(ledger.about["aligned"])),
        keys=_keys(ledger, mixtures),
        captions=told,
        tokens={m: open_tokens(m, caches[m], rows[m]) for m in MODALITIES},
        responsibilities=None if mixed is None else {m: _responsibilities(mixed[m]) for m in MODALITIES},
    )


def _captions(cache: FeatureCache) -> list[int]:
    return [int(number) for number in cache.columns(["caption"])["caption"].to_pylist()]


def _mean_rows(values: Array, rows: Sequence[Rows]) -> Array:
    if all(len(own) == 1 for own in rows):
        return np.asarray(values[[own[0] for own in rows]], dtype=np.float32)
    return np.stack([np.asarray(values[own], dtype=np.float32).mean(axis=0) for own in rows])


def _raw(caches: dict[RowKind, FeatureCache], rows: dict[Modality, list[Rows]]) -> dict[Modality, Array] | None:
    raw = {m: caches[m].pooled_raw() for m in MODALITIES}
    kept = {m: _mean_rows(values, rows[m]) for m, values in raw.items() if values is not None}
    return kept if len(kept) == len(MODALITIES) else None


def _captions_apart(cache: FeatureCache, ids: Sequence[str]) -> Captions:
    rows = caption_rows(cache, ids, "mean")
    chosen, raw = np.concatenate(rows), cache.pooled_raw()
    pooled = np.asarray(cache.pooled()[chosen], np.float32)
    kept = None if raw is None else np.asarray(raw[chosen], np.float32)
    found = Captions(pooled, kept, np.array([len(own) for own in rows], np.int64))
    owners = [name for name, own in zip(ids, rows, strict=True) for _ in own]
    for values in (found.pooled, found.pooled_raw):
        _require_finite(owners, {} if values is None else {"text": values}, {"text": cache})
    return found


def _require_finite(ids: Sequence[str], values: dict[Modality, Array], caches: Mapping[RowKind, FeatureCache]) -> None:
    """DamagedError, naming the first item, for what is no finite number: it was flipped on disk, where a file is not as
    recorded, or the encoder gave it."""
    for modality, vectors in values.items():
        wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(wrong):
            cache, others = caches[modality], len({ids[int(row)] for row in wrong}) - 1
            shards.require_sound(cache.path)  # else says so, with the command that mends it
            also = f" (and those of {counted(others, 'more item')})" if others else ""
            raise DamagedError(
                f"features/{cache.path.name}: the {modality} vector of '{ids[wrong[0]]}'{also} is not finite;"
                f" {_remedy(cache)}leave the item out of the data set"
            )


def _remedy(cache: FeatureCache) -> str:
    """What else may help against vectors that an encoder gave: nothing where it was as exact as it can be."""
    exact = cache.about["content"].get("precision") == "fp32"
    return "" if exact else "set extract.precision to fp32 and run 'extract' again, or "


def _names(cache: FeatureCache, aligned: bool) -> dict[Space, dict[str, Array]]:
    """The class names in both spaces; joint vectors count by their direction alone, a tower's own as they are."""
    pooled, raw = cache.pooled(), cache.pooled_raw()
    names: dict[Space, dict[str, Array]] = {"joint": _by_class(cache.ids, unit(pooled) if aligned else pooled)}
    if raw is not None:
        names["raw"] = _by_class(cache.ids, raw)
    return names


def _by_class(ids: Sequence[str], values: Array) -> dict[str, Array]:
    classes = np.array(ids)
    return {str(name): np.asarray(values[classes == name]).mean(axis=0) for name in np.unique(classes)}


def _mixtures(store: Path, ledger: Ledger, count: int) -> dict[Modality, MixtureRows]:
    key = ledger.keys[0].key
    mixed = {m: read_mixture(folder_of(store, "mixtures", key), m) for m in MODALITIES}
    for modality, rows in mixed.items():
        if len(rows.views) != count:
            raise DamagedError(
                f"mixtures/{key}: {len(rows.views)} {modality} rows for {count} items; run 'mixture' again"
            )
    return mixed


def _responsibilities(rows: MixtureRows) -> Responsibilities:
    return Responsibilities(rows.responsibilities, rows.offsets[:-1], np.diff(rows.offsets))


def _keys(features: Ledger, mixtures: Path | None) -> dict[str, str]:
    keys: dict[str, str] = {kind: features.find(rows=kind).key for kind in KINDS}
    return keys if mixtures is None else {**keys, "mixtures": read_ledger(mixtures).keys[0].key}


def has_tower_vectors(items: Items) -> bool:
    """Whether each tower's own vectors are at hand: imported features of a shared space may come without."""
    return not items.aligned or items.pooled_raw is not None


def has_joint_tokens(items: Items, modality: Modality) -> bool:
    """Whether tokens are at hand that lie where the pooled vectors do.

    Widths may agree by chance, so what the cache says of its tokens counts as well."""
    source = (items.tokens or {}).get(modality)
    if source is None or source.pooled is not None:
        return False
    if items.aligned and source.cache.about["content"].get("tokens") == "raw":
        return False
    return not len(source) or read_tokens(source, np.array([0]))[0].shape[2] == items.pooled[modality].shape[1]


def require_sound(store: Path, items: Items) -> None:
    """Read every byte that some items were read from; DamagedError where one is not what its record says."""
    for rows, key in items.keys.items():
        shards.require_sound(folder_of(store, "mixtures" if rows == "mixtures" else "features", key))
