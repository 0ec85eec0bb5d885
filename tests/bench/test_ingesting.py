"""What the comparison of ingesting says of a short table."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from bench import ingesting
from cache.manifest import read_manifest


def test_the_table_is_whole_and_its_half_is_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingesting, "A_FOLDER", 10)
    monkeypatch.setattr(ingesting, "FILES", 7)
    ingesting.make_table(tmp_path, 40)
    ingesting._ingest(tmp_path)
    manifest = read_manifest(tmp_path / "made.parquet")
    loop = ingesting._loop(tmp_path)
    assert manifest.ids == [row["id"] for row in loop]
    assert manifest.images == [row["image"] for row in loop]
    assert set(manifest.bytes) == {ingesting.BYTES}
    assert len(set(manifest.xxh3)) == len({row["sha256"] for row in loop}) == 7
    with (ingesting.make_half(tmp_path) / "pairs.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == manifest.ids[:20]


def test_three_rows_tell_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingesting, "ROWS", 300)
    monkeypatch.setattr(ingesting, "ROUNDS", 1)
    limit, loop, memory = ingesting.rows()
    assert (limit.ours, limit.ratio) == (loop.ours, ingesting.SECONDS / loop.ours)
    assert loop.ratio == loop.theirs / loop.ours
    assert (memory.unit, memory.ratio) == ("MB", ingesting.MEGABYTES / memory.ours)
    assert limit.note.startswith("300 rows, a picture of 700 bytes each")
    assert memory.note.startswith("resident, beyond what is imported; of 150 rows ")
