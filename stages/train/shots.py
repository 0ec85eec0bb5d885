"""What the methods of classification share: the labelled pictures of an episode as unit vectors, the names of their
classes beside them, and values chosen on the validation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.heads import classifier
from stages.heads.head import Affine, to_sphere
from stages.items import Array, Items, Modality
from stages.section import Section
from stages.threads import one_blas_thread
from stages.train.episode import TrainEpisode, describe, fitted, members_of, name_vectors, require_names, space
from stages.train.loop import classes_of

Members = NDArray[np.bool_]
P = TypeVar("P")


@dataclass(frozen=True)
class Shots:
    """N labelled items of an episode as a classifier sees them: pictures and texts (N, d) float32 unit vectors of the
    space that `align` maps into, members (N, C) bool, which is of which of the classes; judged (M, d) and its members
    (M, C): the pictures of the validation rows, by which values are chosen; none where M = 0."""

    classes: list[str]
    align: Mapping[Modality, Affine]
    pictures: Array
    texts: Array
    members: Members
    judged: Array
    judged_members: Members


def shots_of(episode: TrainEpisode, shared: bool) -> Shots:
    """Everything that has a label in an episode. shared: in the space of both modalities, which CCA makes where two
    towers have none; else pictures stay where their own tower puts them. One thread, so that the numbers do not depend
    on how many cores there are."""
    with one_blas_thread():
        align = space(episode) if shared else {}
        classes = classes_of(episode.items.labels)
        seen = [_pictures(items, align) for items in (episode.items, episode.validation)]
        texts = to_sphere(episode.items.pooled["text"], episode.items.aligned, align.get("text"))
    members = [members_of(items.labels, classes) for items in (episode.items, episode.validation)]
    own, judged = (found.reshape(-1, len(classes)) for found in members)
    return Shots(classes, align, seen[0], texts, own, seen[1], judged)


def _pictures(items: Items, align: Mapping[Modality, Affine]) -> Array:
    return to_sphere(items.pooled["image"], items.aligned, align.get("image"))


def names_of(episode: TrainEpisode, shots: Shots, method: str) -> Array:
    """The names of the classes as texts, (C, d) float32 unit vectors; UserError where a name has no vector."""
    vectors = name_vectors(episode.items, shots.classes, "joint")
    require_names(shots.classes, vectors, f"leave {method} out of train.methods")
    with one_blas_thread():
        return to_sphere(vectors, episode.items.aligned, shots.align.get("text"))


def targets_of(members: Members) -> NDArray[np.float64]:
    """What a softmax should say of each item, (N, C) float64: (ours) an item of several classes is as much of each."""
    return np.asarray(members / np.maximum(members.sum(axis=1, keepdims=True), 1), np.float64)


def top_1(logits: Array, members: Members) -> float:
    """The share of the items whose highest logit (N, C) is of a class of theirs; of equal ones the first counts."""
    return float(np.mean(members[np.arange(len(logits)), logits.argmax(axis=1)]))


def best_of(points: Iterable[P], shots: Shots, logits: Callable[[P], Array]) -> P:
    """The point whose logits (M, C) of the validation rows are right most often, the first of those that are as good.

    The first of all where there is no validation row to choose by (ours)."""
    listed = list(points)
    if len(listed) < 2 or not len(shots.judged):
        return listed[0]
    return max(listed, key=lambda point: top_1(logits(point), shots.judged_members))


def every(listed: Any) -> list[Any]:
    """The values of a key that has one or lists several."""
    return listed if isinstance(listed, list) else [listed]


def about_of(
    episode: TrainEpisode, method: str, section: Section, classes: Sequence[str], **told: Any
) -> dict[str, Any]:
    """What a head of classification says of itself. told: `scale` and `share`, 1 and 0 where nothing else is said, what
    of the keys is no tensor, and what was `chosen` on the validation rows."""
    judged = {"classes": {"target": list(classes), "source": []}, "scale": 1.0, "share": 0.0}
    return {**describe(episode, method, classifier.KIND), **fitted(episode, section), **judged, **told}
