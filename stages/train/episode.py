"""What a method may fit on: the source-train and support rows of one episode, and what its access lets in beside them,
without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.episodes import FITTED_ON, Episode
from cache.errors import UsageError, UserError
from stages.heads import linear
from stages.heads.head import Affine
from stages.items import MODALITIES, Array, Items, Modality, Space, unit
from stages.section import Retrieve, Section
from stages.train.align import fit_cca
from stages.train.methods import find
from stages.train.params import CcaSection


@dataclass(frozen=True)
class TrainEpisode:
    """Rows of source-train and support with their features. items: N of them; support (N,) bool; align: how two
    unaligned towers are brought together, None where they are; source, target: the sorted class names of the class
    split; key: the digest of these rows and their labels. unlabelled: items of target classes that the row's access
    lets in, their labels taken away, none of them without; paired: is row i of both modalities known to be one pair. It
    is not in the batch of queries, where the pair is the answer to one of the questions. validation: labelled rows by
    which a method of classification chooses its values, and which it fits on in no other way; none elsewhere."""

    items: Items
    support: NDArray[np.bool_]
    align: CcaSection | None
    source: list[str]
    target: list[str]
    key: str
    unlabelled: Items
    paired: bool
    validation: Items


def train_episode(episode: Episode, items: Items, align: CcaSection, role: str | None = None) -> TrainEpisode:
    """The part of an episode that may be fitted on, with the labels the episode gives these rows.

    role: whose items come in beside it without labels (see params.LETS_IN), None for none."""
    ids = {role: episode.ids[role] for role in FITTED_ON}
    chosen = items.take(items.rows_of([name for role in FITTED_ON for name in ids[role]]))
    labels = [episode.labels[name] for name in chosen.ids]
    judged = items.take(items.rows_of(episode.ids.get("validation", [])))
    support = np.repeat([False, True], [len(ids[role]) for role in FITTED_ON])
    fitted_on = relabelled(chosen, labels)
    classes = episode.source_classes, episode.target_classes
    more = without_labels(items.take(items.rows_of(episode.ids[role] if role else [])))
    seen = None if items.aligned else align
    told = relabelled(judged, [episode.labels[name] for name in judged.ids])
    return TrainEpisode(fitted_on, support, seen, *classes, episode.key, more, role != "test", told)


def without_labels(items: Items) -> Items:
    """The items with every label taken away."""
    return relabelled(items, [()] * len(items))


def inductive(episode: TrainEpisode) -> TrainEpisode:
    """The episode without the unlabelled items."""
    return replace(episode, unlabelled=episode.unlabelled.take([]))


def without_views(episode: TrainEpisode) -> TrainEpisode:
    """The episode without the component views of its items, for a fit that reads none: its head names no mixture."""
    return replace(episode, items=replace(episode.items, views=None, weights=None, live=None))


def relabelled(items: Items, labels: list[tuple[str, ...]]) -> Items:
    """The items under other labels."""
    return Items(**{**vars(items), "labels": labels})


def space(episode: TrainEpisode) -> dict[Modality, Affine]:
    """What a head maps features through first: nothing for an aligned encoder, else CCA on the episode's pairs."""
    if episode.align is None:
        return {}
    return fit_pooled(episode, episode.align)


def fit_pooled(episode: TrainEpisode, section: CcaSection) -> dict[Modality, Affine]:
    """CCA of the pooled vectors of an episode's pairs, joint ones at unit length (see heads.to_sphere), and of the
    unlabelled pairs where they are known to be such: CCA reads no label."""
    seen = [episode.items, episode.unlabelled] if episode.paired else [episode.items]
    image, text = (np.concatenate([_direction(items, m) for items in seen]) for m in MODALITIES)
    return fit_cca(image, text, section)


def _direction(items: Items, modality: Modality) -> Array:
    return unit(items.pooled[modality]) if items.aligned else items.pooled[modality]


def members_of(labels: Sequence[tuple[str, ...]], classes: Sequence[str]) -> NDArray[np.bool_]:
    """(N, C) bool: which row is of which class."""
    return np.array([[name in own for name in classes] for own in labels])


def name_vectors(items: Items, classes: Sequence[str], where: Space) -> Array:
    """The names of C classes as texts, (C, D) float32, as Items.names has them; zero where a name has no vector."""
    known = items.names.get(where, {})
    width = len(next(iter(known.values()))) if known else items.pooled["text"].shape[1]
    return np.stack([known.get(name, np.zeros(width, np.float32)) for name in classes])


def require_names(classes: Sequence[str], vectors: Array, otherwise: str) -> None:
    """Refuse a class whose name has no vector (C, D); UserError says what to do otherwise than rename it, which helps
    only where other names have one."""
    if not vectors.any():
        raise UserError(f"no class name has a vector to judge by; {otherwise}")
    for name, vector in zip(classes, vectors, strict=True):
        if not np.linalg.norm(vector) > 0:
            raise UserError(f"class '{name}': its name has no vector to judge by; rename the class, or {otherwise}")


def require_joint_views(episode: TrainEpisode, method: str) -> None:
    """Refuse views of another width than the pooled vectors: no head fits both."""
    items = episode.items
    for modality in MODALITIES:
        views, pooled = (items.views or {}).get(modality), items.pooled[modality]
        if views is None or views.shape[2] != pooled.shape[1]:
            raise UsageError(
                f"method '{method}' needs component views in the space of the pooled vectors;"
                " set extract.tokens to joint and run 'extract' and 'mixture' again"
            )


def describe(episode: TrainEpisode, method: str, kind: str) -> dict[str, Any]:
    """What a head says of itself in its file, before what it was fitted on: kind, method, features."""
    items = episode.items
    return {
        "kind": kind,
        "method": method,
        "encoder": items.encoder,
        "aligned": items.aligned,
        "features": {name: items.keys[name] for name in find(method).reads(items.views is not None)},
    }


def describe_linear(episode: TrainEpisode, method: str, retrieve: Retrieve) -> dict[str, Any]:
    """The same of a linear head, with how its views are read."""
    return {**describe(episode, method, linear.KIND), "retrieve": retrieve}


def fitted(episode: TrainEpisode, section: Section) -> dict[str, Any]:
    """What a head was fitted on, and with which values, for its file."""
    align = None if episode.align is None else episode.align.model_dump()
    return {"episode": episode.key, "params": section.model_dump(by_alias=True), "align": align}
