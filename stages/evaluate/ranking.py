"""One head on one gallery: vectors, ranks, and the figures of each query in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cache.errors import UserError, counted
from stages import retrieval
from stages.evaluate.plan import Task
from stages.heads.head import Head, Vectors
from stages.items import MODALITIES, Items, Modality, unit
from stages.section import Gallery

Direction = Literal["i2t", "t2i"]
DIRECTIONS: dict[Direction, tuple[Modality, Modality]] = {"i2t": ("image", "text"), "t2i": ("text", "image")}
TOP = 10
_SCORES = 1 << 21  # scores that stand in memory at once: with their order and what is relevant, some 30 MB


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
        return self.figure("mAP")

    def figure(self, metric: str) -> retrieval.Float64:
        """A metric of each query, mean of both directions, (Q,)."""
        return np.asarray(np.mean([ranked.figures[metric] for ranked in self.directions.values()], axis=0))


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
    marks = retrieval.mark_labels(labels, others)
    pair = None if task.gallery == "rest" else np.searchsorted(gallery, queries)
    vectors = {m: seen.vectors[m, _kind(task.gallery)] for m in MODALITIES}
    directions = {}
    for direction, (asked, offered) in DIRECTIONS.items():
        candidates = _only(vectors[offered], gallery)
        directions[direction] = _ranked(task, vectors[asked], queries, candidates, marks, pair, names[gallery])
    return Result(
        task,
        names[queries].tolist(),
        labels,
        _count_relevant(*marks),
        len(gallery),
        directions,
        modality_gap(vectors["image"], vectors["text"], queries),
    )


def _only(vectors: Vectors, rows: npt.NDArray[np.int64]) -> Vectors:
    """The vectors of some rows, sorted; not copied where these are all."""
    whole = len(rows) == len(vectors.values)
    return vectors if whole else Vectors(vectors.values[rows], vectors.match)


def _count_relevant(queries: retrieval.Float32, gallery: retrieval.Float32) -> npt.NDArray[np.int64]:
    """How many items of the gallery are relevant to each query, (Q,), of marked labels."""
    parts = retrieval.blocks(len(queries), len(gallery), _SCORES)
    found = [np.count_nonzero(retrieval.in_common(queries[rows], gallery), axis=1) for rows in parts]
    return np.concatenate(found).astype(np.int64)


def _ranked(
    task: Task,
    asked: Vectors,
    queries: npt.NDArray[np.int64],
    gallery: Vectors,
    marks: tuple[retrieval.Float32, retrieval.Float32],
    pair: npt.NDArray[np.int64] | None,
    names: npt.NDArray[np.str_],
) -> Ranked:
    """One direction, a block of queries at a time, so that nothing of the size (Q, G) ever stands."""
    parts = []
    for rows in retrieval.blocks(len(queries), len(names), _SCORES):
        scores = retrieval.score(asked.values[queries[rows]], gallery.values, asked.match)
        require_finite(task, scores)
        order = retrieval.rank(scores)
        hits = retrieval.in_rank_order(retrieval.in_common(marks[0][rows], marks[1]), order)
        parts.append((retrieval.figures(hits, order, None if pair is None else pair[rows]), order[:, :TOP].copy()))
    figures = {name: np.concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
    return Ranked(figures, names[np.concatenate([top for _, top in parts])])


def require_finite(task: Task, scores: npt.NDArray[Any]) -> None:
    """UserError, naming the head and its method, where a score is not finite."""
    if not np.isfinite(scores).all():
        method, shots = task.contender["method"], counted(task.episode.shots, "shot")
        raise UserError(
            f"heads/{task.key}: the scores of '{method}' at {shots} are not finite; look at the values of"
            f" train.{method} and at the features, then run 'train' again"
        )


def modality_gap(image: Vectors, text: Vectors, rows: npt.NDArray[np.int64]) -> float:
    """The distance between the two modalities' mean vectors (Liang et al. 2022) over some items, 0 to 2.

    An item's vector is its pooled one, for `max` the mean of its unit views; made unit length here."""
    return float(np.linalg.norm(_mean_vector(image, rows) - _mean_vector(text, rows)))


def _mean_vector(vectors: Vectors, rows: npt.NDArray[np.int64]) -> retrieval.Float64:
    _, views, width = vectors.values.shape
    total = np.zeros(width)
    for block in retrieval.blocks(len(rows), views * width, _SCORES):
        values = vectors.values[rows[block]]
        total += unit(values.mean(axis=1) if vectors.match == "max" else values[:, 0]).sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(rows))
