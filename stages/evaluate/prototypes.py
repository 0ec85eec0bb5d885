"""What CMM claims, as figures: names become good prototypes of pictures once the gap between the two is closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cache.episodes import Episode
from stages.heads.classifier import ClassHead
from stages.heads.judging import names_as_texts
from stages.items import Array, Items, Modality, unit

STATES = ("plain", "shifted", "mapped")  # of pictures: as they are, moved by one vector, after the head
KINDS = ("names", "pictures", "both")  # of prototypes
GAP = "gap"
Figures = dict[str, dict[str, float]]  # state -> gap and top-1 by kind of prototype


def prototype_figures(head: ClassHead, items: Items, episode: Episode) -> Figures:
    """For each state of the pictures, how far they are from the names of their classes and how well prototypes do.

    `gap` is |mean v - mean T_y| over the test pictures v (Liang et al. 2022), T_y being the name of a picture's class
    (of several, their mean), 0 to 2. The others are top-1 of the test pictures by the nearest prototype: of a class c
    its name T_c; unit(sum of v over its supports); unit of the sum of these two (ours). `shifted` is a control (ours):
    all pictures are moved by what lies between the mean of the supports and that of their names, which closes the gap
    and learns nothing else."""
    classes = episode.target_classes
    seen = [items.take(items.rows_of(episode.ids[role])) for role in ("test", "support")]
    test, support = (_members([episode.labels[name] for name in own.ids], classes) for own in seen)
    names = _vectors(head, names_as_texts(items, classes), "text")
    plain, mapped = ([_vectors(h, own, "image") for own in seen] for h in (replace(head, mapped=None), head))
    way = _own_names(support, names).mean(axis=0) - plain[1].mean(axis=0)
    states = zip(STATES, (plain, [unit(values + way) for values in plain], mapped), strict=True)
    return {state: _figures(asked, given, test, support, names) for state, (asked, given) in states}


def _vectors(head: ClassHead, items: Items, modality: Modality) -> Array:
    return head.vectors(items, modality, "target").values[:, 0]


def _members(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> Array:
    return np.array([[name in own for name in classes] for own in labels], np.float32)


def _own_names(members: Array, names: Array) -> Array:
    """The name of each item's class, (N, d)."""
    return np.asarray(members @ names / members.sum(axis=1, keepdims=True), np.float32)


def _figures(asked: Array, given: Array, test: Array, support: Array, names: Array) -> dict[str, float]:
    """Of test pictures (Q, d) and supports (N, d) with their members (Q, C), (N, C), and names (C, d)."""
    gap = float(np.linalg.norm(asked.mean(axis=0) - _own_names(test, names).mean(axis=0)))
    middle = unit(support.T @ given)
    prototypes = zip(KINDS, (names, middle, unit(names + middle)), strict=True)
    right = {kind: test[np.arange(len(test)), (asked @ own.T).argmax(axis=1)] for kind, own in prototypes}
    return {GAP: gap, **{kind: float(hits.mean()) for kind, hits in right.items()}}
