"""The best of a gallery, against sorting all of its scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import retrieval
from stages.search import index
from stages.search.index import best


def by_loop(query: np.ndarray, gallery: np.ndarray, match: str, top: int) -> list[int]:
    """Every score in float64 by its formula, sorted by falling score, then by place."""

    def of(item: np.ndarray) -> float:
        pairs = [[float(np.float64(q) @ np.float64(g)) for g in item] for q in query]
        if match == "dot":
            return pairs[0][0]
        if match == "max":
            return max(max(row) for row in pairs)
        return 0.5 * pairs[0][0] + 0.5 * max(max(row[1:]) for row in pairs[1:])

    scores = [of(item) for item in gallery]
    return sorted(range(len(gallery)), key=lambda place: (-scores[place], place))[:top]


@pytest.mark.parametrize(("match", "views"), [("dot", 1), ("max", 3), ("mix", 3)])
@pytest.mark.parametrize("top", [1, 7, 200])
def test_the_best_are_those_of_the_loop_whatever_the_blocks(
    match: str, views: int, top: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    query = rng.integers(-2, 3, (views, 5)).astype(np.float32)  # whole numbers: many scores are equal
    gallery = rng.integers(-2, 3, (150, views, 5)).astype(np.float32)
    wanted = by_loop(query, gallery, match, top)
    for cells in (1, 64, 1 << 20):
        monkeypatch.setattr(index, "_CELLS", cells)
        rows, scores = best(query, gallery, match, top)
        assert rows.tolist() == wanted
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
        assert (len(rows), rows.dtype, scores.dtype) == (min(top, 150), np.int64, np.float32)


@given(
    st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]), min_size=1, max_size=60),
    st.integers(1, 70),
    st.integers(1, 9),
)
def test_equal_scores_keep_the_order_of_the_gallery(scores: list[float], top: int, block: int) -> None:
    gallery = np.array(scores, np.float32)[:, None, None]
    before = index._CELLS
    index._CELLS = block
    try:
        rows, found = best(np.ones((1, 1), np.float32), gallery, "dot", top)
    finally:
        index._CELLS = before
    order = retrieval.rank(np.array([scores], np.float32))[0][:top]
    assert rows.tolist() == order.tolist()
    assert found.tolist() == np.array(scores, np.float32)[order].tolist()


def test_scores_that_are_no_numbers_are_left_out() -> None:
    gallery = np.array([1, np.nan, 3], np.float32)[:, None, None]
    rows, scores = best(np.ones((1, 1), np.float32), gallery, "dot", 3)
    assert (rows.tolist(), scores.tolist()) == ([2, 0], [3.0, 1.0])


def test_an_empty_gallery_has_no_best() -> None:
    rows, scores = best(np.ones((1, 4), np.float32), np.empty((0, 1, 4), np.float32), "dot", 5)
    assert (len(rows), len(scores)) == (0, 0)
