"""The figures of an experiment: each row's mean average precision, and what it has over the row it is compared with.

All from the queries' own figures, so that rows of different runs are compared as those of one are: over the same draws
of the supports, and by the bootstrap over target classes and queries (stages.stats)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache.episodes import Episode
from cache.errors import UserError
from pipeline.ablation.experiment import BEFORE, ExperimentSection, RunSection
from stages.naming import row_label
from stages.stats import Float64, bootstrap_means, bootstrap_p, holm, percentile_interval, support_interval

BOOTSTRAP_SEED = 0
DIGITS = 6
Row = dict[str, Any]
COLUMNS = (  # of the table of an experiment; fractions, empty where there is none
    "run",
    "method",
    "variant",
    "row",
    "value",
    "shots",
    "seeds",
    "mAP",
    "mAP_low",
    "mAP_high",
    "chance",
    "against",
    "difference",
    "support_low",
    "support_high",
    "class_low",
    "class_high",
    "p_holm",
    "note",
)


@dataclass(frozen=True)
class Cell:
    """A row of a run at a shot count. label: what tables call it; ap (S, Q): the average precision of each query, mean
    of both directions, by seed; queries: their ids, sorted; classes: the target class of each; beside: what else is
    told of the row."""

    run: RunSection
    method: str
    variant: str
    label: str
    shots: int
    seeds: list[int]
    queries: list[str]
    classes: list[str]
    ap: Float64
    chance: float
    beside: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def draws(self) -> Float64:
        """mAP by seed, (S,)."""
        return np.asarray(self.ap.mean(axis=1))


def read_cells(
    run: RunSection, queries: pa.Table, episodes: Iterable[Episode], chance: Mapping[int, float]
) -> list[Cell]:
    """The cells of a run, in the order of its queries' table. chance: mAP of a random order by shot count."""
    labels = {name: label for episode in episodes for name, label in _target_class(episode)}
    main = "target" if "target" in (names := pc.unique(queries["gallery"]).to_pylist()) else names[0]
    table = queries.filter(pc.equal(queries["gallery"], main))
    keys = ["method", "variant", "access", "names", "shots"]
    found = table.group_by(keys, use_threads=False).aggregate([("seed", "list"), ("query", "list"), ("ap", "list")])
    return [_cell(run, row, labels, chance) for row in found.to_pylist()]


def _target_class(episode: Episode) -> Iterable[tuple[str, str]]:
    for name in episode.ids["test"]:
        yield name, next(own for own in episode.target_classes if own in episode.labels[name])


def _cell(run: RunSection, row: Row, labels: Mapping[str, str], chance: Mapping[int, float]) -> Cell:
    seeds, ids = sorted(set(row["seed_list"])), sorted(set(row["query_list"]))
    place, total = {name: i for i, name in enumerate(ids)}, np.zeros((len(seeds), len(ids)))
    which = np.array([seeds.index(seed) for seed in row["seed_list"]]), np.array([place[q] for q in row["query_list"]])
    np.add.at(total, which, np.array(row["ap_list"]) / 2)  # image to text, and text to image
    name = row_label(row["method"], row["variant"], row["access"], row["names"])
    own = row["method"], row["variant"], name, row["shots"], seeds, ids, [labels[q] for q in ids]
    return Cell(run, *own, total, chance[row["shots"]])


def table_of(cells: Sequence[Cell], section: ExperimentSection, draws: int) -> list[Row]:
    """The table: a row a cell and comparison, or a cell alone where it is compared with none.

    p_holm is corrected over all comparisons of the table at one shot count. draws: of the bootstrap."""
    rows = [row for cell in cells for row in _rows_of(cell, cells, section, draws)]
    for shots in {row["shots"] for row in rows}:
        own = [row for row in rows if row["shots"] == shots and row["p"] is not None]
        for row, p in zip(own, holm([row["p"] for row in own]), strict=True):
            row["p_holm"] = round(p, DIGITS)
    return [{name: row.get(name) for name in (*COLUMNS, *section.beside)} for row in rows]


def _rows_of(cell: Cell, cells: Sequence[Cell], section: ExperimentSection, draws: int) -> list[Row]:
    about, found = _about(cell, cells), compared_with(cell, cells, section)
    return [{**about, "against": name, **difference(cell, other, draws)} for name, other in found] or [about]


def _about(cell: Cell, cells: Sequence[Cell]) -> Row:
    low, high = support_interval(cell.draws) or (None, None)
    return {
        **{"run": cell.run.name, "method": cell.method, "variant": cell.variant, "row": name_of(cell, cells)},
        **{"value": value_of(cell), "shots": cell.shots, "seeds": len(cell.seeds)},
        **{"mAP": _rounded(cell.draws.mean()), "mAP_low": _rounded(low), "mAP_high": _rounded(high)},
        **{"chance": _rounded(cell.chance), "p": None, **{name: _rounded(own) for name, own in cell.beside.items()}},
    }


def value_of(cell: Cell) -> str:
    """Where on the axis a row stands: its run, else its variant, else that it is as shipped."""
    return cell.run.name or (cell.variant if cell.variant != "default" else "as shipped")


def name_of(cell: Cell, cells: Sequence[Cell]) -> str:
    """What a row is called in its table: by its run where that has one row, by its label where there is one run."""
    if not cell.run.name:
        return cell.label
    alone = len({other.label for other in cells}) == 1
    return cell.run.name if alone else f"{cell.label}, {cell.run.name}"


def compared_with(cell: Cell, cells: Sequence[Cell], section: ExperimentSection) -> list[tuple[str, Cell]]:
    """What a row is compared with, by name: see ExperimentSection."""
    found = []
    same_run = [other for other in cells if other.run.name == cell.run.name and other.shots == cell.shots]
    base = next((o for label in section.reference for o in same_run if o.label == label), None)
    if base is not None and base is not cell:
        found.append((name_of(base, cells), base))
    alike = [other for other in cells if other.label == cell.label]
    named = [
        o for o in alike if o.shots == cell.shots and cell.run.against is not None and o.run.name == cell.run.against
    ]
    found += [(name_of(other, cells), other) for other in named if other is not cell]
    fewer = [other for other in alike if other.run.name == cell.run.name and other.shots < cell.shots]
    if section.before and fewer:
        found.append((BEFORE, max(fewer, key=lambda other: other.shots)))
    return found


def difference(a: Cell, b: Cell, draws: int) -> Row:
    """mAP of a less that of b over the seeds and queries that both have, with the support interval over seeds, the
    class interval by bootstrap, and its p. UserError where they share no query."""
    ids = sorted(set(a.queries) & set(b.queries))
    if not ids:
        raise UserError(f"{a.label} and {b.label} were asked no query in common, so they cannot be compared")
    first, second = (_of(own, ids) for own in (a, b))
    by_seed = _paired(a, b, first, second)
    classes = np.unique([dict(zip(a.queries, a.classes, strict=True))[q] for q in ids], return_inverse=True)[1]
    sums = np.column_stack([first.mean(axis=0), second.mean(axis=0)])
    drawn = bootstrap_means(sums, np.ones(len(ids)), classes, draws, BOOTSTRAP_SEED)
    apart = drawn[:, 0] - drawn[:, 1]
    support, spread = support_interval(by_seed) or (None, None), percentile_interval(apart)
    return {
        "difference": _rounded(by_seed.mean()),
        **dict(zip(("support_low", "support_high"), map(_rounded, support), strict=True)),
        **dict(zip(("class_low", "class_high"), map(_rounded, spread), strict=True)),
        "p": bootstrap_p(apart),
    }


def _of(cell: Cell, ids: Sequence[str]) -> Float64:
    place = {name: i for i, name in enumerate(cell.queries)}
    return np.asarray(cell.ap[:, [place[name] for name in ids]])


def _paired(a: Cell, b: Cell, first: Float64, second: Float64) -> Float64:
    """The difference by seed, (S,): over the seeds that both have; one that depends on none is repeated."""
    own, other = first.mean(axis=1), second.mean(axis=1)
    if 1 in (len(own), len(other)):
        return np.asarray(own - other)
    both = sorted(set(a.seeds) & set(b.seeds))
    return np.array([own[a.seeds.index(seed)] - other[b.seeds.index(seed)] for seed in both])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), DIGITS)
