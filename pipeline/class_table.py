"""The table of few-shot classification: rows methods, columns shot counts, top-1 in per cent with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache.files import read_json
from cache.scores import read_scores
from pipeline.tables import half_width
from stages.naming import row_label

Cells = dict[tuple[str, str], dict[int, dict[int, float]]]  # dataset and row -> shots -> seed -> per cent
MEAN = "mean of {}"  # of so many datasets


def class_cells(scores: Iterable[Path]) -> Cells:
    """The figures of some files of scores, in their order, chance first."""
    found: Cells = {}
    rows = [row for path in scores for row in read_scores(path).to_pylist() if row["direction"] == "i2c"]
    for row in sorted(rows, key=lambda row: row["method"] != "chance"):
        label = row_label(row["method"], row["variant"], row["access"], row["names"])
        seeds = found.setdefault((row["dataset"], label), {}).setdefault(row["shots"], {})
        seeds[row["seed"]] = 100 * row["value"]
    order = {name: place for place, name in enumerate(dict.fromkeys(dataset for dataset, _ in found))}
    return dict(sorted(found.items(), key=lambda cell: order[cell[0][0]]))


def dataset_of(scores: Path) -> str:
    """What the scores call their dataset."""
    return str(read_scores(scores)["dataset"][0])


def with_mean(cells: Cells) -> Cells:
    """The same with the mean of the datasets behind them, where there are several: of the rows and shot counts that
    every dataset has, seed by seed. A row that depends on no seed in one of them is repeated there."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in cells))
    if len(datasets) < 2:
        return cells
    labels = [label for dataset, label in cells if dataset == datasets[0]]
    shared = [label for label in labels if all((dataset, label) in cells for dataset in datasets)]
    name = MEAN.format(len(datasets))
    return cells | {(name, label): _mean([cells[dataset, label] for dataset in datasets]) for label in shared}


def _mean(rows: Sequence[Mapping[int, Mapping[int, float]]]) -> dict[int, dict[int, float]]:
    counts = [count for count in rows[0] if all(count in row for row in rows)]
    return {count: _over_datasets([row[count] for row in rows]) for count in counts}


def _over_datasets(cells: Sequence[Mapping[int, float]]) -> dict[int, float]:
    drawn = [set(cell) for cell in cells if len(cell) > 1]
    seeds = sorted(set.intersection(*drawn)) if drawn else [0]
    return {seed: float(np.mean([cell[seed] if len(cell) > 1 else _only(cell) for cell in cells])) for seed in seeds}


def _only(cell: Mapping[int, float]) -> float:
    return next(iter(cell.values()))


def typed_rows(cells: Cells) -> list[dict[str, Any]]:
    """A row a dataset, method and shot count, for `--json`: top-1 in per cent, half its support interval, the draws."""
    return [
        {
            "dataset": dataset,
            "method": label,
            "shots": count,
            "top-1": float(np.mean([*seeds.values()])),
            "±": half_width([*seeds.values()]),
            "draws": len(seeds),
        }
        for (dataset, label), row in cells.items()
        for count, seeds in sorted(row.items())
    ]


def shown_rows(cells: Cells) -> list[dict[str, str]]:
    """A row a dataset and method, for people: a column a shot count, `61.2 ± 0.8`, nothing where there is none."""
    counts = sorted({count for row in cells.values() for count in row})
    return [
        {"dataset": dataset, "method": label} | {str(count): _told(row.get(count)) for count in counts}
        for (dataset, label), row in cells.items()
    ]


def _told(seeds: Mapping[int, float] | None) -> str:
    if not seeds:
        return ""
    values = [*seeds.values()]
    half = half_width(values)
    return f"{np.mean(values):.1f}" + ("" if half is None else f" ± {half:.1f}")


def left_out(cells: Cells, asked: Sequence[int]) -> list[str]:
    """One line a dataset that lacks some of the shot counts asked for: those above the train half of its smallest
    class."""
    lines = []
    for dataset in dict.fromkeys(dataset for dataset, _ in cells):
        drawn = {count for (own, _), row in cells.items() if own == dataset for count in row}
        if lost := [str(count) for count in dict.fromkeys(asked) if count not in drawn]:
            lines.append(f"{dataset}: no column of {', '.join(lost)} shots, the smallest class has fewer train pairs")
    return lines


def prototype_rows(metrics: Path, dataset: str) -> list[dict[str, str]]:
    """What metrics.json says of prototypes, for people: rows the gap and each kind of prototype in each state of the
    pictures, a column a shot count; nothing where no method maps pictures."""
    entries = read_json(metrics).get("prototypes", [])
    counts = sorted({entry["shots"] for entry in entries})
    rows: dict[tuple[str, ...], dict[int, str]] = {}
    for entry in entries:
        place = entry["label"], entry["state"], entry["prototypes"]
        rows.setdefault(place, {})[entry["shots"]] = _measured(entry)
    return [
        {"dataset": dataset, "method": label, "pictures": state, "prototypes": kind}
        | {str(count): row.get(count, "") for count in counts}
        for (label, state, kind), row in rows.items()
    ]


def _measured(entry: Mapping[str, Any]) -> str:
    """A gap with two decimals, top-1 in per cent, with half the support interval."""
    scale, digits = (1, 2) if entry["prototypes"] == "gap" else (100, 1)
    half = (
        "" if entry["support"] is None else f" ± {scale * (entry['support'][1] - entry['support'][0]) / 2:.{digits}f}"
    )
    return f"{scale * entry['value']:.{digits}f}{half}"
