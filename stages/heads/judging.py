"""Any head as a classifier of pictures: by its own logits, or by the class whose name, as a text, is nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from cache.errors import UsageError, UserError
from stages.heads.head import Head
from stages.items import Array, Items, Modality
from stages.retrieval import score


@runtime_checkable
class Judge(Protocol):
    """A head that has a logit for each class of its `about`."""

    def logits(self, items: Items, modality: Modality) -> Array:
        """(N, C), target classes first, then source classes."""


def judges(head: Head) -> bool:
    """Whether a head has logits of its own: one that may judge no class has none."""
    return isinstance(head, Judge) and bool(head.about["classes"]["target"])


def class_logits(head: Head, items: Items, classes: Sequence[str]) -> Array:
    """How much the pictures of N items look like each of some classes, (N, C) float32, higher is more.

    A head without logits of its own compares a picture with the names of the classes as it compares it with texts.
    UserError for a class that it does not judge, or whose name has no vector; UsageError where it compares views."""
    if not judges(head):
        _refuse_views(head)
        named = names_as_texts(items, classes)
        image, text = head.vectors(items, "image", "target"), head.vectors(named, "text", "target")
        return score(image.values, text.values, image.match)
    assert isinstance(head, Judge)
    known = [*head.about["classes"]["target"], *head.about["classes"]["source"]]
    if lost := [name for name in classes if name not in known]:
        raise UserError(f"the head of {head.about['method']} judges no class '{lost[0]}'; it was trained without it")
    return head.logits(items, "image")[:, [known.index(name) for name in classes]]


def _refuse_views(head: Head) -> None:
    if head.about.get("retrieve", "pooled") != "pooled":
        method = head.about["method"]
        raise UsageError(
            f"the head of {method} compares component views, and the name of a class has none; pass"
            f" -S train.{method}.retrieve=pooled"
        )


def names_as_texts(like: Items, classes: Sequence[str]) -> Items:
    """The names of classes as the texts of items: their pooled vectors, without tokens or views; UserError for a name
    without a vector."""
    known = like.names.get("joint", {})
    for name in classes:
        if name not in known or not np.linalg.norm(known[name]) > 0:
            raise UserError(f"class '{name}': its name has no vector to judge by; run 'extract' again, or rename it")
    pairs = like.take(np.zeros(len(classes), np.int64))
    vectors = np.stack([known[name] for name in classes])
    bare = replace(pairs, ids=list(classes), labels=[(name,) for name in classes], views=None, weights=None, live=None)
    return replace(bare, pooled={**pairs.pooled, "text": vectors}, tokens=None, captions=None, responsibilities=None)
