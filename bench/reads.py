"""Random batches of tokens: mapped contiguous parts against fancy indexing on chunked HDF5."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bench.row import Row, median_seconds
from cache import shards
from cache.features import PART_NAME, FeatureCache, Part, file_names, finish, write_part

PARTS, ROWS, PATCHES, WIDTH, BATCH, BATCHES = 4, 512, 49, 512, 256, 4
PROMISED = 50.0
Tokens = npt.NDArray[np.float16]


def build_cache(folder: Path, tokens: Tokens) -> FeatureCache:
    """A feature cache of the tokens, in parts, as extract writes it."""
    shards.begin(folder, {"rows": "image"}, file_names(PARTS))
    for i, values in enumerate(np.split(tokens, PARTS)):
        finished = shards.temporary(folder)
        write_part(finished, part_of(i, values))
        shards.record(folder, finished, PART_NAME(i), len(values))
    finish(folder)
    return FeatureCache.open(folder)


def part_of(number: int, values: Tokens) -> Part:
    """A part around some tokens."""
    n = len(values)
    return Part(
        ids=[f"{number}-{i}" for i in range(n)],
        captions=np.zeros(n, np.int32),
        n_tokens=np.full(n, PATCHES, np.int32),
        truncated=np.zeros(n, np.bool_),
        tokens=values,
        offsets=None,
        pooled=np.zeros((n, WIDTH), np.float32),
        pooled_raw=None,
    )


def draw_batches(seed: int) -> list[npt.NDArray[np.int64]]:
    """Rows without repetition, sorted: h5py accepts no others."""
    rng = np.random.default_rng(seed)
    return [np.sort(rng.permutation(PARTS * ROWS)[:BATCH]) for _ in range(BATCHES)]


def compare(name: str, opened: FeatureCache, dataset: Any, against: str) -> Row:
    """Seconds for the same batches both ways, the bytes compared first."""
    batches = draw_batches(0)
    np.testing.assert_array_equal(opened.tokens(batches[0]), dataset[batches[0]])
    ours = median_seconds(lambda: [opened.tokens(rows) for rows in batches])
    theirs = median_seconds(lambda: [dataset[rows] for rows in batches], repeats=3)
    gigabytes = BATCHES * BATCH * PATCHES * WIDTH * 2 / 1e9
    note = f"{gigabytes / ours:.1f} GB/s against {gigabytes / theirs:.2f} GB/s, file cache warm"
    return Row(name, ours, theirs, theirs / ours, PROMISED, against, note=note)


def rows() -> list[Row]:
    """Batches of 256 of 2,048 images of 49 x 512 float16 tokens, against two ways of chunking."""
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((PARTS * ROWS, PATCHES, WIDTH), np.float32).astype(np.float16)
    with tempfile.TemporaryDirectory() as place, h5py.File(Path(place) / "chunked.h5", "w") as file:
        opened = build_cache(Path(place) / "features" / "bench", tokens)
        chosen = file.create_dataset("chosen", data=tokens, chunks=True, maxshape=(None, PATCHES, WIDTH))
        by_row = file.create_dataset("by_row", data=tokens, chunks=(1, PATCHES, WIDTH))
        return [
            compare("random batches", opened, chosen, f"h5py, its own chunks {chosen.chunks}"),
            compare("random batches, chunks made for it", opened, by_row, "h5py, a chunk an image"),
        ]
