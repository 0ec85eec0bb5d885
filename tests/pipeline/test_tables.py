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


def test_what_was_chosen_is_a_line_a_row_for_the_shot_counts_that_choose_alike(tmp_path: Path) -> None:
    made = build.write_inputs(tmp_path)
    assert chosen_lines(made.heads)[:4] == [
        "gap at 0 and 1 shots: covariance within, tau 0.05 chosen on source classes",
        "gap at 3 shots: covariance within (2) or total (1), tau 0.05 chosen on source classes",
        "gap at 5 shots: covariance within, tau 0.1 chosen on source classes",
        "gap (nameless) at 0 and 1 shots: covariance within, tau 0.05 chosen on source classes",
    ]
