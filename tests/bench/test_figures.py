"""Figures stay with the machine they were taken on."""

from __future__ import annotations

import json
from pathlib import Path

from bench import scale
from bench.__main__ import COMPARISONS, FACTS, ROOT, page
from bench.figures import Machine, machines_of, read_figures, row_of, with_fact, with_rows
from bench.row import Row

HERE: Machine = {"chip": "a chip", "cores": 2, "device": "no GPU", "torch": "2"}
THERE: Machine = {**HERE, "device": "a GPU"}


def row(name: str, ours: float = 1.0) -> Row:
    return Row(name, ours, 1.0, ours, 1.0, "a loop")


def test_a_row_takes_the_place_of_that_of_its_name_wherever_it_was_taken() -> None:
    figures = with_rows({"rows": [], "facts": {}}, "one", [row("a"), row("b")], THERE)
    figures = with_rows(figures, "one", [row("a", 5.0)], HERE)
    assert [(told["name"], told["ours"], told["machine"]) for told in figures["rows"]] == [
        ("a", 5.0, HERE),
        ("b", 1.0, THERE),
    ]
    assert row_of(figures["rows"][0]) == row("a", 5.0)
    assert machines_of(figures) == [HERE, THERE]


def test_what_a_module_no_longer_gives_on_this_machine_goes_and_other_modules_stay() -> None:
    figures = with_rows({"rows": [], "facts": {}}, "one", [row("of old")], HERE)
    figures = with_rows(figures, "two", [row("of two")], HERE)
    figures = with_rows(figures, "one", [row("new")], {**HERE, "torch": "3"})
    assert [told["name"] for told in figures["rows"]] == ["new", "of two"]


def test_rows_and_facts_of_modules_that_are_no_more_are_dropped(tmp_path: Path) -> None:
    figures = with_rows({"rows": [], "facts": {}}, "one", [row("a")], HERE)
    figures = with_fact(with_rows(figures, "gone", [row("b")], HERE), "gone too", 1, HERE)
    (tmp_path / "figures.json").write_text(json.dumps(with_fact(figures, "kept", 2, HERE)))
    read = read_figures(tmp_path / "figures.json", ("one", "kept"))
    assert [told["name"] for told in read["rows"]] == ["a"]
    assert read["facts"] == {"kept": {"machine": HERE, "told": 2}}


def test_before_the_first_run_there_are_no_figures(tmp_path: Path) -> None:
    assert read_figures(tmp_path / "figures.json", ("one",)) == {"rows": [], "facts": {}}


def test_the_pages_are_what_the_committed_figures_give() -> None:
    figures = read_figures(ROOT / "docs" / "benchmarks.json", (*COMPARISONS, *FACTS))
    assert figures["rows"]
    assert (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8") == page(figures)
    assert (ROOT / "docs" / "scale.md").read_text(encoding="utf-8") == scale.page(figures)
