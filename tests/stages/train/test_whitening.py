"""Whitening against loops in float64 and scipy's own matrix root."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from stages.items import unit
from stages.train.whitening import spectrum

CLASSES = 4


def world(rows: int, width: int, several: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, D) whose directions spread unevenly, and their classes (n, C): row i has class i mod C, some another."""
    rng = np.random.default_rng(seed)
    members = np.eye(CLASSES, dtype=bool)[np.arange(rows) % CLASSES]
    if several:
        members[::3, 0] = True
    middle = members @ rng.standard_normal((CLASSES, width))
    values = middle + rng.standard_normal((rows, width)) * np.linspace(0.2, 2, width) + 3
    return values, members


def covariance_by_loop(values: np.ndarray, members: np.ndarray, kind: str) -> np.ndarray:
    mean = values.mean(axis=0)
    total = np.zeros((values.shape[1],) * 2)
    for row, own in zip(values, members, strict=True):
        middles = [values[members[:, c]].mean(axis=0) for c in np.flatnonzero(own)]
        rest = row - (np.mean(middles, axis=0) if kind == "within" else mean)
        total += np.outer(rest, rest)
    return total / len(values)


def cosines_by_loop(values: np.ndarray, members: np.ndarray, kind: str, shrinkage: float) -> np.ndarray:
    """The cosines of all rows under ((1-s) C + s tr(C)/r I)^(-1/2), by scipy's matrix root on the rows' span."""
    centred = values - values.mean(axis=0)
    if len(values) <= values.shape[1]:
        values = values @ linalg.orth(centred.T)
        centred = values - values.mean(axis=0)
    found = covariance_by_loop(values, members, kind)
    width = len(found)
    mixed = (1 - shrinkage) * found + shrinkage * np.trace(found) / width * np.eye(width)
    white = centred @ linalg.inv(linalg.sqrtm(mixed).real)
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    return white @ white.T


def cosines(values: np.ndarray, members: np.ndarray, kind: str, shrinkage: float) -> np.ndarray:
    mean = values.mean(axis=0)
    whiten = spectrum(values - mean, members, kind).whiten(mean.astype(np.float32), shrinkage)
    white = unit(whiten(values.astype(np.float32)))
    return white @ white.T


@pytest.mark.parametrize("several", [False, True], ids=["one class", "several classes"])
@pytest.mark.parametrize("shape", [(60, 6), (9, 20), (12, 12), (13, 12)], ids=str)
@pytest.mark.parametrize("kind", ["within", "total"])
@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 0.95])
def test_cosines_are_those_of_the_matrix_root(kind, shape, several, shrinkage):
    values, members = world(*shape, several)
    assert cosines(values, members, kind, shrinkage) == pytest.approx(
        cosines_by_loop(values, members, kind, shrinkage), abs=1e-5
    )


def test_without_shrinkage_the_covariance_of_what_comes_out_is_round():
    values, members = world(200, 5)
    mean = values.mean(axis=0)
    white = spectrum(values - mean, members, "total").whiten(mean.astype(np.float32), 0.0)(values.astype(np.float32))
    found = np.cov(white.T, bias=True)
    assert found / found[0, 0] == pytest.approx(np.eye(5), abs=1e-4)


@pytest.mark.parametrize("shape", [(60, 6), (9, 20)], ids=str)
@pytest.mark.parametrize("kind", ["within", "total"])
def test_shrinkage_1_is_no_whitening(kind, shape):
    values, members = world(*shape)
    centred = unit((values - values.mean(axis=0)).astype(np.float32))
    assert cosines(values, members, kind, 1.0) == pytest.approx(centred @ centred.T, abs=1e-5)


@pytest.mark.parametrize("shape", [(CLASSES, 3), (CLASSES, 9)], ids=["few dimensions", "many dimensions"])
def test_classes_of_one_row_leave_nothing_to_whiten_by(shape):
    values, members = world(*shape)
    centred = unit((values - values.mean(axis=0)).astype(np.float32))
    assert cosines(values, members, "within", 0.0) == pytest.approx(centred @ centred.T, abs=1e-5)


@pytest.mark.parametrize("width", [6, 40])
def test_copies_within_a_class_are_no_spread_but_rounding(width):
    values, members = world(CLASSES, width)
    values, members = np.repeat(values, 3, axis=0) / 7, np.repeat(members, 3, axis=0)
    centred = unit((values - values.mean(axis=0)).astype(np.float32))
    assert cosines(values, members, "within", 0.5) == pytest.approx(centred @ centred.T, abs=1e-5)


@pytest.mark.parametrize("shape", [(8, 3), (4, 9)], ids=str)
@pytest.mark.parametrize("kind", ["within", "total"])
def test_rows_that_are_all_alike_are_nothing_and_finite(kind, shape):
    members = np.eye(CLASSES, dtype=bool)[np.arange(shape[0]) % CLASSES]
    whiten = spectrum(np.zeros(shape), members, kind).whiten(np.ones(shape[1], np.float32), 0.5)
    assert not whiten(np.ones(shape, np.float32)).any()
    assert np.isfinite(whiten(np.full(shape, 2, np.float32))).all()


def test_fewer_rows_than_dimensions_leave_their_span_alone():
    values, members = world(9, 20)
    found = spectrum(values - values.mean(axis=0), members, "total")
    assert found.basis.shape == (20, 8)
    assert found.basis.T @ found.basis == pytest.approx(np.eye(8), abs=1e-10)


def test_the_order_of_the_rows_changes_nothing():
    values, members = world(40, 6, several=True)
    order = np.random.default_rng(1).permutation(40)
    plain, shuffled = (cosines(values[o], members[o], "within", 0.5) for o in (np.arange(40), order))
    assert shuffled == pytest.approx(plain[np.ix_(order, order)], abs=1e-6)
