"""One head on one gallery: vectors, ranks, and the figures of each query in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cache.errors import UserError
from stages import retrieval
from stages.evaluate.plan import Task
from stages.heads.head import Head, Vectors
from stages.items import MODALITIES, Items, Modality, unit
from stages.section import Gallery

Direction = Literal["i2t", "t2i"]
DIRECTIONS: dict[Direction, tuple[Modality, Modality]] = {"i2t": ("image", "text"), "t2i": ("text", "image")}
TOP = 10
_SCORES = 1 << 24  # scores that stand in memory at once


@dataclass(frozen=True)
class Ranked:
    """Q queries of one direction: their figures, and the ids of the first TOP of the gallery, (Q, <= TOP)."""

    figures: retrieval.Figures
    top: npt.NDArray[np.str_]


@dataclass(frozen=True)
class Result:
    """What a task found. queries: their Q ids in manifest order; labels: theirs; relevant (Q,): how many items of
    the gallery are; size: of the gallery; gap: as modality_gap says, of the queries."""

    task: Task
    queries: list[str]
    labels: list[tuple[str, ...]]
    relevant: npt.NDArray[np.int64]
    size: int
    directions: dict[Direction, Ranked]
    gap: float

    @property
    def paired(self) -> bool:
        """Whether the queries' own pairs stand in the gallery."""
        return self.task.gallery != "rest"

    @property
    def ap(self) -> retrieval.Float64:
        """The average precision of each query, mean of both directions, (Q,)."""
        return np.asarray(np.mean([ranked.figures["mAP"] for ranked in self.directions.values()], axis=0))


@dataclass(frozen=True)
class Seen:
    """The items that some tasks need, and what one head makes of them: by modality, with and without source classes."""

    items: Items
    vectors: dict[tuple[Modality, Gallery], Vectors]


def look(tasks: Sequence[Task], head: Head, items: Items) -> Seen:
    """Everything that the tasks of one head will compare, computed once."""
    wanted = {name for task in tasks for name in (*task.queries, *task.candidates)}
    chosen = items.take([row for row, name in enumerate(items.ids) if name in wanted])
    kinds = sorted({_kind(task.gallery) for task in tasks})
    return Seen(chosen, {(m, kind): head.vectors(chosen, m, kind) for kind in kinds for m in MODALITIES})


def _kind(gallery: Gallery) -> Gallery:
    """A head tells apart only galleries with and without source classes."""
    return "all" if gallery == "all" else "target"


def evaluate_task(task: Task, seen: Seen) -> Result:
    """Rank the gallery for every query, image to text and text to image; `seen` is of this task's head.

    Relevance is read from the episode's labels. UserError where the head's scores are not finite."""
    queries, gallery = (np.sort(seen.items.rows_of(ids)) for ids in (task.queries, task.candidates))
    names = np.array(seen.items.ids)
    labels, others = ([task.episode.labels[name] for name in names[rows]] for rows in (queries, gallery))
    relevant = retrieval.share_label(labels, others)
    pair = None if task.gallery == "rest" else np.searchsorted(gallery, queries)
    asked = {m: _at(seen.vectors[m, _kind(task.gallery)], queries) for m in MODALITIES}
    offered = {m: _at(seen.vectors[m, _kind(task.gallery)], gallery) for m in MODALITIES}
    return Result(
        task,
        names[queries].tolist(),
        labels,
        np.count_nonzero(relevant, axis=1),
        len(gallery),
        {d: _ranked(task, asked[m], offered[n], relevant, pair, names[gallery]) for d, (m, n) in DIRECTIONS.items()},
        modality_gap(asked["image"], asked["text"]),
    )


def _at(vectors: Vectors, rows: npt.NDArray[np.int64]) -> Vectors:
    return Vectors(vectors.values[rows], vectors.match)


def _ranked(
    task: Task,
    query: Vectors,
    gallery: Vectors,
    relevant: retrieval.Bools,
    pair: npt.NDArray[np.int64] | None,
    names: npt.NDArray[np.str_],
) -> Ranked:
    parts = []
    for rows in _blocks(*relevant.shape):
        scores = retrieval.score(query.values[rows], gallery.values, query.match)
        _refuse_overflow(task, scores)
        order = retrieval.rank(scores)
        hits = retrieval.in_rank_order(relevant[rows], order)
        parts.append((retrieval.figures(hits, order, None if pair is None else pair[rows]), order[:, :TOP]))
    figures = {name: np.concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
    return Ranked(figures, names[np.concatenate([top for _, top in parts])])


def _blocks(queries: int, gallery: int) -> Iterator[slice]:
    size = max(1, _SCORES // gallery)
    return (slice(first, first + size) for first in range(0, queries, size))


def _refuse_overflow(task: Task, scores: npt.NDArray[Any]) -> None:
    if not np.isfinite(scores).all():
        method, shots = task.contender["method"], task.episode.shots
        raise UserError(
            f"heads/{task.key}: the scores of '{method}' at {shots} shots are not finite; look at the values of"
            f" train.{method} and at the features, then run 'train' again"
        )


def modality_gap(image: Vectors, text: Vectors) -> float:
    """The distance between the two modalities' mean vectors (Liang et al. 2022), 0 to 2.

    An item's vector is its pooled one, for `max` the mean of its unit views; made unit length here."""
    first = [v.values.mean(axis=1) if v.match == "max" else v.values[:, 0] for v in (image, text)]
    means = [unit(values).astype(np.float64).mean(axis=0) for values in first]
    return float(np.linalg.norm(means[0] - means[1]))
