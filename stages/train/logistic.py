"""Multinomial logistic regression with an L2 penalty: convex, to convergence, without random numbers.

What the linear probe and the cross-modal one are made of; the penalty is chosen on validation rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from stages.items import Array
from stages.threads import one_blas_thread
from stages.train.params import ProbeSection
from stages.train.shots import Members, Shots, best_of, every, targets_of

Matrix = NDArray[np.float64]
STEPS, TOLERANCE = 2000, 1e-7  # of L-BFGS: at most so many, until no slope is steeper


@dataclass(frozen=True)
class Logistic:
    """A linear classifier: logits f W^T + b; weight W (C, d) and bias b (C,) float64."""

    weight: Matrix
    bias: Matrix

    @property
    def arrays(self) -> tuple[Array, Array]:
        """Weight and bias as a head holds them, float32."""
        return self.weight.astype(np.float32), self.bias.astype(np.float32)

    def logits(self, values: Array) -> Array:
        """(N, C) float32 of features (N, d)."""
        weight, bias = self.arrays
        return np.asarray(values @ weight.T + bias, np.float32)


def chosen_logistic(
    shots: Shots, values: Array, members: Members, section: ProbeSection
) -> tuple[Logistic, dict[str, float]]:
    """The classifier of some rows (N, d), of members (N, C), at the listed L2 that serves the validation rows best, and
    what was chosen. Each fit begins where the one before it ended."""
    fits: dict[float, Logistic] = {}
    start = None
    for l2 in every(section.l2):
        start = fits[l2] = fit_logistic(values, targets_of(members), l2, start)
    chosen = best_of(fits, shots, lambda l2: fits[l2].logits(shots.judged))
    return fits[chosen], {"l2": chosen}


def fit_logistic(values: Array, targets: Matrix, l2: float, start: Logistic | None = None) -> Logistic:
    """The minimum over W and b of  sum_i -sum_c y_ic log softmax_c(f_i W^T + b) + l2/2 |W|^2.

    values f (N, d), targets y (N, C), rows that sum to 1 (or to 0, of an item that is of no class); l2 above 0, which
    is 1 / C of other libraries; the bias is free. start: where to begin; the same minimum is found from anywhere. It is
    sought on the span of the rows, in which W must lie; float64, one thread."""
    with one_blas_thread():
        basis, low = _span(values)
        begin = np.zeros((targets.shape[1], low.shape[1] + 1))
        if start is not None:
            begin = np.column_stack([start.weight @ basis, start.bias])
        found = minimize(
            _loss, begin.ravel(), (low, targets, l2), "L-BFGS-B", jac=True,
            options={"maxiter": STEPS, "gtol": TOLERANCE, "ftol": 0.0, "maxcor": 20, "maxfun": 4 * STEPS},
        ).x.reshape(begin.shape)  # fmt: skip
        return Logistic(found[:, :-1] @ basis.T, found[:, -1])


def _span(values: Array) -> tuple[Matrix, Matrix]:
    """An orthonormal basis (d, r) of the rows' span, or of all of it, and the rows (N, r) in it."""
    rows = np.asarray(values, np.float64)
    if len(rows) >= rows.shape[1]:
        return np.eye(rows.shape[1]), rows
    basis, upper = np.linalg.qr(rows.T)
    return basis, upper.T


def _loss(flat: Matrix, rows: Matrix, targets: Matrix, l2: float) -> tuple[float, Matrix]:
    """The value and its gradient."""
    both = flat.reshape(targets.shape[1], -1)
    told = log_softmax(rows @ both[:, :-1].T + both[:, -1], axis=1)
    wrong = np.exp(told) * targets.sum(axis=1, keepdims=True) - targets
    slope = np.column_stack([wrong.T @ rows + l2 * both[:, :-1], wrong.sum(axis=0)])
    return float(-(targets * told).sum() + l2 / 2 * np.square(both[:, :-1]).sum()), slope.ravel()
