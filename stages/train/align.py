"""Bringing two towers into one space: regularised canonical correlation analysis, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from cache.errors import ParamsError
from stages.heads.head import Affine
from stages.items import Array, Modality
from stages.threads import one_blas_thread
from stages.train.params import CcaSection

Matrix = NDArray[np.float64]


def fit_cca(images: Array, texts: Array, section: CcaSection) -> dict[Modality, Affine]:
    """Affine maps under which n pairs correlate most, fitted on these pairs alone.

    images (n, D_v), texts (n, D_t) float32. Each covariance gets on its diagonal ridge times the mean of its
    eigenvalues, of which the n - 1 at most that are not 0 count; the columns are the canonical directions, scaled by
    their correlation to the given power. min(dims, D_v, D_t) columns. float64 inside, float32 out. One thread, so that
    the numbers do not depend on how many cores there are. ParamsError where a covariance is singular, which a ridge
    mends."""
    with one_blas_thread():
        return _fit(images, texts, section)


def _fit(images: Array, texts: Array, section: CcaSection) -> dict[Modality, Affine]:
    means = [values.mean(axis=0, dtype=np.float64) for values in (images, texts)]
    centred = [values - mean for values, mean in zip((images, texts), means, strict=True)]
    factors = [_factor(values, section.ridge) for values in centred]
    cross = centred[0].T @ centred[1] / len(images)
    half = linalg.solve_triangular(factors[0], cross, lower=True)
    whitened = linalg.solve_triangular(factors[1], half.T, lower=True).T
    left, correlations, right = svd(whitened)
    kept = slice(0, section.dims)
    scale = correlations[kept] ** section.power
    maps = [
        linalg.solve_triangular(factor, basis[:, kept] * scale, lower=True, trans="T")
        for factor, basis in zip(factors, (left, right.T), strict=True)
    ]
    both = [Affine(m.astype(np.float32), a.astype(np.float32)) for m, a in zip(means, maps, strict=True)]
    return {"image": both[0], "text": both[1]}


def _factor(centred: Matrix, ridge: float) -> Matrix:
    """The lower Cholesky factor of a regularised covariance (D, D)."""
    rows, width = centred.shape
    covariance = centred.T @ centred / rows
    # (ours) n - 1 eigenvalues at most are not 0, and the ridge is in units of their mean: decision 5
    covariance[np.diag_indices(width)] += ridge * np.trace(covariance) / max(1, min(rows - 1, width))
    try:
        return np.asarray(linalg.cholesky(covariance, lower=True))
    except linalg.LinAlgError as error:
        raise ParamsError(
            f"CCA: {rows} pairs leave a covariance of {width} dimensions singular; raise the ridge"
        ) from error


def svd(matrix: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Thin singular value decomposition; LAPACK's fast driver now and then fails to converge, the slow one not."""
    try:
        return linalg.svd(matrix, full_matrices=False)  # type: ignore[no-any-return]
    except linalg.LinAlgError:
        return linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd")  # type: ignore[no-any-return]
