"""Intervals and corrections against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as trusted

from stages import stats


def test_the_support_interval_is_the_t_interval():
    values = [0.4, 0.47, 0.43, 0.5, 0.41]
    expected = trusted.t.interval(0.95, 4, np.mean(values), trusted.sem(values))
    assert stats.support_interval(values) == pytest.approx(expected)


def test_one_seed_has_no_support_interval():
    assert stats.support_interval([0.4]) is None


def loop_draw(rng, sums, counts, classes):
    """One draw of the two-level bootstrap, by hand."""
    names = np.unique(classes)
    total = weight = 0.0
    for name in rng.choice(names, len(names)):
        own = np.flatnonzero(classes == name)
        taken = rng.choice(own, len(own))
        total += sums[taken].sum()
        weight += counts[taken].sum()
    return total / weight


def test_the_class_bootstrap_has_the_spread_of_the_loop():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(6), [3, 9, 12, 5, 20, 7])
    sums = 0.3 + 0.1 * classes + 0.1 * rng.standard_normal(len(classes))
    counts = np.ones(len(classes))
    ours = stats.bootstrap_means(sums[:, None], counts, classes, 6000, 0)[:, 0]
    loop = np.array([loop_draw(rng, sums, counts, classes) for _ in range(6000)])
    assert ours.mean() == pytest.approx(loop.mean(), abs=0.006)
    assert ours.std() == pytest.approx(loop.std(), rel=0.05)
    assert stats.percentile_interval(ours) == pytest.approx(stats.percentile_interval(loop), abs=0.02)


def test_methods_see_the_same_draws():
    sums = np.random.default_rng(0).random((30, 1))
    drawn = stats.bootstrap_means(np.hstack([sums, sums + 0.1]), np.ones(30), np.arange(30) % 5, 200, 0)
    np.testing.assert_allclose(drawn[:, 1] - drawn[:, 0], 0.1, atol=1e-12)


def test_the_class_bootstrap_is_seeded():
    sums, classes = np.random.default_rng(0).random((30, 2)), np.arange(30) % 5
    first, again, other = (stats.bootstrap_means(sums, np.ones(30), classes, 100, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_query_asked_twice_counts_twice():
    sums, counts = np.array([[2.0], [2.0]]), np.array([2.0, 2.0])
    assert stats.bootstrap_means(sums, counts, np.array([0, 1]), 100, 0) == pytest.approx(1)


def test_the_percentile_interval_holds_95_per_cent_of_the_draws():
    assert stats.percentile_interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize(
    ("drawn", "p"),
    [
        (np.ones(1999), 2 / 2000),
        (-np.ones(1999), 2 / 2000),
        (np.zeros(1999), 1.0),
        (np.tile([1, -1], 1000), 1.0),
    ],
)
def test_p_is_the_smaller_tail_doubled(drawn, p):
    assert stats.bootstrap_p(drawn) == pytest.approx(p)


def test_holm_of_a_known_family():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(p):
    corrected = stats.holm(p)
    assert all(before <= after <= 1 for before, after in zip(p, corrected, strict=True))
    in_order = [corrected[i] for i in np.argsort(p, kind="stable")]
    assert in_order == sorted(in_order)


def test_holm_of_nothing_is_nothing():
    assert stats.holm([]) == []
