"""The estimates of dimension on points whose dimension is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.ablation.dimension import participation, two_nn

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_points_of_a_plane_in_a_wider_space_have_its_dimension(dimension: int) -> None:
    within = np.linalg.qr(RNG.standard_normal((20, dimension)))[0]
    points = RNG.uniform(size=(800, dimension)) @ within.T
    assert two_nn(points) == pytest.approx(dimension, rel=0.15)
    assert two_nn(np.concatenate([points, points])) == two_nn(points)  # what stands twice counts once


def test_the_slope_is_that_of_a_plain_loop() -> None:
    points = RNG.standard_normal((40, 3))
    ratios = []
    for i, own in enumerate(points):
        near = sorted(math.dist(own, other) for j, other in enumerate(points) if j != i)
        ratios.append(math.log(near[1] / near[0]))
    kept = [(x, -math.log(1 - (i + 1) / 40)) for i, x in enumerate(sorted(ratios)) if i < 36]
    assert two_nn(points) == pytest.approx(sum(x * y for x, y in kept) / sum(x * x for x, _ in kept))


def test_too_few_points_have_no_dimension() -> None:
    assert math.isnan(two_nn(np.zeros((5, 3))))


def test_tokens_spread_over_as_many_directions_as_their_covariance_has_alike() -> None:
    tokens = RNG.standard_normal((9, 4)) @ np.diag([3.0, 2.0, 1.0, 0.0])
    values = np.linalg.eigvalsh(np.cov(tokens.T))
    assert participation(tokens) == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert participation(np.outer(np.arange(5.0), np.ones(3))) == pytest.approx(1)
    assert participation(np.ones((4, 3))) == 0
