"""What became of single queries: average precision by class, and the same few queries under every method. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.report import content

EXAMPLES = 5  # queries that are shown
DIRECTION = "t2i"  # texts ask for pictures: what is found can be looked at

Targets = Mapping[int, Sequence[str]]  # class split -> its target classes
Labels = Mapping[str, Sequence[str]]  # id -> its classes


@dataclass(frozen=True)
class ClassFigure:
    """The mean average precision of a method's queries of one class, as a fraction, and how many they are."""

    method: str
    name: str
    ap: float
    queries: int


@dataclass(frozen=True)
class Hit:
    """An item that was found. relevant: it shares a class with the query; own: it is the query's own pair."""

    id: str
    relevant: bool
    own: bool


@dataclass(frozen=True)
class Answer:
    """What a method found for a query, the ten best first, and the average precision of the whole ranking."""

    method: str
    ap: float
    hits: list[Hit]


@dataclass(frozen=True)
class Example:
    """A query, the class that it stands for, and every method's answer to it."""

    query: str
    name: str
    answers: list[Answer]


def last_shots(queries: pa.Table, metrics: content.Metrics) -> pa.Table:
    """The rows of the largest shot count on the main gallery."""
    found = set(queries["gallery"].unique().to_pylist())
    main = next(name for name in content.GALLERIES if name in found)
    shots = content.shot_counts(metrics)[-1]
    return queries.filter(pc.and_(pc.equal(queries["gallery"], main), pc.equal(queries["shots"], shots)))


def class_figures(queries: pa.Table, metrics: content.Metrics, targets: Targets, labels: Labels) -> list[ClassFigure]:
    """The figures of every method and target class, of rows as last_shots gives them: the mean over queries, both
    directions, draws and class splits. Classes in the order of the best method's figures, best first."""
    names = content.label_of(metrics)
    rows = queries.group_by([*content.CONTENDER, "half", "query"]).aggregate([("ap", "mean")]).to_pylist()
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        for name in set(labels[row["query"]]) & set(targets[row["half"]]):
            found[names[tuple(row[key] for key in content.CONTENDER)], name].append(row["ap_mean"])
    figures = [ClassFigure(method, name, float(np.mean(own)), len(own)) for (method, name), own in found.items()]
    return _in_order(figures, metrics)


def _in_order(figures: list[ClassFigure], metrics: content.Metrics) -> list[ClassFigure]:
    """By class, that of the highest figure of the best method first, within a class by method."""
    best = content.best_method(metrics)["label"]
    leading = {figure.name: figure.ap for figure in figures if figure.method == best}
    place = {label: i for i, label in enumerate(content.labels(metrics))}
    return sorted(figures, key=lambda f: (-leading.get(f.name, 0.0), f.name, place[f.method]))


def class_names(figures: Sequence[ClassFigure]) -> list[str]:
    """The classes, best first."""
    return list(dict.fromkeys(figure.name for figure in figures))


def examples(
    queries: pa.Table, metrics: content.Metrics, figures: Sequence[ClassFigure], labels: Labels
) -> list[Example]:
    """A few queries and every method's answer, of rows as last_shots gives them: the first class split, the first draw.

    (ours) The classes are spread evenly from the best method's best to its worst, and of each the query with the median
    average precision stands: none is picked for what it shows."""
    first = queries.filter(
        pc.and_(pc.equal(queries["direction"], DIRECTION), pc.equal(queries["half"], pc.min(queries["half"])))
    )
    answers = _answers(first, metrics, labels)
    best = content.best_method(metrics)["label"]
    asked = {query: answer.ap for (method, query), answer in answers.items() if method == best}
    methods = [label for label in content.labels(metrics) if any(method == label for method, _ in answers)]
    return [
        Example(query, name, [answers[method, query] for method in methods if (method, query) in answers])
        for name, query in _spread(class_names(figures), asked, labels)
    ]


def _answers(rows: pa.Table, metrics: content.Metrics, labels: Labels) -> dict[tuple[str, str], Answer]:
    """By method and query, of the first draw that each method has."""
    names = content.label_of(metrics)
    found: dict[tuple[str, str], Answer] = {}
    for row in rows.sort_by("seed").to_pylist():
        method = names[tuple(row[key] for key in content.CONTENDER)]
        found.setdefault((method, row["query"]), _answer(method, row, labels))
    return found


def _answer(method: str, row: Mapping[str, Any], labels: Labels) -> Answer:
    own = set(labels[row["query"]])
    hits = [Hit(name, bool(own & set(labels[name])), name == row["query"]) for name in row["top10"]]
    return Answer(method, row["ap"], hits)


def _spread(names: Sequence[str], asked: Mapping[str, float], labels: Labels) -> list[tuple[str, str]]:
    """A class and a query each, the classes evenly from first to last; a query stands once."""
    by_class = {name: sorted((ap, query) for query, ap in asked.items() if name in labels[query]) for name in names}
    able = [name for name in names if by_class[name]]
    chosen: dict[str, str] = {}
    for name in evenly(able, EXAMPLES):
        own = by_class[name]
        chosen.setdefault(own[(len(own) - 1) // 2][1], name)
    return [(name, query) for query, name in chosen.items()]


def evenly(values: Sequence[str], most: int) -> list[str]:
    """At most so many of some values, from the first to the last."""
    places = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)
    return [values[place] for place in places]
