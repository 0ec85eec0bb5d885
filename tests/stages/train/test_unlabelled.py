"""Soft self-training against plain loops in float64, and on clusters whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.items import MODALITIES, unit
from stages.train.unlabelled import Judge, refine

CLASSES, TARGETS, COUNT = 5, 3, 7


def judge(seed: int, shared: bool, weight: dict[Any, float], width: int = 6) -> Judge:
    rng = np.random.default_rng(seed)

    def drawn(rows: int) -> np.ndarray:
        return rng.standard_normal((rows, width)).astype(np.float32)

    first = drawn(CLASSES)
    known = {"image": first, "text": first if shared else drawn(CLASSES)}
    return Judge(known, {m: unit(drawn(COUNT)) for m in MODALITIES}, weight, shared)


JUDGES = [judge(0, True, {"image": 0.7, "text": 0.5}), judge(1, False, {"image": 0.3, "text": 0.5}, width=4)]


def sphere(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def by_loop(judges: list[Judge], rounds: int, weight: float, tau: float, paired: bool) -> list[dict[Any, np.ndarray]]:
    """The same in float64, item by item and class by class."""
    p = [{m: np.array([sphere(row.astype(float)) for row in j.known[m]]) for m in MODALITIES} for j in judges]
    for _ in range(rounds):
        like = {m: np.zeros((COUNT, TARGETS)) for m in MODALITIES}
        for m in MODALITIES:
            for i, c in np.ndindex(COUNT, TARGETS):
                votes = zip(judges, p, strict=True)
                like[m][i, c] = sum(j.weight[m] * j.places[m][i] @ own[m][c] for j, own in votes)
        if paired:
            like = dict.fromkeys(MODALITIES, like["image"] + like["text"])
        post = {m: np.exp(like[m] / tau) / np.exp(like[m] / tau).sum(axis=1, keepdims=True) for m in MODALITIES}
        for j, own in zip(judges, p, strict=True):
            for m in MODALITIES:
                own[m] = own[m].copy()
                for c in range(TARGETS):
                    of = MODALITIES if j.shared else (m,)
                    total = j.known[m][c].astype(float)
                    for k in of:
                        for i in range(COUNT):
                            total = total + weight * post[k][i, c] * j.places[k][i]
                    own[m][c] = sphere(total)
    return p


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("rounds", [1, 4])
@pytest.mark.parametrize(("weight", "tau"), [(0.3, 0.2), (2.0, 0.5)])
def test_prototypes_are_those_of_the_loop(rounds, weight, tau, paired):
    found = refine(JUDGES, TARGETS, rounds, weight, tau, paired)
    for own, expected in zip(found, by_loop(JUDGES, rounds, weight, tau, paired), strict=True):
        for m in MODALITIES:
            assert own[m] == pytest.approx(expected[m], abs=2e-5)


@pytest.mark.parametrize(("rounds", "weight"), [(0, 1.0), (3, 0.0)])
def test_no_round_and_no_weight_leave_every_bit_of_what_is_known(rounds, weight):
    for own, known in zip(refine(JUDGES, TARGETS, rounds, weight, 0.1, True), JUDGES, strict=True):
        assert all(np.array_equal(own[m], unit(known.known[m])) for m in MODALITIES)


def test_prototypes_of_classes_that_no_item_is_of_stay_to_the_bit():
    for own, known in zip(refine(JUDGES, TARGETS, 3, 1.0, 0.1, True), JUDGES, strict=True):
        assert all(np.array_equal(own[m][TARGETS:], unit(known.known[m])[TARGETS:]) for m in MODALITIES)
        assert not np.allclose(own["text"][:TARGETS], unit(known.known["text"])[:TARGETS], atol=1e-3)


def shuffled(one: Judge, order: np.ndarray) -> Judge:
    return Judge(one.known, {**one.places, "text": one.places["text"][order]}, one.weight, one.shared)


@pytest.mark.parametrize("paired", [True, False])
def test_which_text_belongs_to_which_picture_counts_only_where_that_is_known(paired):
    order = np.random.default_rng(5).permutation(COUNT)
    found, other = (
        refine(judges, TARGETS, 3, 1.0, 0.1, paired) for judges in (JUDGES, [shuffled(j, order) for j in JUDGES])
    )
    gap = max(np.abs(a[m] - b[m]).max() for a, b in zip(found, other, strict=True) for m in MODALITIES)
    assert (gap > 1e-2) == paired


def clusters(spread: float, seed: int = 0) -> tuple[Judge, np.ndarray, np.ndarray]:
    """Three clusters of 40 pairs on the sphere, and one support of each that lies far out."""
    rng = np.random.default_rng(seed)
    middle = np.eye(3, 8)
    of = np.repeat(np.arange(3), 40)
    places = {m: unit((middle[of] + spread * rng.standard_normal((120, 8))).astype(np.float32)) for m in MODALITIES}
    far = unit((middle + 0.9 * np.roll(middle, 1, axis=0) + 0.1 * rng.standard_normal((3, 8))).astype(np.float32))
    known = dict.fromkeys(MODALITIES, far)
    return Judge(known, places, dict.fromkeys(MODALITIES, 1.0), True), of, middle


@pytest.mark.parametrize("paired", [True, False])
def test_unlabelled_items_mend_supports_that_lie_far_out(paired):
    one, of, middle = clusters(0.25)
    before, after = (refine([one], 3, rounds, 1.0, 0.1, paired)[0] for rounds in (0, 5))
    right = [np.mean(np.argmax(one.places["image"] @ own["image"].T, axis=1) == of) for own in (before, after)]
    assert right[0] < 0.93
    assert right[1] > 0.97
    assert np.min(np.sum(after["text"] * middle, axis=1)) > 0.98


def test_no_item_moves_nothing():
    one = JUDGES[0]
    none = Judge(one.known, {m: one.places[m][:0] for m in MODALITIES}, one.weight, one.shared)
    (found,) = refine([none], TARGETS, 3, 1.0, 0.1, True)
    assert np.array_equal(found["image"], unit(one.known["image"]))
