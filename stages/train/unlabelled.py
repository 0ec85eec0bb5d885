"""Soft self-training (ours): unlabelled items move the prototypes of the target classes, a round at a time, in closed
form. It is expectation maximisation over the prototypes: who is of which class, then what a class looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from stages.items import MODALITIES, Array, Modality, unit


@dataclass(frozen=True)
class Judge:
    """One vote on n unlabelled items. known[m] (C, d_m) float32: what is known of a class, lambda name_c + the sum of
    its supports, before it has length 1, target classes first; places[m] (n, d_m) float32: the items as unit vectors z;
    weight[m]: what the vote counts in the logits; shared: one space, in which an item of either modality says something
    of the one prototype."""

    known: dict[Modality, Array]
    places: dict[Modality, Array]
    weight: dict[Modality, float]
    shared: bool

    def prototypes(self, posteriors: dict[Modality, Array], weight: float) -> dict[Modality, Array]:
        """p_c = unit(known_c + weight sum_i P_ic z_i), (C, d_m) a modality."""
        found = {m: np.float32(weight) * (posteriors[m].T @ self.places[m]) for m in MODALITIES}
        if self.shared:
            found = dict.fromkeys(MODALITIES, found["image"] + found["text"])
        return {m: unit(self.known[m] + found[m]) for m in MODALITIES}

    def logits(self, prototypes: dict[Modality, Array], modality: Modality) -> Array:
        """The vote's share of the logits of all items in one modality, (n, C)."""
        return np.float32(self.weight[modality]) * (self.places[modality] @ prototypes[modality].T)


def refine(
    judges: Sequence[Judge], targets: int, rounds: int, weight: float, tau: float, paired: bool
) -> list[dict[Modality, Array]]:
    """The prototypes of every judge after some rounds, unit vectors (C, d_m) float32 a modality.

    Each round takes the posteriors P of the items under the present prototypes, at temperature tau, and sets new
    prototypes: unit(known_c + weight sum_i P_ic z_i). Items are of the first `targets` classes, the others' prototypes
    stay. paired: row i of both modalities is one item, judged by the sum of its logits; else each row stands alone."""
    found = [{m: unit(judge.known[m]) for m in MODALITIES} for judge in judges]
    for _ in range(rounds):
        logits = {m: _open(judges, found, m, targets) / np.float32(tau) for m in MODALITIES}
        if paired:
            logits = dict.fromkeys(MODALITIES, logits["image"] + logits["text"])
        posteriors = {m: np.asarray(softmax(values, axis=1), np.float32) for m, values in logits.items()}
        found = [judge.prototypes(posteriors, weight) for judge in judges]
    return found


def _open(judges: Sequence[Judge], found: list[dict[Modality, Array]], modality: Modality, targets: int) -> Array:
    """The summed logits (n, C), with no chance for a class that no item can be of."""
    votes = (judge.logits(own, modality) for judge, own in zip(judges, found, strict=True))
    total = np.asarray(sum(votes, np.zeros((), np.float32)))
    total[:, targets:] = -np.inf
    return total
