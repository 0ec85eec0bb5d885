"""A head that judges classes learns one more from a few examples: no training loop, no class forgotten. Pure.

DESIGN section 6, SCM, step 3, for one class: whitenings, temperatures and all other prototypes stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

from cache.errors import UsageError
from stages.heads.head import Affine, Head, to_sphere
from stages.heads.posterior import Neighbours, PosteriorHead, Vote, raw_of
from stages.items import MODALITIES, Array, Items, Modality, unit
from stages.section import Gallery


@dataclass(frozen=True)
class Lesson:
    """A class to learn: its name, examples[m] as items in modality m, any number of each; and names: the names of all
    classes as texts, the new one last, None where the encoder's words for classes are not known."""

    name: str
    examples: Mapping[Modality, Items]
    names: Items | None


def require_teachable(head: Head) -> PosteriorHead:
    """The head, if it judges classes; UsageError says what to use instead."""
    if not isinstance(head, PosteriorHead):
        raise UsageError(f"method '{head.about['method']}' judges no classes and can learn none; use --method scm")
    if not head.about["classes"]["target"]:
        raise UsageError("this head judges no classes, for it had neither a support nor a name; use more --shots")
    return head


def taught(head: PosteriorHead, lesson: Lesson) -> PosteriorHead:
    """The head with one more target class, behind the others. UsageError where it has a class of that name already, or
    where neither an example nor a name says anything of it."""
    known = head.about["classes"]
    if lesson.name in (*known["target"], *known["source"]):
        raise UsageError(f"class '{lesson.name}' is known already; give the new class another name")
    place = len(known["target"])
    votes = tuple(_one_more(head, vote, lesson, place) for vote in head.votes)
    classes = {**known, "target": [*known["target"], lesson.name]}
    about = {**head.about, "classes": classes, "taught": [*head.about.get("taught", []), lesson.name]}
    return replace(head, about=about, votes=votes)


def classes_of(head: PosteriorHead, gallery: Gallery) -> list[str]:
    """The names of the classes that it judges in a gallery, in the order of its posterior."""
    known = head.about["classes"]
    return [*known["target"], *known["source"]] if gallery == "all" and known["target"] else list(known["target"])


def posterior(head: PosteriorHead, items: Items, modality: Modality, gallery: Gallery) -> Array:
    """P (N, C): how likely each class of classes_of is, as its vectors have it."""
    logits = head.logits(items, modality)[:, : len(classes_of(head, gallery))]
    return np.asarray(softmax(logits / head.about["tau"], axis=1), np.float32)


def _one_more(head: PosteriorHead, vote: Vote, lesson: Lesson, place: int) -> Vote:
    """The vote with a prototype, and where neighbours judge their keys, of the new class at a place among them."""
    places = {m: vote.place(_features(head, vote, own, m), m) for m, own in lesson.examples.items()}
    sums = {m: own.sum(axis=0) for m, own in places.items()}
    sums["text"] = sums["text"] + _name(head, vote, lesson)
    if vote.space == "joint":
        sums = dict.fromkeys(MODALITIES, sums["image"] + sums["text"])
        if not sums["text"].any():
            raise UsageError(f"nothing says what class '{lesson.name}' is like; give a --support, or --texts")
    return replace(
        vote,
        prototypes={m: np.insert(own, place, unit(sums[m]), axis=0) for m, own in vote.prototypes.items()},
        neighbours={m: _with_keys(own, places[m], place) for m, own in vote.neighbours.items()},
    )


def _name(head: PosteriorHead, vote: Vote, lesson: Lesson) -> Array:
    """lambda times the whitened name, about the mean of the names that the head knows; 0 where names count nothing."""
    section = head.about["params"]
    if not section["names"] or lesson.names is None:
        return np.zeros((), np.float32)
    texts = _features(head, vote, lesson.names, "text")
    middle = Affine(texts[:-1].mean(axis=0), vote.whiten["text"].map)
    return np.asarray(section["name_weight"] * unit(middle(texts[-1:]))[0], np.float32)


def _features(head: PosteriorHead, vote: Vote, items: Items, modality: Modality) -> Array:
    """What a vote maps: unit vectors of its space."""
    if vote.space == "raw":
        return raw_of(items, modality)
    return to_sphere(items.pooled[modality], head.about["aligned"], head.align.get(modality))


def _with_keys(near: Neighbours, keys: Array, place: int) -> Neighbours:
    start = int(near.counts[:place].sum())
    counts = np.insert(near.counts, place, len(keys))
    return replace(near, keys=np.insert(near.keys, start, keys, axis=0), counts=counts)
