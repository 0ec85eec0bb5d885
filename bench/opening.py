"""Opening a feature cache of a million rows: seconds, and memory beyond the index columns that were asked for."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.row import Row, within
from cache import hdf5, shards
from cache.features import FAILED, INDEX, PART_NAME, FeatureCache, file_names
from cache.files import write_table
from cache.shards import ShardLine
from cache.store import folder_of, make_key

ROWS, PATCHES, WIDTH = 1_000_000, 50, 512
ROWS_A_PART = {1024: "977 parts", 100: "10,000 parts"}
COLUMNS = ["id", "part", "row"]
SECONDS, MEGABYTES = 1.0, 100.0
ROUNDS = 3


def rows() -> list[Row]:
    """A cache of a million pictures cut as by default, and one cut into ten thousand parts; files are sparse."""
    return [row for per_part, parts in ROWS_A_PART.items() for row in _opened(per_part, parts)]


def _opened(per_part: int, parts: str) -> list[Row]:
    with tempfile.TemporaryDirectory() as store:
        folder = make_sparse(Path(store), ROWS, per_part, PATCHES, WIDTH)
        told = [_in_a_child(folder) for _ in range(ROUNDS)]
    seconds, megabytes = (min(round_[key] for round_ in told) for key in ("seconds", "megabytes"))
    note = f"{told[0]['rows']} rows in {parts}, in a fresh process; asked for: {', '.join(COLUMNS)}"
    return [
        within(f"opening, {parts}", seconds, SECONDS, note),
        within(
            f"memory of opening, {parts}",
            megabytes,
            MEGABYTES,
            f"resident, beyond the {told[0]['asked']:.0f} MB of the columns asked for",
            "MB",
        ),
    ]


def make_sparse(store: Path, rows: int, per_part: int, patches: int, width: int) -> Path:
    """A whole cache of pictures whose parts are holes: sizes are as recorded, digests are made up. Its folder."""
    content = {"rows": "image", "made": "sparse"}
    folder = folder_of(store, "features", make_key("features", content))
    sizes = [min(per_part, rows - first) for first in range(0, rows, per_part)]
    shards.begin(folder, {"rows": "image", "content": content}, file_names(len(sizes)))
    for i, size in enumerate(sizes):
        hdf5._lay_out(folder / PART_NAME(i), _shapes(size, patches, width))  # room for the arrays, and nothing in it
    _write_tables(folder, rows, per_part)
    made = [ShardLine(name, 0, (folder / name).stat().st_size, "0" * 32) for name in file_names(len(sizes))]
    shards._write_record(folder, {**shards.recorded(folder), **{line.name: line for line in made}})
    return folder


def _shapes(n: int, patches: int, width: int) -> dict[str, hdf5.Array]:
    """The arrays of a part by dtype and shape alone."""
    like = {
        "id": ((n,), np.dtype("S16")),
        "caption": ((n,), np.dtype(np.int32)),
        "n_tokens": ((n,), np.dtype(np.int32)),
        "truncated": ((n,), np.dtype(np.bool_)),
        "pooled": ((n, width), np.dtype(np.float32)),
        "tokens": ((n, patches, width), np.dtype(np.float16)),
    }
    return {name: np.broadcast_to(np.zeros((), dtype), shape) for name, (shape, dtype) in like.items()}


def _write_tables(folder: Path, rows: int, per_part: int) -> None:
    numbers = np.arange(rows, dtype=np.int32)
    columns = {
        "id": pa.array([f"{i:016x}" for i in range(rows)]),
        "caption": np.zeros(rows, np.int32),
        "n_tokens": np.full(rows, PATCHES, np.int32),
        "truncated": np.zeros(rows, np.bool_),
        "part": numbers // per_part,
        "row": numbers % per_part,
    }
    write_table(folder / INDEX, pa.table(columns), {"format": str(shards.FORMAT)})
    nothing = pa.table({name: pa.array([], pa.string()) for name in ("id", "path", "error", "message")})
    write_table(folder / FAILED, nothing, {"format": str(shards.FORMAT)})


def _in_a_child(folder: Path) -> dict[str, float]:
    """What a fresh process says: rows, seconds, megabytes beyond the columns, megabytes of those."""
    command = [sys.executable, "-m", "bench.opening", str(folder)]
    said: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return said


def _measure(folder: Path) -> dict[str, float]:
    before, begin = _resident(), time.perf_counter()
    opened = FeatureCache.open(folder)
    columns = opened.columns(COLUMNS)
    seconds = time.perf_counter() - begin
    beyond = _resident() - before - columns.nbytes
    return {"rows": len(opened), "seconds": seconds, "megabytes": beyond / 1e6, "asked": columns.nbytes / 1e6}


def _resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]))))
