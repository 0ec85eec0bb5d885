"""What the comparison of retrieval says, and what memory ranking takes."""

from __future__ import annotations

import pytest

from bench import retrieval
from stages.evaluate import ranking

SHARE = 20  # a test asks with one query of so many


def test_evaluating_many_items_stays_within_its_memory() -> None:
    """The whole gallery of 40,000, so that blocks cost what they do at full size, and a twentieth of the queries: what
    more of them take is counted twenty times. One (Q, G) matrix of bool alone would be 80 MB here, 1.6 GB there."""
    few, many = (retrieval.in_a_child(asked, retrieval.MANY, 64) for asked in (100, retrieval.MANY // SHARE))
    grown = max(many["megabytes"] - few["megabytes"], 0)
    assert few["megabytes"] + SHARE * grown <= retrieval.MEGABYTES


def test_the_large_task_asks_with_some_items_and_offers_all() -> None:
    task, seen = retrieval.large_task(30, 90, 8)
    result = ranking.evaluate_task(task, seen)
    assert (len(result.queries), result.size) == (30, 90)
    assert {name for ranked in result.directions.values() for name in ranked.figures} >= {"mAP", "recall@1"}


def test_both_rows_tell_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "ITEMS", 60)
    monkeypatch.setattr(retrieval, "MANY", 500)
    monkeypatch.setattr(retrieval, "MANY_WIDTH", 16)
    quick, memory = retrieval.rows()
    assert quick.note.startswith("N = 60, equal to ")
    assert memory.name == "memory of mAP, 500 x 500"
    assert (memory.unit, memory.theirs) == ("MB", retrieval.MEGABYTES)
    assert memory.ratio == retrieval.MEGABYTES / memory.ours
