"""Intervals and corrected comparisons.

Two 95 % intervals, never mixed: *support* is the spread over the draws of the support set, on one class split;
*class* is what other target classes and other queries would have given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]
Interval = tuple[float, float]

LEVEL = 0.95


def support_interval(values: Sequence[float] | Float64) -> Interval | None:
    """The t interval of a mean over seeds, one value a seed; None for fewer than two.

    For the difference of two methods pass the differences, seed by seed.
    """
    count = len(values)
    if count < 2:
        return None
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    middle = float(np.mean(values))
    return middle - half, middle + half


def bootstrap_means(sums: Float64, counts: Float64, classes: Integers, draws: int, seed: int) -> Float64:
    """Means over resampled classes and, within them, resampled queries: (draws, M) float64.

    sums (Q, M): the summed figures of each query, a column for each thing to compare; counts (Q,): how many
    figures each sum holds (1 where a query was asked once); classes (Q,) int: the class each query stands for.
    A draw takes as many classes as there are, with replacement, and of each as many queries as it has, with
    replacement. All columns see the same draws: their differences are paired.
    """
    rng = np.random.default_rng(seed)
    names = np.unique(classes)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)  # (draws, classes)
    both = np.column_stack([sums, counts])
    total = np.zeros((draws, both.shape[1]))
    for column, name in enumerate(names):
        own = both[classes == name]
        total += rng.multinomial(times[:, column] * len(own), np.full(len(own), 1 / len(own))) @ own
    return np.asarray(total[:, :-1] / total[:, -1:], np.float64)


def percentile_interval(drawn: Float64) -> Interval:
    """The central 95 % of bootstrap draws (draws,)."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bootstrap_p(drawn: Float64) -> float:
    """Two-sided p of a difference being zero, from its bootstrap draws (draws,); never below 2 / (draws + 1)."""
    beyond = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return float(min(1.0, 2 * (1 + beyond) / (len(drawn) + 1)))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p values, in the order given."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(value) for value in corrected]
