"""What twice as many items, tokens, components or classes cost: each doubled twice, all else as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from bench.pairs import WIDTH, episode_of, make_pairs
from bench.row import median_seconds
from bench.training import fitting
from stages.batches import plan_shares
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


@dataclass(frozen=True)
class Work:
    """name; sizes: where each dimension begins; prepare: sizes -> what is timed; why: what makes a dimension grow
    otherwise than in proportion, for people."""

    name: str
    sizes: Mapping[Dimension, int]
    prepare: Callable[..., Run]
    why: Mapping[Dimension, str]


def fit_mixtures(items: int, tokens: int, components: int) -> Run:
    """EM on items of as many tokens of 512 dimensions, in batches and on threads as in the stage `mixture`."""
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((items, tokens, WIDTH)))
    mask = torch.ones(items, tokens, dtype=torch.bool)
    batches = plan_shares(np.full(items, tokens, np.int64), WIDTH, "spherical", torch.get_num_threads())

    def fit_batch(rows: Any) -> object:
        return fit_mixture(values[rows], mask[rows], components, "spherical", 5, 1.0, 1e-4)

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


WORKS = (
    Work(
        name="EM, spherical",
        sizes={"items": 200, "tokens": 49, "components": 3},
        prepare=fit_mixtures,
        why={
            "tokens": "inner products of all pairs of an item's tokens: N² D, and the steps on them N² K",
            "components": "these products, most of the work, know no K",
        },
    ),
    Work(
        name="mAP, all metrics, `mix`",
        sizes={"items": 1000, "components": 3, "classes": 10},
        prepare=evaluate,
        why={
            "items": "every query ranks the whole gallery: N²",
            "components": "every view is compared with every view: K², beside the ranking, which knows no K",
            "classes": "the ranking knows no class; what is relevant is one small product",
        },
    ),
    Work(
        name="a gcrdp training",
        sizes={"items": 1500, "components": 3, "classes": 20},
        prepare=train_gcrdp,
        why={
            "items": "80 steps of 128, however many pairs there are; only their preparation grows",
            "components": "every view of a batch is compared with every view: K², beside what knows no K",
            "classes": "they enter as masks of a batch alone",
        },
    ),
    Work(
        name="an scm fit",
        sizes={"items": 1500, "classes": 20},
        prepare=fit_scm,
        why={
            "items": "eigenvectors of a covariance on the span of the N rows: N³ up to N = D, then D³ and N D²",
            "classes": "the eigenvectors know no class; prototypes are one small product",
        },
    ),
)


def facts() -> list[dict[str, Any]]:
    """A dict a work and dimension: what, by, sizes, seconds (one of each factor), why."""
    return [told for work in WORKS for told in _doubled(work)]


def _doubled(work: Work) -> list[dict[str, Any]]:
    first = _seconds(work, work.sizes)
    told = []
    for by, size in work.sizes.items():
        sizes = [size * factor for factor in FACTORS]
        took = [first, *[_seconds(work, {**work.sizes, by: more}) for more in sizes[1:]]]
        told.append({"what": work.name, "by": by, "sizes": sizes, "seconds": took, "why": work.why.get(by, "")})
    return told


def _seconds(work: Work, sizes: Mapping[Dimension, int]) -> float:
    return median_seconds(work.prepare(**dict[str, int](sizes.items())), REPEATS)
