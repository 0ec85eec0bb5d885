"""An experiment on one dataset, from its overlay to its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cache.episodes import read_episodes
from cache.errors import BusyError, MissingError, UserError, one_line
from cache.scores import read_history, read_queries, read_scores
from pipeline.ablation.complexity import complexity
from pipeline.ablation.cost import cost_rows
from pipeline.ablation.experiment import Experiment, Fact, Kind
from pipeline.ablation.figures import COLUMNS, Cell, Row, read_cells, table_of
from pipeline.ablation.files import RESULTS, write_results
from pipeline.ablation.runs import Made, Run, make_run, run_of
from pipeline.setting import Setting
from stages.imported.params import DATASET as FEATURES
from stages.progress import reporter, working


def run_experiment(setting: Setting, experiment: Experiment, dataset: str, full: bool) -> list[Path]:
    """Make the runs of an experiment, as far as they do not stand, and write its files; returns these.

    A run that cannot be made is told of in the table and the others go on; UserError of the first where none can."""
    rows = ROWS[experiment.section.kind](setting, experiment, dataset, full)
    folder = setting.places.root / RESULTS / experiment.name
    return write_results(folder, dataset, experiment.section, rows)


def retrieval_rows(setting: Setting, experiment: Experiment, dataset: str, full: bool) -> list[Row]:
    """The table of an experiment that asks how well rows retrieve."""
    section, runs = experiment.section, experiment.runs(full, setting.params.dataset == FEATURES)
    cells: list[Cell] = []
    lost: list[tuple[Run, UserError]] = []
    with working(f"ablate {experiment.name}", len(runs)):
        for run in (run_of(setting, experiment, dataset, own) for own in runs):
            try:
                cells += cells_of(make_run(run, section.extracts), section.beside)
            except UserError as error:
                if _ends_it(error, section.extracts):
                    raise
                lost.append((run, error))
                reporter().warn(f"{run.section.name}: not run here ({one_line(error)})")
            reporter().advance(f"ablate {experiment.name}", 1)
    if lost and not cells:
        raise lost[0][1]
    columns: tuple[str, ...] = (*COLUMNS, *section.beside)
    again = f"then 'python -m pipeline ablate {experiment.name} --dataset {dataset}' goes on"
    gone = [_lost(columns, run, f"{_anywhere(setting, one_line(error))}; {again}") for run, error in lost]
    return table_of(cells, section, setting.params.evaluate.draws) + gone


ROWS: Mapping[Kind, Callable[[Setting, Experiment, str, bool], list[Row]]] = {
    "retrieval": retrieval_rows,
    "cost": cost_rows,
}


def _ends_it(error: UserError, extracts: bool) -> bool:
    """Whether an error is none of its run alone: features that nobody asked to be made, a store that is in use."""
    return isinstance(error, BusyError) or (isinstance(error, MissingError) and not extracts)


def _anywhere(setting: Setting, message: str) -> str:
    """A message without the folders of this machine and without addresses: a table is read on others, too."""
    message = re.sub(r"https?://\S+", "the hub", message)
    return message.replace(f"{setting.places.home}/", "").replace(str(Path.home()), "~")


def _lost(columns: tuple[str, ...], run: Run, why: str) -> Row:
    name = run.section.name
    return {**dict.fromkeys(columns), "run": name, "row": name, "note": f"{name}: {why}"}


def cells_of(made: Made, beside: list[Any]) -> list[Cell]:
    """The cells of a finished run, with what else is told of its rows."""
    scores = read_scores(made.scores)
    episodes = read_episodes(made.episodes)
    cells = read_cells(made.run.section, read_queries(made.queries), episodes, _chance(scores))
    history, facts = read_history(made.history), _facts(made, beside)
    told = [{name: facts[name] if name in facts else _curve(history, cell, name) for name in beside} for cell in cells]
    return [replace(cell, beside=own) for cell, own in zip(cells, told, strict=True)]


def _facts(made: Made, beside: list[Any]) -> Mapping[str, float]:
    """What is told of the dataset, where anything of it is asked for."""
    return complexity(made.run.setting) if set(beside) & set(get_args(Fact)) else {}


def _chance(scores: pa.Table) -> Mapping[int, float]:
    """mAP of a random order on the main gallery, by shot count."""
    own = [row for row in scores.filter(pc.equal(scores["method"], "chance")).to_pylist() if row["metric"] == "mAP"]
    main = "target" if any(row["gallery"] == "target" for row in own) else own[0]["gallery"]
    return {row["shots"]: row["value"] for row in own if (row["gallery"], row["direction"]) == (main, "mean")}


def _curve(history: pa.Table, cell: Cell, name: str) -> float | None:
    """The mean of a figure over the steps and draws of a cell's training, None where it records none."""
    own = history.filter(
        pc.and_(
            pc.and_(pc.equal(history["method"], cell.method), pc.equal(history["variant"], cell.variant)),
            pc.and_(pc.equal(history["shots"], cell.shots), pc.equal(history["name"], name)),
        )
    )
    return float(np.mean(own["value"].to_numpy())) if len(own) else None
