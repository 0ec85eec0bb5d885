"""The table of scores at the prompt: which rows stand in it, under which names and in which order."""

from __future__ import annotations

from pathlib import Path

from cache.scores import write_scores
from pipeline.tables import chosen_lines, score_rows
from tests.stages.report import build


def test_rows_of_more_access_are_marked_and_stand_behind_the_others(tmp_path: Path) -> None:
    plain = [row for row in build.score_rows() if row["shots"] == build.SHOTS[0]]
    own = [row for row in plain if row["method"] == "cca"]
    more = [{**row, "access": access} for access in ("transductive", "semi-supervised") for row in own]
    named = [{**row, "access": "transductive", "variant": "quick"} for row in own]
    write_scores(tmp_path / "scores.parquet", [*more, *named, *plain], "made")
    found = [row["method"] for row in score_rows(tmp_path / "scores.parquet")]
    inductive = ["chance", "cca", "gap", "gcrdp"]
    assert sorted(found[:4]) == sorted(inductive)
    assert found[4:] == ["cca (semi-supervised)", "cca (transductive)", "cca (quick, transductive)"]


def test_a_row_that_failed_stands_without_figures_and_one_that_failed_in_part_says_of_how_many(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.parquet", build.score_rows(), "made")
    whole = score_rows(tmp_path / "scores.parquet")
    row = {"variant": "default", "access": "inductive", "names": False, "shots": build.SHOTS[0]}
    lacking = [{**row, "method": "gap", "draws": 2, "of": 7}, {**row, "method": "cmm", "draws": 0, "of": 7}]
    found = score_rows(tmp_path / "scores.parquet", lacking)
    own = {(r["method"], r["shots"]): r for r in found}
    assert (own["gap", row["shots"]]["draws"], own["gap", row["shots"]]["of"]) == (2, 7)
    empty = own.pop(("cmm", row["shots"]))
    assert [name for name, value in empty.items() if value is not None] == ["shots", "method", "draws", "of"]
    assert (empty["draws"], empty["of"]) == (0, 7)
    assert list(empty) == [*whole[0], "of"]
    figures = [{name: value for name, value in r.items() if name not in ("draws", "of")} for r in own.values()]
    assert figures == [{name: value for name, value in r.items() if name != "draws"} for r in whole]
    assert [r["of"] == r["draws"] for r in own.values()].count(False) == 1


def test_what_was_chosen_is_a_line_a_row_for_the_shot_counts_that_choose_alike(tmp_path: Path) -> None:
    made = build.write_inputs(tmp_path)
    assert chosen_lines(made.heads)[:4] == [
        "gap at 0 and 1 shots: covariance within, tau 0.05 chosen on source classes",
        "gap at 3 shots: covariance within (2) or total (1), tau 0.05 chosen on source classes",
        "gap at 5 shots: covariance within, tau 0.1 chosen on source classes",
        "gap (nameless) at 0 and 1 shots: covariance within, tau 0.05 chosen on source classes",
    ]
