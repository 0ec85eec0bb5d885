"""What the comparison of opening says of a small cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import opening
from cache.features import FeatureCache


def test_the_sparse_cache_is_a_whole_one_with_every_row_in_its_place(tmp_path: Path) -> None:
    opened = FeatureCache.open(opening.make_sparse(tmp_path, 250, 100, 4, 8))
    assert len(opened) == 250
    assert opened.tokens(np.array([0, 249])).shape == (2, 4, 8)
    assert opened.columns(["id"]).column("id")[249].as_py() == f"{249:016x}"


def test_a_fresh_process_tells_rows_time_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "ROWS", 3000)
    monkeypatch.setattr(opening, "ROWS_A_PART", {1000: "3 parts"})
    monkeypatch.setattr(opening, "ROUNDS", 1)
    took, memory = opening.rows()
    assert took.note == "3000 rows in 3 parts, in a fresh process; asked for: id, part, row"
    assert 0 < took.ours < 60
    assert took.ratio == opening.SECONDS / took.ours
    assert (memory.unit, memory.theirs) == ("MB", opening.MEGABYTES)
    assert memory.ratio == opening.MEGABYTES / memory.ours
    asked = FeatureCache.open(opening.make_sparse(tmp_path, 3000, 1000, 4, 8)).columns(opening.COLUMNS).nbytes
    assert memory.note == f"resident, beyond the {asked / 1e6:.0f} MB of the columns asked for"
