"""What an ingest of a table holds in memory does not grow with its rows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache.manifest import read_manifest
from stages.ingest.run import run
from tests.stages.ingest.given import jpeg, params, write

ROWS = 20_000
A_ROW = 250  # bytes that a row may add; whoever held its words would need a thousand and more

CHILD = """
import sys
from pathlib import Path
from stages.ingest.run import run
from tests.stages.ingest.given import params
run(params(Path(sys.argv[1]), "table", path=sys.argv[2]))
print(Path("/proc/self/status").read_text())
"""


def table(home: Path, rows: int, suffix: str) -> Path:
    """A table of so many rows, all of one picture."""
    write(home / "images" / "a.jpg", jpeg((1, 2, 3)))
    path = home / f"pairs{rows}.{suffix}"
    words = [
        (f"item{i:08d}", "images/a.jpg", f"a caption of some words, the {i}th", f"class {i % 20}") for i in range(rows)
    ]
    if suffix == "csv":
        write(path, "id,image,text,label\n" + "".join(f'{a},{b},"{c}",{d}\n' for a, b, c, d in words))
    elif suffix == "jsonl":
        line = '{{"id": "{}", "image": "{}", "text": ["{}"], "label": "{}"}}\n'
        write(path, "".join(line.format(*row) for row in words))
    else:
        columns = dict(zip(["id", "image", "text", "label"], map(list, zip(*words, strict=True)), strict=True))
        pq.write_table(pa.table(columns), path, row_group_size=5000)
    return path


def peak(home: Path, path: Path) -> int:
    """The most memory, in bytes, that a fresh process held while it ingested a table. Arrow takes it from the system:
    its own pools keep some for later, now more and now less."""
    own = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, home, path.name], check=True, capture_output=True, text=True, env=own
    )
    found = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_twice_the_rows_take_no_more_memory(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    small, large = (peak(tmp_path, table(tmp_path, rows, suffix)) for rows in (ROWS, 2 * ROWS))
    with capsys.disabled():
        print(f"\npeak memory, {suffix}: {small / 1e6:.1f} MB at {ROWS} rows, {large / 1e6:.1f} MB at {2 * ROWS}")
    assert large - small < ROWS * A_ROW


def test_the_blocks_together_are_the_table(tmp_path: Path) -> None:
    given = params(tmp_path, "table", path=table(tmp_path, ROWS, "csv").name)
    run(given)
    manifest = read_manifest(given.manifest)
    assert manifest.ids == [f"item{i:08d}" for i in range(ROWS)]
    assert manifest.texts[-1] == [f"a caption of some words, the {ROWS - 1}th"]
    assert len(manifest.classes) == 20
    assert pq.ParquetFile(given.manifest).num_row_groups > 1
