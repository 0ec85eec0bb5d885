"""Changes are measured against vectors that are known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.precision import NEAR, change, means, neighbours


def circle(count: int, turned: float = 0.0) -> np.ndarray:
    """Unit vectors (count, 2), no two steps between neighbours alike, the first turned by an angle."""
    angles = np.cumsum(np.linspace(0.02, 0.1, count))
    angles[0] += turned
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_the_same_vectors_have_not_changed() -> None:
    same = change(circle(20), circle(20), circle(20), circle(20))
    assert (same.least, same.mean, same.step) == pytest.approx((1, 1, 0), abs=1e-9)
    assert (same.nearest, same.ten) == (1.0, 1.0)


def test_cosine_and_step_of_one_turned_vector_are_those_of_the_angle() -> None:
    items, turned = circle(20), circle(20, turned=0.5)
    found = change(items, turned, items, turned)
    assert found.least == pytest.approx(np.cos(0.5), abs=1e-6)
    assert found.mean == pytest.approx((19 + np.cos(0.5)) / 20, abs=1e-6)
    assert found.step == pytest.approx(2 * np.sin(0.25), abs=1e-6)
    assert found.nearest < 1
    assert found.ten < 1


def test_neighbours_are_the_nearest_others_nearest_first() -> None:
    nearest = neighbours(circle(20))
    assert nearest.shape == (20, NEAR)
    assert nearest[0].tolist() == list(range(1, NEAR + 1))


def test_means_are_those_of_each_items_own_tokens() -> None:
    tokens = np.array([[1.0], [3.0], [5.0], [10.0]], np.float32)
    assert means(tokens, np.array([1, 2, 1], np.int32)).tolist() == [[1.0], [4.0], [10.0]]
