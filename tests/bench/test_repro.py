"""What `make repro` takes: its parts on a small checkout; the whole is for `python -m bench repro`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import repro
from cache.shards import is_whole
from proof.checkout import make_checkout, run


def test_limits_are_ratios_of_the_seconds_promised_and_workers_of_heads_a_second() -> None:
    told = {"repro": 150.0, "selections": 80.0, "one worker": 60.0, "two workers": 40.0, "heads": 48, "made": 4}
    whole, selections, workers = repro.rows_of(told)
    assert [row.promised for row in (whole, selections, workers)] == [1.0, 1.0, 0.0]
    assert (whole.ours, whole.theirs, whole.ratio) == (150.0, 300.0, 2.0)
    assert (selections.ours, selections.theirs, selections.ratio) == (80.0, 60.0, 0.75)
    assert (workers.ours, workers.theirs, workers.ratio) == (1.2, 0.8, pytest.approx(1.5))


def test_a_copy_has_the_tracked_files_and_no_other(tmp_path: Path) -> None:
    listed = run(repro.ROOT, "git", "ls-files").stdout.splitlines()
    folder = repro.copy_tracked(tmp_path / "copy")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert found == {name for name in listed if (repro.ROOT / name).is_file()}


def test_make_takes_the_packages_of_this_python_for_installed(tmp_path: Path) -> None:
    folder = repro.copy_tracked(tmp_path / "copy")
    (folder / repro.INSTALLED).touch()
    told = run(folder, "make", "-n", "repro", f"READY={repro.INSTALLED}", f"VENV={sys.prefix}").stdout
    assert "pip install" not in told
    assert "dvc repro" in told


def test_heads_and_selections_are_each_made_anew_and_counted(tmp_path: Path) -> None:
    folder = make_checkout(tmp_path / "small")
    assert run(folder, "python", "-m", "pipeline", "extract").returncode == 0
    told = repro.parts_of(folder)
    assert sorted(told) == ["heads", "made", "one worker", "selections", "two workers"]
    assert min(told.values()) > 0
    for kind, count in (("heads", told["heads"]), ("selections", told["made"])):
        folders = list((folder / "data/store" / kind).iterdir())
        assert len(folders) == count
        assert all(map(is_whole, folders))
