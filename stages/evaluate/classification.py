"""One head as a classifier: the pictures of the test items, and which class each of them is taken for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cache.episodes import Episode
from cache.store import LedgerKey
from stages import retrieval
from stages.evaluate.plan import Task, plan_tasks
from stages.evaluate.prototypes import GAP, KINDS, STATES, Figures, prototype_figures
from stages.evaluate.ranking import TOP, require_finite
from stages.evaluate.summary import Cell, by_cell, compared, label, nested, rounded, seed_means
from stages.evaluate.tables import CHANCE
from stages.heads.classifier import ClassHead
from stages.heads.head import Head
from stages.heads.judging import class_logits, judges
from stages.items import Items
from stages.stats import support_interval

METRIC = "top-1"
PLACE = {"direction": "i2c", "gallery": "classes"}  # of every row: from an image to a class
Row = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """What a task of classification found. queries: the Q ids of the test items in manifest order; labels: theirs;
    figures[`top-1`] (Q,) is 1 where the class with the highest logit is one of theirs, else 0; figures[`ap`] (Q,) is
    the average precision of all classes in the order of their logits, 1 / rank of the class of an item that has one;
    top (Q, <= TOP): the classes with the highest logits. prototypes: see prototype_figures, of a head that maps
    pictures and where its supports are at hand, else empty."""

    task: Task
    queries: list[str]
    labels: list[tuple[str, ...]]
    figures: retrieval.Figures
    top: npt.NDArray[np.str_]
    prototypes: Figures

    @property
    def paired(self) -> bool:
        """Whether recall of a pair is asked for: a class is nobody's pair."""
        return False

    def figure(self, metric: str) -> retrieval.Float64:
        """A metric of each query, (Q,)."""
        return self.figures[metric]


def plan_judging(keys: Sequence[LedgerKey], episodes: Iterable[Episode]) -> list[Task]:
    """A task a head and episode, as of plan_tasks: once where the draw of the seed changes nothing."""
    return plan_tasks(keys, episodes, ["target"])


def judge(task: Task, head: Head, items: Items) -> Judged:
    """Classify the test items of an episode among its target classes. Equal logits count in the order of the classes.

    Whether class names were read is said of heads that compare pictures with them, too. UserError where a logit is not
    finite."""
    chosen = items.take(np.sort(items.rows_of(task.queries)))
    classes = task.episode.target_classes
    labels = [task.episode.labels[name] for name in chosen.ids]
    logits = class_logits(head, chosen, classes)
    require_finite(task, logits)
    order = retrieval.rank(logits)
    hits = retrieval.in_rank_order(retrieval.share_label(labels, [(name,) for name in classes]), order)
    figures = {METRIC: retrieval.precision_at(hits, 1), "ap": retrieval.average_precision(hits)}
    contender = {**task.contender, "names": task.contender["names"] or not judges(head)}
    top = np.array(classes)[order[:, :TOP]]
    told: Figures = {}
    if isinstance(head, ClassHead) and head.mapped is not None and task.episode.ids["support"]:
        told = prototype_figures(head, items, task.episode)
    return Judged(replace(task, contender=contender), chosen.ids, labels, figures, top, told)


def chance(result: Judged) -> float:
    """What a guess among the classes would reach."""
    return float(np.mean([len(own) for own in result.labels]) / len(result.task.episode.target_classes))


def score_rows(results: Sequence[Judged], about: Row) -> list[Row]:
    """A row a result, and chance for each shot count at seed 0. `about`: dataset, encoder and features."""
    own = [_row(result, about, float(result.figures[METRIC].mean())) for result in results]
    first = {result.task.episode.shots: result for result in reversed(results)}
    return own + [{**_row(first[k], about, chance(first[k])), **CHANCE, "seed": 0} for k in sorted(first)]


def _row(result: Judged, about: Row, value: float) -> Row:
    return {**about, **_place(result), **result.task.contender, "metric": METRIC, "value": value}


def _place(result: Judged) -> Row:
    episode = result.task.episode
    draw = {"protocol": episode.protocol, "half": episode.half, "shots": episode.shots, "seed": result.task.seed}
    return {**draw, **PLACE}


def query_table(results: Iterable[Judged], about: Row) -> pa.Table:
    """A row a test item: the average precision of the classes, and the names of those with the highest logits."""
    return pa.concat_tables([_query_part(result, about) for result in results])


def _query_part(result: Judged, about: Row) -> pa.Table:
    shared = {**about, **_place(result), **result.task.contender}
    columns = {name: pa.repeat(pa.scalar(value), len(result.queries)) for name, value in shared.items()}
    told = {"query": result.queries, "ap": result.figures["ap"], "top10": result.top.tolist()}
    return pa.table({**columns, **told})


def summarise(results: Sequence[Judged], draws: int) -> dict[str, Any]:
    """What metrics.json holds of a classification; see summary.summarise. draws: of the class bootstrap."""
    cells = by_cell(results)
    mapped = {cell: own for cell, own in cells.items() if own[0].prototypes}
    first = results[0]
    return {
        METRIC: {
            "chance": rounded(chance(first)),
            **nested(cells, lambda own: float(seed_means(own, METRIC).mean())),
        },
        "counts": {
            "queries": len(first.queries),
            "classes": len(first.task.episode.target_classes),
            "seeds": len({result.task.seed for result in results}),
        },
        "modality_gap": _gaps(mapped),
        "prototypes": _prototypes(mapped),
        **compared(cells, draws, METRIC),
    }


def _gaps(cells: Mapping[Cell, Sequence[Judged]]) -> dict[str, Any]:
    """The gap before and after: state of the pictures -> row -> shots -> mean over the draws."""
    return {state: nested(cells, partial(_mean_gap, state)) for state in STATES}


def _mean_gap(state: str, results: Sequence[Judged]) -> float:
    return float(np.mean([result.prototypes[state][GAP] for result in results]))


def _prototypes(cells: Mapping[Cell, Sequence[Judged]]) -> list[dict[str, Any]]:
    """An entry a row, shot count, state of the pictures and kind of prototype: top-1 and its support interval; and the
    gap, as another kind."""
    return [
        {"label": label(contender), "shots": shots, "state": state, "prototypes": kind, **_mean_of(own, state, kind)}
        for (contender, shots), own in cells.items()
        for state in STATES
        for kind in (GAP, *KINDS)
    ]


def _mean_of(results: Sequence[Judged], state: str, kind: str) -> dict[str, Any]:
    values = np.array([result.prototypes[state][kind] for result in results])
    interval = support_interval(values)
    told = None if interval is None else [rounded(bound) for bound in interval]
    return {"value": rounded(float(values.mean())), "support": told}
