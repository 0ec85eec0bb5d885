"""How complex a set of features is: the intrinsic dimension of its items, and how many directions an item's tokens
spread over. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

KEPT = 0.9  # of the points; the ratios of the others are those of outliers (Facco et al. 2017)
MOST = 2000  # points; more change the estimate by little, and their distances would not fit into memory
Array = NDArray[np.floating]


def two_nn(points: Array) -> float:
    """The intrinsic dimension of points (N, D) by their two nearest neighbours (Facco, d'Errico, Rodriguez, Laio 2017,
    Sci. Rep. 7, 12140): with mu the ratio of the second distance to the first and F its empirical distribution, the
    slope through the origin of -log(1 - F(mu)) over log mu, on the smaller KEPT of the ratios.

    Of points that stand twice one counts; nan for fewer than three. More than MOST are thinned out evenly."""
    distinct = np.unique(np.asarray(points, np.float64), axis=0)
    if len(distinct) < 3:
        return float("nan")
    if len(distinct) > MOST:
        distinct = distinct[np.linspace(0, len(distinct) - 1, MOST).astype(int)]
    apart = cdist(distinct, distinct)
    np.fill_diagonal(apart, np.inf)
    first, second = np.partition(apart, 1, axis=1)[:, :2].T
    ratios = np.sort(np.log(second / first))
    share = np.arange(1, len(ratios) + 1) / len(ratios)
    kept = max(1, int(KEPT * len(ratios)))
    x, y = ratios[:kept], -np.log1p(-share[:kept])
    return float((x @ y) / (x @ x)) if (x > 0).any() else float("nan")


def participation(tokens: Array) -> float:
    """Over how many directions the tokens (T, D) of an item spread: (sum l)^2 / sum l^2 of the eigenvalues l of their
    covariance (the participation ratio: Gao et al. 2017), between 1 and the lesser of T - 1 and D; 0 for equal tokens.
    """
    centred = np.asarray(tokens, np.float64) - np.mean(tokens, axis=0, dtype=np.float64)
    gram = centred @ centred.T  # has the same eigenvalues, but for zeros
    total = float((gram * gram).sum())
    return float(np.trace(gram)) ** 2 / total if total else 0.0
