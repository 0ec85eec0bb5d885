"""What grows with the number of rows and parts: memory of the plan and of a part that is written, bytes of the index,
the time of one record."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.row import seconds
from cache import shards
from cache.features import INDEX, PART_NAME, file_names
from cache.files import digest_file, write_table
from cache.manifest import Manifest
from cache.shards import ShardLine
from stages.extract import shard
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoded, Encoder, load_encoder
from stages.extract.plan import Row, rows_digest, rows_of
from stages.extract.shard import Piece, Task, Times

PARTS = (1_000, 10_000)
PAIRS = 20_000
INDEX_ROWS = 1_000_000
HASHED = 1 << 28  # bytes
ROUNDS = 5
SHARDS = (256, 1024)  # rows of a small shard and of a large one
BATCH = 64
CAPTION = "a brown dog runs across the wet grass behind a small red ball"


def measure() -> dict[str, float]:
    """Bytes and seconds a part, a row, a pair: see the names."""
    with tempfile.TemporaryDirectory() as name:
        few, many = (_recording(Path(name) / "features" / str(parts), parts) for parts in PARTS)
        each = (many["seconds"] - few["seconds"]) / (PARTS[1] - PARTS[0])
        return {
            "record_seconds": max(few["seconds"] - each * PARTS[0], 0.0),
            "record_seconds_a_part": each,
            "line_bytes": many["bytes"] / PARTS[1],
            "about_bytes_a_part": many["about"] / PARTS[1],
            "index_bytes_a_row": _index_bytes(Path(name)) / INDEX_ROWS,
            "digest_bytes_a_second": _digest_rate(Path(name)),
            "writing_bytes_a_byte": writing_bytes_a_byte(Path(name), SHARDS),
            **_plan_bytes(),
        }


def _recording(folder: Path, parts: int) -> dict[str, float]:
    """Seconds to record one more small file where so many parts are recorded, and the bytes of the two files that
    grow with them."""
    shards.begin(folder, {"rows": "image"}, file_names(parts))
    lines = [ShardLine(PART_NAME(i), 1024, 50_000_000 + i, f"{i:032x}") for i in range(parts)]
    shards._write_record(folder, {**shards.recorded(folder), **{line.name: line for line in lines}})

    def record() -> None:
        finished = shards.temporary(folder)
        finished.write_bytes(b"part")
        shards.record(folder, finished, PART_NAME(0), 1)

    best = min(seconds(record) for _ in range(ROUNDS))
    sizes = [(folder / name).stat().st_size for name in (shards.RECORD, shards.ABOUT)]
    return {"seconds": best, "bytes": sizes[0], "about": sizes[1]}


def _index_bytes(folder: Path) -> int:
    """The size of index.parquet for texts of other lengths, an id of 16 random hex digits each."""
    draw = np.random.default_rng(0)
    numbers = np.arange(INDEX_ROWS, dtype=np.int32)
    columns = {
        "id": pa.array([draw.bytes(8).hex() for _ in range(INDEX_ROWS)]),
        "caption": np.zeros(INDEX_ROWS, np.int32),
        "n_tokens": draw.integers(8, 20, INDEX_ROWS, np.int32),
        "truncated": np.zeros(INDEX_ROWS, np.bool_),
        "part": numbers // 1024,
        "row": numbers % 1024,
    }
    write_table(folder / INDEX, pa.table(columns), {"format": str(shards.FORMAT)})
    return (folder / INDEX).stat().st_size


def _digest_rate(folder: Path) -> float:
    """Bytes a second of xxh3-128 over a file that lies in memory."""
    (folder / "bytes").write_bytes(np.random.default_rng(0).bytes(HASHED))
    return HASHED / min(seconds(lambda: digest_file(folder / "bytes")) for _ in range(ROUNDS))


def writing_bytes_a_byte(folder: Path, sizes: tuple[int, int]) -> float:
    """Bytes of memory for each byte of a part while it is written: what a large one takes more than a small one."""
    few, many = (_in_a_child(folder, size) for size in sizes)
    return (many["peak"] - few["peak"]) / (many["file"] - few["file"])


def _in_a_child(folder: Path, rows: int) -> dict[str, int]:
    """The most memory of a fresh process from the first batch of a shard to its file, and the file's size: bytes."""
    command = [sys.executable, "-m", "bench.growth", str(folder), str(rows)]
    said: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return said


def _write(folder: Path, rows: int) -> dict[str, int]:
    """Batches as an encoder without a joint space gives them are held, put together and written."""
    encoder = load_encoder(EncoderChoice("lite0-minilm", None, None, "cpu", "fp32", folder, False))
    items = [Row(f"{i:016x}", 0, "", "") for i in range(rows)]
    task = Task(0, items, folder, folder, BATCH, "raw", "float32")
    Path("/proc/self/clear_refs").write_text("5")  # the most memory starts anew
    pieces = [_piece(encoder, task, np.arange(first, min(first + BATCH, rows))) for first in range(0, rows, BATCH)]
    done = shard._write(encoder, task, pieces)
    status = Path("/proc/self/status").read_text()
    (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return {"peak": 1024 * int(peak), "file": done.file.stat().st_size}


def _piece(encoder: Encoder, task: Task, places: NDArray[np.int64]) -> Piece:
    n, (patches, width) = len(places), encoder.image_shape
    tokens = np.full((n, patches, width), 0.5, np.float32)
    encoded = Encoded(tokens, np.full(n, patches, np.int32), np.full((n, encoder.widths[0]), 0.5, np.float32), None)
    return Piece(task, places, encoded, np.zeros(n, np.bool_), [], 0, Times(0.0, 0.0, 0.0))


def _plan_bytes() -> dict[str, float]:
    """Python memory of planning an extraction, a pair with one caption: what stays, and the most there is at once."""
    tracemalloc.start()
    manifest = _pairs()
    rows = rows_of(manifest, ["a photo of a {}"])
    for some in rows.values():
        rows_digest(some)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"plan_bytes_a_pair": kept / PAIRS, "plan_peak_bytes_a_pair": most / PAIRS}


def _pairs() -> Manifest:
    return Manifest(
        name="pairs",
        root="data/raw/pairs",
        ids=[f"{i:016x}" for i in range(PAIRS)],
        images=[f"images/{i % 1000:03d}/{i:016x}.jpg" for i in range(PAIRS)],
        texts=[[f"{CAPTION} {i}"] for i in range(PAIRS)],
        labels=[["dog"] for _ in range(PAIRS)],
        splits=[None] * PAIRS,
        bytes=[50_000 + i for i in range(PAIRS)],
        xxh3=[f"{i:032x}" for i in range(PAIRS)],
    )


if __name__ == "__main__":
    print(json.dumps(_write(Path(sys.argv[1]), int(sys.argv[2]))))
