"""Ingesting a long table: seconds against the limit and against a loop, and memory that does not grow with the rows."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.row import Row, within
from pipeline.params import read_values
from stages.ingest.params import IngestParams, IngestSection
from stages.ingest.run import run

ROWS = 200_000
A_FOLDER = 1000  # pictures of a folder
FILES = 200  # whose bytes differ; each stands under many names, since a bench need not fill a disk
BYTES = 700  # of a file
SECONDS, MEGABYTES = 20.0, 100.0
ROUNDS = 3
ROOT = Path(__file__).resolve().parent.parent


def rows() -> list[Row]:
    """A table of 200,000 rows with a picture each: ingest, a loop over its rows, and the memory of twice as many."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        make_table(home, ROWS)
        rounds = [{way: _in_a_child(way, home) for way in WAYS} for _ in range(ROUNDS)]
        half = _in_a_child("ingest", make_half(home))
    ours, loop = (min(each[way]["seconds"] for each in rounds) for way in ("ingest", "loop"))
    held = min(each["ingest"]["megabytes"] for each in rounds)
    note = f"{ROWS} rows, a picture of {BYTES} bytes each, in a fresh process, files in memory"
    return [
        within("ingest of a table", ours, SECONDS, note),
        Row(
            name="ingest of a table against a loop",
            ours=ours,
            theirs=loop,
            ratio=loop / ours,
            promised=0.0,
            against="csv.DictReader, hashlib.sha256 of each file",
            note=f"{note}; ours also checks every row first, and writes the manifest and its digest",
        ),
        within(
            "memory of ingesting a table",
            held,
            MEGABYTES,
            f"resident, beyond what is imported; of {ROWS // 2} rows {half['megabytes']:.0f} MB",
            "MB",
        ),
    ]


def make_table(home: Path, count: int) -> None:
    """pairs.csv of so many rows, and their pictures, folder by folder, under as few files."""
    seeds = [home / f"{number}.bytes" for number in range(FILES)]
    for number, seed in enumerate(seeds):
        seed.write_bytes(hashlib.shake_128(str(number).encode()).digest(BYTES))
    with (home / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "image", "text", "label"])
        for i in range(count):
            folder, image = home / f"{i // A_FOLDER:04d}", f"{i // A_FOLDER:04d}/{i:08d}.jpg"
            if i % A_FOLDER == 0:
                folder.mkdir()
            os.link(seeds[(i // A_FOLDER + i) % FILES], home / image)
            table.writerow([f"item{i:08d}", image, f"a picture of a class, the {i}th", f"class {i % 20}"])


def make_half(home: Path) -> Path:
    """The same folder, its table cut to the first half of the rows."""
    lines = (home / "pairs.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (home / "pairs.csv").write_text("".join(lines[: 1 + len(lines) // 2]), encoding="utf-8")
    return home


def _ingest(home: Path) -> None:
    values = read_values(ROOT / "params.yaml")["ingest"]
    values["table"] = {**values["table"], "path": "pairs.csv"}
    section = IngestSection.model_validate(values)
    run(IngestParams(dataset="table", section=section, home=home, manifest=home / "made.parquet", made_from="bench"))


def _loop(home: Path) -> list[dict[str, str]]:
    """What one would write at once: every row, and its picture's digest."""
    with (home / "pairs.csv").open(encoding="utf-8", newline="") as file:
        return [
            {**row, "sha256": hashlib.sha256((home / row["image"]).read_bytes()).hexdigest()}
            for row in csv.DictReader(file)
        ]


WAYS: dict[str, Callable[[Path], Any]] = {"ingest": _ingest, "loop": _loop}


def _in_a_child(way: str, home: Path) -> dict[str, float]:
    """Seconds, and megabytes beyond those of the start, of one way in a fresh process."""
    command = [sys.executable, "-m", "bench.ingesting", way, str(home)]
    said: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return said


def _measure(way: str, home: Path) -> dict[str, float]:
    before, begin = _peak(), time.perf_counter()
    WAYS[way](home)
    took = time.perf_counter() - begin
    return {"seconds": took, "megabytes": (_peak() - before) / 1e6}


def _peak() -> int:
    """The most memory, in bytes, that this process held since it began."""
    (held,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(held)


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]))))
