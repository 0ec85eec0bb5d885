"""Planning batches of items of similar length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.batches import plan_batches

Lengths = st.lists(st.integers(1, 30), max_size=40).map(lambda own: np.array(own, np.int64))


@given(Lengths, st.integers(1, 8), st.integers(1, 600))
def test_every_item_is_in_one_batch_and_no_batch_exceeds_the_budget(
    lengths: np.ndarray, width: int, budget: int
) -> None:
    batches = plan_batches(lengths, width, budget)
    assert sorted(int(item) for batch in batches for item in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * int(lengths[batch].max()) * width <= budget


@given(Lengths, st.integers(1, 8), st.integers(1, 600))
def test_a_batch_is_as_large_as_the_budget_lets_it_be(lengths: np.ndarray, width: int, budget: int) -> None:
    batches = plan_batches(lengths, width, budget)
    for batch, after in pairwise(batches):
        assert (len(batch) + 1) * int(lengths[after[0]]) * width > budget


def test_short_items_come_first() -> None:
    batches = plan_batches(np.array([9, 1, 5, 1]), 1, 10)
    assert [batch.tolist() for batch in batches] == [[1, 3], [2], [0]]
