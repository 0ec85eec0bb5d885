"""The rows of scores.parquet and queries.parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from stages import retrieval
from stages.evaluate.ranking import Ranked, Result

Row = dict[str, Any]
CHANCE = {"method": "chance", "variant": "default", "access": "inductive", "names": False}


def score_rows(results: Iterable[Result], about: Row) -> list[Row]:
    """A row a figure: every metric of every result in both directions and their mean, and chance at seed 0.

    `about` has the columns that all rows share: dataset, encoder, features."""
    results = list(results)
    own = [row for result in results for row in _figure_rows(result, about, _values(result))]
    return own + [row for result in first_draws(results) for row in _chance_rows(result, about)]


def first_draws(results: Iterable[Result]) -> list[Result]:
    """One result for each class split, shot count and gallery: what does not depend on the method is read there."""
    chosen: dict[tuple[Any, ...], Result] = {}
    for result in results:
        episode = result.task.episode
        place = (episode.protocol, episode.half, episode.shots, result.task.gallery)
        if place not in chosen or episode.seed < chosen[place].task.episode.seed:
            chosen[place] = result
    return [chosen[place] for place in sorted(chosen)]


def _values(result: Result) -> dict[str, dict[str, float]]:
    return {direction: _means(result, ranked.figures) for direction, ranked in result.directions.items()}


def _means(result: Result, figures: retrieval.Figures) -> dict[str, float]:
    return retrieval.means(figures, result.labels, result.task.episode.target_classes)


def chance_means(result: Result) -> dict[str, float]:
    """What a random order of the gallery would reach, a value a metric; the same in both directions."""
    return _means(result, retrieval.chance_figures(result.relevant, result.size, result.paired))


def _figure_rows(result: Result, about: Row, values: dict[str, dict[str, float]]) -> Iterator[Row]:
    first, second = values.values()
    mean = {metric: (first[metric] + second[metric]) / 2 for metric in first}
    shared = {**about, **_place(result), **result.task.contender}
    for direction, figures in {**values, "mean": mean}.items():
        for metric, value in figures.items():
            yield {**shared, "direction": direction, "metric": metric, "value": value}


def _chance_rows(result: Result, about: Row) -> Iterator[Row]:
    values = chance_means(result)
    rows = _figure_rows(result, about, {"i2t": values, "t2i": values})
    return ({**row, **CHANCE, "seed": 0} for row in rows)


def _place(result: Result) -> Row:
    episode = result.task.episode
    return {
        "protocol": episode.protocol,
        "half": episode.half,
        "shots": episode.shots,
        "seed": result.task.seed,
        "gallery": result.task.gallery,
    }


def query_table(results: Iterable[Result], about: Row) -> pa.Table:
    """A row a query and direction: its average precision, and the ids that came first."""
    parts = [
        _query_part(result, direction, ranked, about)
        for result in results
        for direction, ranked in result.directions.items()
    ]
    return pa.concat_tables(parts)


def _query_part(result: Result, direction: str, ranked: Ranked, about: Row) -> pa.Table:
    count, wide = ranked.top.shape
    shared = {**about, **_place(result), **result.task.contender, "direction": direction}
    columns = {name: pa.repeat(pa.scalar(value), count) for name, value in shared.items()}
    starts = np.arange(count + 1, dtype=np.int32) * wide
    columns |= {
        "query": pa.array(result.queries),
        "ap": pa.array(ranked.figures["mAP"]),
        "top10": pa.ListArray.from_arrays(starts, pa.array(ranked.top.ravel().tolist(), pa.string())),
    }
    return pa.table(columns)
