"""All stages on the embedded default, twice in two folders: the same bytes of scores."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from proof.checkout import ROOT, pipeline

SMALL = [
    *("-S", "ingest.max_per_class=12"),
    *("-S", "train.gap.steps=10"),
    *("-S", "train.gcrdp.steps=10"),
    *("-S", "train.selection.draws=2"),
    *("--shots", "0,1"),
    *("--seeds", "2"),
]


def run_all(folder: Path) -> Path:
    """Extract and report in a folder of its own; returns its results."""
    folder.mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    for command in ("extract", "report"):
        done = pipeline(folder, command, *SMALL)
        assert done.returncode == 0, done.stderr
    return folder / "runs/results"


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("twice")
    return run_all(place / "one"), run_all(place / "another")


@pytest.mark.parametrize("name", ["scores.parquet", "queries.parquet", "history.parquet", "metrics.json", "table.md"])
def test_two_folders_give_the_same_bytes(twice: tuple[Path, Path], name: str) -> None:
    one, another = ((results / name).read_bytes() for results in twice)
    assert one == another


def test_every_method_is_scored_on_every_gallery_and_beats_chance(twice: tuple[Path, Path]) -> None:
    rows = pq.read_table(twice[0] / "scores.parquet").to_pylist()
    found: dict[str, dict[tuple[str, int], list[float]]] = {}
    for row in rows:
        if (row["metric"], row["direction"]) == ("mAP", "mean"):
            cell = found.setdefault(row["method"], {}).setdefault((row["gallery"], row["shots"]), [])
            cell.append(row["value"])
    means = {method: {key: sum(v) / len(v) for key, v in cells.items()} for method, cells in found.items()}
    assert set(means) == {"chance", "cca", "gap", "gcrdp", "scm"}
    assert set(means["gcrdp"]) == {(gallery, shots) for gallery in ("target", "rest", "all") for shots in (0, 1)}
    for method in ("cca", "gap", "gcrdp", "scm"):
        assert all(value > means["chance"][key] for key, value in means[method].items())


def test_the_page_needs_nothing_from_outside(twice: tuple[Path, Path]) -> None:
    page = (twice[0] / "report.html").read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    assert "<script src" not in page
    assert 'rel="stylesheet"' not in page
    assert "CC BY-SA 4.0" in page
