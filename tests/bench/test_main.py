"""The comparisons' verdict, on made-up rows."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest

import bench.__main__ as command
from bench.machine import machine
from bench.row import Row

CHANGE = {"least": 0.99, "mean": 0.999, "step": 0.01, "nearest": 0.98, "ten": 0.97}
PRECISION = [
    {"what": "precision bf16", "side": "images", "items": 9, "pooled": CHANGE, "tokens": CHANGE},
    {"what": "storage float16", "side": "texts", "items": 9, "pooled": None, "tokens": CHANGE},
    {"what": "precision fp16", "fault": "does not work on cpu"},
]


def row(name: str, ratio: float) -> Row:
    return Row(name=name, ours=1.0, theirs=1.0, ratio=ratio, promised=2.0, against="a loop")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "COMPARISONS", ("one", "two"))
    monkeypatch.setattr(command, "FACTS", ("precision",))
    (tmp_path / "docs").mkdir()
    return tmp_path


def offer(monkeypatch: pytest.MonkeyPatch, *ratios: float) -> None:
    """Modules `one` and `two` of a row each, and what precision changes."""
    made = dict(zip(("bench.one", "bench.two"), ratios, strict=True))
    modules: dict[str, Any] = {name: types.SimpleNamespace(rows=lambda n=name: [row(n[6:], made[n])]) for name in made}
    modules["bench.precision"] = types.SimpleNamespace(facts=lambda: PRECISION)
    monkeypatch.setattr(command.importlib, "import_module", modules.__getitem__)


@pytest.mark.parametrize(
    ("ratios", "code", "said"),
    [((2.0, 3.0), 0, ""), ((3.0, 1.96), 1, "two: ratio 1.96, promised 2\n")],
)
def test_a_broken_promise_is_named_after_both_files_are_written(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ratios: tuple[float, float],
    code: int,
    said: str,
) -> None:
    offer(monkeypatch, *ratios)
    assert command.main([]) == code
    assert capsys.readouterr().err == said
    assert [r["name"] for r in json.loads((root / "docs" / "benchmarks.json").read_text())["rows"]] == ["one", "two"]
    assert "| two |" in (root / "docs" / "benchmarks.md").read_text()


def rows_of(page: str, start: str) -> list[list[str]]:
    return [[c.strip() for c in told.strip("|").split("|")] for told in page.splitlines() if told.startswith(start)]


def test_modules_that_are_named_are_measured_anew_and_the_others_stay(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, 2.0, 3.0)
    command.main([])
    offer(monkeypatch, 7.0, 8.0)
    assert command.main(["two"]) == 0
    results = json.loads((root / "docs" / "benchmarks.json").read_text())
    assert [(r["module"], r["ratio"]) for r in results["rows"]] == [("one", 2.0), ("two", 8.0)]
    assert results["facts"] == {"precision": {"machine": machine(), "told": PRECISION}}
    page = (root / "docs" / "benchmarks.md").read_text()
    assert [cells[4] for cells in [*rows_of(page, "| one"), *rows_of(page, "| two")]] == ["2.00", "8.00"]


def test_in_a_fresh_clone_the_rows_of_other_modules_stay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a clone has is what is committed: docs/."""
    offer(monkeypatch, 2.0, 3.0)
    command.main([])
    assert {path.name for path in root.iterdir()} == {"docs"}
    before = (root / "docs" / "benchmarks.md").read_text()
    offer(monkeypatch, 2.0, 8.0)
    command.main(["two"])
    after = (root / "docs" / "benchmarks.md").read_text()
    assert after == before.replace("| 3.00 |", "| 8.00 |") != before


def test_each_row_tells_what_it_was_taken_on(root: Path) -> None:
    here, there = machine(), {**machine(), "cores": 16, "device": "a GPU"}
    ours = {"module": "one", "machine": here, **vars(row("slow", 2.0))}
    theirs = {"module": "two", "machine": there, **vars(row("quick", 2.0)), "device": "a GPU"}
    command.write_pages({"rows": [theirs, ours], "facts": {}})
    page = (root / "docs" / "benchmarks.md").read_text()
    assert [cells[1] for cells in [*rows_of(page, "| slow"), *rows_of(page, "| quick")]] == ["cpu of 1", "a GPU of 2"]
    assert "\n2. 16 cores" in page


def test_what_precision_changes_has_a_table_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, 2.0, 3.0)
    command.main(["precision"])
    page = (root / "docs" / "benchmarks.md").read_text()
    told = rows_of(page, "| precision bf16") + rows_of(page, "| storage")
    figures = ["0.9900000", "0.9990000", "1.0e-02", "98.0%", "97.0%"]
    assert [cells[3:] for cells in told] == [["pooled", *figures], ["tokens", *figures], ["tokens", *figures]]
    assert rows_of(page, "| precision fp16") == [["precision fp16", "does not work on cpu"]]


def test_rows_that_the_machine_cannot_give_are_explained() -> None:
    made = {"module": "recipe", "machine": machine(), **vars(row("ViT-B-32, texts alone, fp32", 5.0))}
    assert command.NO_BF16 in command.page({"rows": [made], "facts": {}})
    bf16 = {**made, "name": "texts alone, bf16"}
    assert command.NO_BF16 not in command.page({"rows": [made, bf16], "facts": {}})
    assert command.NO_GPU in command.page({"rows": [made, bf16], "facts": {}})
    gpu = {**made, "name": "on a chip", "device": "a chip"}
    assert command.NO_GPU not in command.page({"rows": [made, gpu], "facts": {}})


def test_a_name_that_is_none_stops_before_anything_is_measured(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["onne"]) == 2
    assert capsys.readouterr().err == "bench: no comparison 'onne'; did you mean 'one'?\n"
    assert not (root / "docs" / "benchmarks.json").exists()
