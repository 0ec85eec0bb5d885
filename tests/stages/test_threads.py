"""Batches side by side."""

from __future__ import annotations

import pytest
import torch

from stages.threads import side_by_side


@pytest.fixture
def two_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_results_come_in_order_and_each_thread_has_one_thread_inside() -> None:
    found = list(side_by_side(lambda number: (number, torch.get_num_threads()), range(20)))
    assert found == [(number, 1) for number in range(20)]


@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_is_as_before_afterwards() -> None:
    list(side_by_side(abs, range(4)))
    assert torch.get_num_threads() == 2


def test_an_error_reaches_the_caller_and_ends_the_work() -> None:
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        raise RuntimeError(f"piece {number}")

    torch.set_num_threads(1)
    with pytest.raises(RuntimeError, match="piece 0"):
        list(side_by_side(work, range(10_000)))
    assert len(begun) < 10_000
