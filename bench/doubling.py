"""What twice as many items, tokens, components or classes cost: each doubled twice, all else as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from bench.pairs import WIDTH, episode_of, make_pairs
from bench.row import median_seconds
from bench.training import fitting
from stages.batches import plan_shares
from stages.covariance import Covariance
from stages.em import fit_mixture
from stages.evaluate.plan import Task
from stages.evaluate.ranking import Seen, evaluate_task
from stages.heads.head import Vectors
from stages.items import MODALITIES, Modality, unit
from stages.section import Gallery
from stages.threads import side_by_side

FACTORS = (1, 2, 4)
REPEATS = 3
Dimension = Literal["items", "tokens", "components", "classes"]
Run = Callable[[], object]
Grows = Mapping[Dimension, tuple[int, str]]


@dataclass(frozen=True)
class Work:
    """name; prepare: sizes -> what is timed; grows: where each dimension begins, and for people what makes it grow
    otherwise than in proportion, if anything does."""

    name: str
    prepare: Callable[..., Run]
    grows: Grows


def fit_mixtures(covariance: Covariance, items: int, tokens: int, components: int) -> Run:
    """EM on items of as many tokens of 512 dimensions, in batches and on threads as in the stage `mixture`."""
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((items, tokens, WIDTH)))
    mask = torch.ones(items, tokens, dtype=torch.bool)
    batches = plan_shares(np.full(items, tokens, np.int64), WIDTH, covariance, torch.get_num_threads())

    def fit_batch(rows: Any) -> object:
        return fit_mixture(values[rows], mask[rows], components, covariance, 5, 1.0, 1e-4)

    return lambda: list(side_by_side(fit_batch, batches))


def evaluate(items: int, components: int, classes: int) -> Run:
    """All metrics of both directions, every item asking for every item, with a pooled vector and views (`mix`)."""
    pairs = make_pairs(items, classes, components)
    episode = replace(episode_of(pairs), ids={"test": pairs.ids})
    contender = {"method": "bench", "variant": "default", "access": "inductive", "names": False}
    task = Task("0" * 32, contender, episode, "target", 0)
    seen: dict[tuple[Modality, Gallery], Vectors] = {}
    for m in MODALITIES:
        views = pairs.views[m] if pairs.views else pairs.pooled[m][:, None]
        seen[m, "target"] = Vectors(unit(np.concatenate([pairs.pooled[m][:, None], views], axis=1)), "mix")
    return lambda: evaluate_task(task, Seen(pairs, seen))


def train_gcrdp(items: int, components: int, classes: int) -> Run:
    """One gcrdp training with the values of params.yaml."""
    return _fit("gcrdp", items, components, classes)


def fit_scm(items: int, classes: int) -> Run:
    """One scm fit, with votes in both spaces."""
    return _fit("scm", items, 1, classes)


def _fit(method: str, items: int, components: int, classes: int) -> Run:
    pairs = make_pairs(items, classes, components)
    return fitting(method, pairs, episode_of(pairs))


SPHERICAL: Grows = {
    "items": (200, "in proportion while a batch's inner products stay in the processor's cache; then memory bounds it"),
    "tokens": (49, "inner products of all pairs of an item's tokens: N² D, and the steps on them N² K"),
    "components": (3, "these products, most of the work, know no K"),
}
DIAGONAL: Grows = {
    "items": (200, ""),
    "tokens": (49, ""),
    "components": (3, "the tokens are read once for all K; with few components that is most of the work"),
}
RANKING: Grows = {
    "items": (1000, "every query ranks the whole gallery: N²"),
    "components": (3, "every view is compared with every view: K², beside the ranking, which knows no K"),
    "classes": (10, "the ranking knows no class; what is relevant is one small product"),
}
TRAINING: Grows = {
    "items": (1500, "80 steps of 128, however many pairs there are; only their preparation grows"),
    "components": (3, "every view of a batch is compared with every view: K²; at 12 these matrices leave the cache"),
    "classes": (20, "they enter as masks of a batch alone"),
}
SCM: Grows = {
    "items": (1500, "eigenvectors of a covariance on the span of the N rows: N³ up to N = D, then D³ and N D²"),
    "classes": (20, "the eigenvectors know no class; prototypes are one small product"),
}
WORKS = (
    Work("EM, spherical", partial(fit_mixtures, "spherical"), SPHERICAL),
    Work("EM, diag", partial(fit_mixtures, "diag"), DIAGONAL),
    Work("mAP, all metrics, `mix`", evaluate, RANKING),
    Work("a gcrdp training", train_gcrdp, TRAINING),
    Work("an scm fit", fit_scm, SCM),
)


def facts() -> list[dict[str, Any]]:
    """A dict a work and dimension: what, by, sizes, seconds (one of each factor), why."""
    return [told for work in WORKS for told in _doubled(work)]


def _doubled(work: Work) -> list[dict[str, Any]]:
    begins = {by: size for by, (size, _) in work.grows.items()}
    first = _seconds(work, begins)
    told = []
    for by, (size, why) in work.grows.items():
        sizes = [size * factor for factor in FACTORS]
        took = [first, *[_seconds(work, {**begins, by: more}) for more in sizes[1:]]]
        told.append({"what": work.name, "by": by, "sizes": sizes, "seconds": took, "why": why})
    return told


def _seconds(work: Work, sizes: Mapping[Dimension, int]) -> float:
    return median_seconds(work.prepare(**dict[str, int](sizes.items())), REPEATS)
