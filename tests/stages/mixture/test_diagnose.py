"""What is said of fitted mixtures."""

from __future__ import annotations

import numpy as np
import pytest

from cache.mixtures import MixtureRows
from stages.mixture.diagnose import collapsed, diagnose, warning


def rows(weights: list[list[float]], live: list[list[bool]], lengths: list[int]) -> MixtureRows:
    n, k = len(weights), len(weights[0])
    return MixtureRows(
        views=np.stack([np.eye(k, 4, dtype=np.float32)] * n),
        weights=np.array(weights, np.float32),
        responsibilities=np.zeros((sum(lengths), k), np.float16),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        objective=np.array([[-10.0, -8.0]] * n, np.float32),
        live=np.array(live),
    )


def test_one_great_weight_or_one_live_component_is_a_collapse() -> None:
    found = collapsed(
        rows([[0.995, 0.005], [1, 0], [0.9, 0.1]], [[True, True], [True, False], [True, True]], [5, 5, 5])
    )
    assert found.tolist() == [True, True, False]


def test_an_item_with_too_few_tokens_has_not_collapsed() -> None:
    assert collapsed(rows([[1.0, 0.0]], [[True, False]], [1])).tolist() == [False]


def test_a_mixture_of_one_component_has_not_collapsed() -> None:
    assert collapsed(rows([[1.0]], [[True]], [5])).tolist() == [False]


def test_the_figures_are_what_they_are_called() -> None:
    figures = diagnose(rows([[0.2, 0.8], [1.0, 0.0]], [[True, True], [True, False]], [4, 1]))
    assert figures == {
        "items": 2,
        "collapsed": 0,
        "short": 1,
        "weights": [0.9, 0.1],
        "live": 1.5,
        "objective": [-6.25, -5.0],
        "cosine": 0.0,
    }


def test_there_is_no_cosine_of_one_view() -> None:
    assert diagnose(rows([[1.0]], [[True]], [5]))["cosine"] is None


@pytest.mark.parametrize(("count", "warned"), [(5, False), (6, True)])
def test_people_are_warned_above_five_per_cent(count: int, warned: bool) -> None:
    line = warning("text", {"items": 100, "collapsed": count})
    assert (line is not None) == warned
    assert line is None or line == (
        "6 of 100 text mixtures have collapsed onto one component;"
        " set mixture.temperature to a higher value or mixture.components to a lower one"
    )
