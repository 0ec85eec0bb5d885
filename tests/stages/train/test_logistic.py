"""Logistic regression: the minimum itself, found from anywhere, on however many threads."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from stages.items import unit
from stages.train.logistic import _loss, _span, fit_logistic


def drawn(rows: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((classes, width))
    own = np.arange(rows) % classes
    return unit((middle[own] + 2 * rng.standard_normal((rows, width))).astype(np.float32)), own


@pytest.mark.parametrize(("rows", "width"), [(40, 6), (12, 30)])  # more rows than dimensions, and fewer
@pytest.mark.parametrize("l2", [1.0, 0.01])
def test_it_is_what_scikit_learn_finds(rows, width, l2):
    values, own = drawn(rows, width, 4)
    found = fit_logistic(values, np.eye(4)[own], l2)
    known = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=20000).fit(values.astype(np.float64), own)
    assert found.weight == pytest.approx(known.coef_, abs=2e-4)
    assert found.bias == pytest.approx(known.intercept_, abs=2e-4)


def test_the_loss_is_the_loop_over_items_and_its_slope_that_of_finite_differences():
    values, own = drawn(6, 3, 4)
    targets = np.eye(4)[own]
    targets[0] = [0.5, 0, 0.5, 0]
    targets[1] = 0  # of no class
    flat = np.random.default_rng(1).standard_normal(4 * 4)
    w, b = flat.reshape(4, 4)[:, :3], flat.reshape(4, 4)[:, 3]
    total = 0.3 / 2 * sum(float(x) ** 2 for x in w.ravel())
    for f, y in zip(values.astype(np.float64), targets, strict=True):
        logits = [sum(w[c, j] * f[j] for j in range(3)) + b[c] for c in range(4)]
        total -= sum(y[c] * (logits[c] - np.log(sum(np.exp(x) for x in logits))) for c in range(4))
    loss, slope = _loss(flat, values.astype(np.float64), targets, 0.3)
    assert loss == pytest.approx(total, abs=1e-10)
    for place in range(len(flat)):
        step = np.zeros(len(flat))
        step[place] = 1e-6
        ends = [_loss(flat + sign * step, values.astype(np.float64), targets, 0.3)[0] for sign in (1, -1)]
        assert slope[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


def test_where_it_begins_changes_nothing_but_the_last_digits():
    values, own = drawn(12, 30, 4)
    far = fit_logistic(values, np.eye(4)[own], 1e-3)
    cold, warm = (fit_logistic(values, np.eye(4)[own], 0.1, start) for start in (None, far))
    assert warm.weight == pytest.approx(cold.weight, abs=1e-5)
    assert warm.bias == pytest.approx(cold.bias, abs=1e-5)


def test_rows_are_the_same_in_their_span():
    values, _ = drawn(12, 30, 4)
    basis, low = _span(values)
    assert basis.shape == (30, 12)
    assert low @ basis.T == pytest.approx(values, abs=1e-6)


def test_threads_change_no_bit():
    values, own = drawn(300, 400, 20)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(fit_logistic(values, np.eye(20)[own], 0.1))
    assert np.array_equal(found[0].weight, found[1].weight)
    assert np.array_equal(found[0].bias, found[1].bias)
