"""The search bench on a few rows: what it compares is checked before it is timed."""

from __future__ import annotations

import numpy as np
import pytest

from bench import searching


def test_both_rows_are_made_and_name_what_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "ROWS", 5_000)
    monkeypatch.setattr(searching, "ROUNDS", 2)
    time, memory = searching.rows()
    assert (time.name, time.promised) == ("search, 5,000 items", 0.769)
    assert time.ratio == time.theirs / time.ours
    assert (memory.unit, memory.theirs) == ("MB", searching.MEGABYTES)
    assert memory.ours < searching.MEGABYTES


def test_a_wrong_answer_is_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "ROWS", 100)
    monkeypatch.setattr(searching, "best", lambda *_: (np.arange(10), np.zeros(10, np.float32)))
    with pytest.raises(ArithmeticError, match="the best 10 of 100 are"):
        searching.rows()
