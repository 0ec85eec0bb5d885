"""Planning batches of items of similar length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.batches import BUDGETS, EIGHT, EVEN, plan_batches, plan_shares
from stages.covariance import Covariance

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


@pytest.mark.parametrize(("items", "threads"), [(200, 2), (201, 2), (1, 4), (3, 4), (5000, 3)])
@pytest.mark.parametrize("covariance", ["spherical", "diag"])
def test_items_of_one_length_are_shared_out_evenly(items: int, threads: int, covariance: Covariance) -> None:
    batches = plan_shares(np.full(items, 49), 512, covariance, threads)
    assert np.concatenate(batches).tolist() == list(range(items))
    sizes = [len(own) for own in batches]
    assert max(sizes[:-1], default=0) - min(sizes) <= 2 * EIGHT
    assert all(size % EIGHT == 0 for size in sizes[:-1])
    assert max(sizes) * 49 * 512 <= EVEN[covariance] * BUDGETS[covariance]
    assert len(batches) % threads == 0 or max(sizes) <= EIGHT


def test_padded_batches_do_not_depend_on_the_threads() -> None:
    lengths = np.random.default_rng(0).integers(4, 25, 900)
    expected = [own.tolist() for own in plan_batches(lengths, 512, BUDGETS["spherical"])]
    for threads in (1, 2, 7):
        assert [own.tolist() for own in plan_shares(lengths, 512, "spherical", threads)] == expected


def test_without_items_there_are_no_batches() -> None:
    assert plan_shares(np.zeros(0, np.int64), 512, "diag", 2) == []
