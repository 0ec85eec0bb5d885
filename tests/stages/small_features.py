"""A dataset whose features are given as arrays: a manifest and a store with an image and a text cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache import shards
from cache.features import PART_NAME, Part, RowKind, file_names, finish, write_part
from cache.hdf5 import Array
from cache.manifest import Manifest, write_manifest
from cache.store import Ledger, LedgerKey, folder_of, make_key, write_ledger


@dataclass(frozen=True)
class Place:
    """Where a small dataset lies."""

    store: Path
    manifest: Path
    features: Path
    ids: list[str]


def place(
    folder: Path,
    ids: list[str],
    images: Array,
    texts: Sequence[Sequence[Array]],
    labels: list[list[str]],
    splits: list[str | None] | None = None,
    lost: Sequence[str] = (),
    tokens: bool = True,
    told: dict[str, object] | None = None,
) -> Place:
    """Write everything: images (N, P, D), texts an item's captions, each (T, D); ids in `lost` have no picture.
    told: what else the caches say of their content.

    The caches' rows stand in another order than the manifest's: nobody may rely on it."""
    here = Place(folder / "store", folder / "pairs.parquet", folder / "features.json", ids)
    n = len(ids)
    names = [f"{name}.png" for name in ids]
    manifest = Manifest("small", ".", ids, names, [["t"]] * n, labels, splits or [None] * n, [1] * n, ["0" * 32] * n)
    write_manifest(here.manifest, manifest, "test")
    order = [row for row in reversed(range(n)) if ids[row] not in lost]
    image = _part([ids[row] for row in order], [0] * len(order), [images[row] for row in order], tokens, dense=True)
    captions = [(row, c) for row in reversed(range(n)) for c in range(len(texts[row]))]
    text = _part([ids[r] for r, _ in captions], [c for _, c in captions], [texts[r][c] for r, c in captions], tokens)
    keys = [_write(here.store, "image", image, told or {}), _write(here.store, "text", text, told or {})]
    write_ledger(here.features, Ledger("features", "test", {"dataset": "small", "label": "tiny"}, tuple(keys)))
    return here


def _part(ids: list[str], captions: list[int], tokens: list[Array], kept: bool, dense: bool = False) -> Part:
    lengths = [len(own) for own in tokens]
    offsets = None if dense or not kept else np.cumsum([0, *lengths], dtype=np.int64)
    values = np.stack(tokens) if dense else np.concatenate(tokens)
    return Part(
        ids=ids,
        captions=np.array(captions, np.int32),
        n_tokens=np.array(lengths, np.int32),
        truncated=np.zeros(len(ids), np.bool_),
        tokens=values.astype(np.float16) if kept else None,
        offsets=offsets,
        pooled=np.stack([own.sum(0) / max(1, len(own)) for own in tokens]).astype(np.float32),
        pooled_raw=None,
    )


def _write(store: Path, rows: RowKind, part: Part, told: dict[str, object]) -> LedgerKey:
    content = {"rows": rows, "tokens": part.tokens is not None, **told}
    folder = folder_of(store, "features", make_key("features", content))
    shards.begin(folder, {"rows": rows, "content": content}, file_names(1))
    finished = shards.temporary(folder)
    write_part(finished, part)
    shards.record(folder, finished, PART_NAME(0), len(part.ids))
    finish(folder)
    return LedgerKey("features", folder.name, shards.folder_digest(folder), {"rows": rows})
