"""Whitening: directions in which items of one class differ, or all items do, made to count less. Closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from stages.heads.head import Affine
from stages.items import Array
from stages.train.params import Scatter

Matrix = NDArray[np.float64]
TINY = 1e-10  # of the largest eigenvalue: below it a direction is rounding, or nothing that whitening may blow up


@dataclass(frozen=True)
class Spectrum:
    """A covariance C (D, D) on the span of its rows: eigenvalues (r,), at least one of them not 0, and basis (D, r)."""

    values: Matrix
    basis: Matrix

    def whiten(self, mean: Array, shrinkage: float) -> Affine:
        """x -> (x - mean) W, W = ((1-s) C + s tr(C)/r I)^(-1/2) up to a rotation and a scale, which no cosine sees.

        (ours) tr(C)/r is the mean over the span's r eigenvalues, where DESIGN has tr(C)/d over all d dimensions: the
        two are one as soon as rows outnumber dimensions, and with fewer rows d would count directions in which no row
        lies, so that the same s would shrink the less the wider the tower is."""
        mixed = (1 - shrinkage) * self.values + shrinkage * self.values.mean()
        scale = np.sqrt(self.values.mean() / np.maximum(mixed, TINY * self.values.max()))
        return Affine(mean, (self.basis * scale).astype(np.float32))


def spectrum(centred: Matrix, classes: NDArray[np.bool_], covariance: Scatter) -> Spectrum:
    """The covariance of centred rows (n, D): of the rows (`total`), or of what is left of each once the mean of its
    class is taken away (`within`). classes (n, C) bool; a row of several classes loses the mean of their means (ours).

    With fewer rows than dimensions everything happens on the span of the rows, which loses no row's distances."""
    span = _span(centred)
    rows = centred if span is None else centred @ span
    left = rows - _class_means(rows, classes) if covariance == "within" else rows
    values, basis = linalg.eigh(left.T @ left / len(left))
    if values[-1] <= TINY * np.square(rows).sum() / len(rows):  # the rows of a class are all one: nothing to whiten by
        values = np.ones_like(values)
    return Spectrum(np.maximum(values, 0), basis if span is None else span @ basis)


def _span(centred: Matrix) -> Matrix | None:
    """An orthonormal basis (D, r) of the rows' span, by way of their Gram matrix; None where it would be no smaller, or
    where all rows are zero and span nothing."""
    if len(centred) > centred.shape[1] or not centred.any():
        return None
    values, vectors = linalg.eigh(centred @ centred.T)
    kept = values > TINY * values[-1]
    return np.asarray(centred.T @ (vectors[:, kept] / np.sqrt(values[kept])))


def _class_means(rows: Matrix, classes: NDArray[np.bool_]) -> Matrix:
    """For each row the mean of the means of its classes."""
    member = classes.astype(np.float64)
    means = member.T @ rows / np.maximum(member.sum(axis=0), 1)[:, None]
    return np.asarray(member @ means / np.maximum(member.sum(axis=1), 1)[:, None])
