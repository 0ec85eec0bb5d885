"""The table of scores at the prompt: which rows stand in it, under which names and in which order."""

from __future__ import annotations

from pathlib import Path

from cache.scores import write_scores
from pipeline.tables import score_rows
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
