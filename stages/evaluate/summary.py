"""metrics.json: the main figure of each method, paired differences with both intervals, what else to know.

The main figure is mAP on the main gallery, mean of both directions, over seeds and class splits. Recall of the paired
item stands beside it, so that a method that ranks by class alone shows what it loses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Protocol, TypeVar

import numpy as np

from stages import stats
from stages.evaluate.plan import CONTENDER, Task
from stages.evaluate.ranking import Result
from stages.evaluate.tables import chance_means, first_draws
from stages.naming import row_label
from stages.retrieval import PAIRED, Float64
from stages.stats import Interval

BOOTSTRAP_SEED = 0
MAIN = "mAP"
DIGITS = 6


class Scored(Protocol):
    """What a task found, of a ranking or of a classification: its queries with their labels, and figures of each."""

    @property
    def task(self) -> Task:
        """Whose it is."""

    @property
    def queries(self) -> list[str]:
        """The ids of the Q queries."""

    @property
    def labels(self) -> list[tuple[str, ...]]:
        """Their labels."""

    @property
    def paired(self) -> bool:
        """Whether a query's own pair could be found."""

    def figure(self, metric: str) -> Float64:
        """A metric of each query, (Q,)."""


R = TypeVar("R", bound=Scored)
Cell = tuple[tuple[Any, ...], int]  # a contender and a shot count
Cells = Mapping[Cell, Sequence[Scored]]


def summarise(results: Iterable[Result], draws: int) -> dict[str, Any]:
    """Everything that metrics.json holds; nested dicts for `dvc metrics show`, lists for the report.

    draws: how many the class bootstrap takes."""
    results = list(results)
    main = main_results(results)
    cells = by_cell(main)
    return {
        "mAP": {"chance": rounded(_chance(main)), **nested(cells, lambda own: float(seed_means(own).mean()))},
        "modality_gap": nested(cells, lambda own: float(np.mean([result.gap for result in own]))),
        "counts": _counts(results, main),
        **compared(cells, draws),
    }


def main_results(results: Sequence[Result]) -> list[Result]:
    """The results on the main gallery: `target`, or the first there is."""
    galleries = [result.task.gallery for result in results]
    main = "target" if "target" in galleries else galleries[0]
    return [result for result in results if result.task.gallery == main]


def by_cell(results: Iterable[R]) -> dict[Cell, list[R]]:
    """The results of each contender and shot count, in the order they come."""
    cells: defaultdict[Cell, list[R]] = defaultdict(list)
    for result in results:
        contender = tuple(result.task.contender[name] for name in CONTENDER)
        cells[contender, result.task.episode.shots].append(result)
    return dict(cells)


def label(contender: Sequence[Any]) -> str:
    """What a contender is called."""
    method, variant, access, names = contender
    return row_label(str(method), str(variant), str(access), bool(names))


def nested(cells: Mapping[Cell, Any], figure: Callable[[Any], float]) -> dict[str, dict[str, float]]:
    """A figure of each cell: row -> shots -> value."""
    out: dict[str, dict[str, float]] = {}
    for (contender, shots), own in cells.items():
        out.setdefault(label(contender), {})[str(shots)] = rounded(figure(own))
    return out


def _chance(main: Sequence[Result]) -> float:
    return float(np.mean([chance_means(result)["mAP"] for result in first_draws(main)]))


def _counts(results: Sequence[Result], main: Sequence[Result]) -> dict[str, Any]:
    lost: dict[str, int] = {}
    for result in results:
        gallery = result.task.gallery
        lost[gallery] = max(lost.get(gallery, 0), int(np.count_nonzero(result.relevant == 0)))
    return {
        "queries": len({query for result in main for query in result.queries}),
        "target_classes": len({name for result in main for name in result.task.episode.target_classes}),
        "seeds": len({result.task.seed for result in main}),
        "halves": len({result.task.episode.half for result in main}),
        "without_relevant": lost,
    }


def seed_means(results: Sequence[Scored], metric: str = MAIN) -> Float64:
    """A figure of one cell seed by seed, mean over class splits, (S,); S = 1 where it depends on no seed."""
    seeds = sorted({result.task.seed for result in results})
    own = [[float(r.figure(metric).mean()) for r in results if r.task.seed == seed] for seed in seeds]
    return np.array([np.mean(values) for values in own])


def recalls(results: Sequence[Scored]) -> dict[str, float]:
    """Recall of the paired item of one cell, mean over seeds and class splits; nothing where its gallery holds none."""
    paired = PAIRED if all(result.paired for result in results) else ()
    return {metric: rounded(float(seed_means(results, metric).mean())) for metric in paired}


def compared(cells: Cells, draws: int, metric: str = MAIN) -> dict[str, Any]:
    """The lists `means` (each cell, its intervals and recalls) and `differences` (pairs at equal shots and access)."""
    drawn = _bootstrap(cells, draws, metric)
    means = [
        {**_told(cell, metric, seed_means(own, metric), drawn[cell]), **recalls(own)} for cell, own in cells.items()
    ]
    differences = []
    for shots in dict.fromkeys(shots for _, shots in cells):
        pairs = combinations([cell for cell in cells if cell[1] == shots], 2)
        found = [_difference(cells, drawn, metric, a, b) for b, a in pairs if a[0][2] == b[0][2]]
        corrected = stats.holm([pair["p"] for pair in found])
        differences += [{**pair, "p_holm": rounded(p)} for pair, p in zip(found, corrected, strict=True)]
    return {"means": means, "differences": differences}


def _told(cell: Cell, metric: str, values: Float64, drawn: Float64) -> dict[str, Any]:
    contender, shots = cell
    return {
        "label": label(contender),
        **dict(zip(CONTENDER, contender, strict=True)),
        "shots": shots,
        metric: rounded(float(values.mean())),
        "seeds": len(values),
        **_intervals(values, drawn),
    }


def _difference(cells: Cells, drawn: Mapping[Cell, Float64], metric: str, a: Cell, b: Cell) -> dict[str, Any]:
    first, second = _paired(cells[a], cells[b], metric)
    apart = drawn[a] - drawn[b]
    return {
        "a": label(a[0]),
        "b": label(b[0]),
        "shots": a[1],
        "difference": rounded(float((first - second).mean())),
        **_intervals(first - second, apart),
        "p": stats.bootstrap_p(apart),
    }


def _paired(a: Sequence[Scored], b: Sequence[Scored], metric: str = MAIN) -> list[Float64]:
    """The figures of two cells over the seeds that both have, each (S,); where one depends on no seed it is repeated,
    where they share none (heads may be lacking) their means stand."""
    seeds = [{result.task.seed for result in own} for own in (a, b)]
    if 1 in map(len, seeds):
        return list(np.broadcast_arrays(seed_means(a, metric), seed_means(b, metric)))
    if not (both := seeds[0] & seeds[1]):
        return [seed_means(own, metric).mean(keepdims=True) for own in (a, b)]
    return [seed_means([result for result in own if result.task.seed in both], metric) for own in (a, b)]


def _intervals(values: Float64, drawn: Float64) -> dict[str, Any]:
    """Both intervals of a figure or a difference: support from its values over seeds, class from bootstrap draws."""
    support = stats.support_interval(values)
    return {"support": _bounds(support), "class": _bounds(stats.percentile_interval(drawn))}


def _bounds(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [rounded(bound) for bound in interval]


def _bootstrap(cells: Cells, draws: int, metric: str) -> dict[Cell, Float64]:
    """The bootstrap draws of each cell's figure, (draws,), all from the same classes and queries."""
    by_half = {result.task.episode.half: result for own in cells.values() for result in own}
    splits = [by_half[half] for half in sorted(by_half)]  # of all cells: one may lack heads
    every = [(query, _class_of(result, row)) for result in splits for row, query in enumerate(result.queries)]
    asked = {query: place for place, query in enumerate(dict.fromkeys(query for query, _ in every))}
    counts = np.bincount([asked[query] for query, _ in every]).astype(np.float64)
    named = {asked[query]: name for query, name in reversed(every)}  # in its first class split
    classes = np.unique([named[place] for place in range(len(asked))], return_inverse=True)[1]
    sums = np.column_stack([_query_sums(own, asked, len(every), metric) for own in cells.values()])
    drawn = stats.bootstrap_means(sums, counts, classes, draws, BOOTSTRAP_SEED)
    return dict(zip(cells, drawn.T, strict=True))


def _class_of(result: Scored, row: int) -> str:
    """The class that a query stands for: the first of its target classes."""
    return next(name for name in result.task.episode.target_classes if name in result.labels[row])


def _query_sums(results: Sequence[Scored], asked: Mapping[str, int], total: int, metric: str = MAIN) -> Float64:
    """Each query's figure, mean over seeds, summed over the class splits that ask it, (Q,), and scaled to
    the `total` of queries over all splits.

    Splits that ask fewer queries count as much as others, as in `seed_means`."""
    halves = defaultdict(list)
    for result in results:
        halves[result.task.episode.half].append(result)
    asks = {half: len(own[0].queries) for half, own in halves.items()}
    sums = np.zeros(len(asked))
    for half, own in halves.items():
        rows = [asked[query] for query in own[0].queries]
        sums[rows] += np.mean([r.figure(metric) for r in own], axis=0) * total / len(asks) / asks[half]
    return sums


def rounded(value: float) -> float:
    """A value with as many digits as metrics.json has."""
    return round(value, DIGITS)
