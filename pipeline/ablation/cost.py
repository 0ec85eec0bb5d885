"""What EM costs against pooling the same tokens: seconds, products, memory, iterations, and how often it ends badly."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.mixtures import MixtureRows
from pipeline.ablation.experiment import CostSection, Experiment, RunSection
from pipeline.ablation.memory import mark, peak_since
from pipeline.ablation.method_cost import giga, method_rows
from pipeline.ablation.runs import run_of
from pipeline.setting import Setting
from pipeline.wiring import require
from stages.batches import plan_shares
from stages.items import MODALITIES, load_items
from stages.mixture.diagnose import collapsed
from stages.mixture.fit import fit_items
from stages.mixture.params import MixtureSection
from stages.progress import reporter, working
from stages.threads import side_by_side
from stages.tokens import Tokens, read_tokens

Row = dict[str, Any]
POOLING = "pooling"
CALLED = {"image": "pictures", "text": "texts"}
COLUMNS = (  # of the table; empty where there is none
    "run",
    "row",
    "value",
    "modality",
    "items",
    "tokens",
    "width",
    "seconds",
    "times",
    "gflop",
    "gflop_counted",
    "megabytes",
    "iterations",
    "open",
    "open_long",
    "collapsed",
    "note",
)


@dataclass(frozen=True)
class Work:
    """What one process measures: some items of one modality, pooled where there is no section."""

    source: Tokens
    ids: list[str]
    section: MixtureSection | None
    cost: CostSection


def cost_rows(setting: Setting, experiment: Experiment, dataset: str, full: bool) -> list[Row]:
    """The table: a row a mixture and modality, pooling first; then what the methods themselves take."""
    ids, sources = _sources(setting)
    runs = [run_of(setting, experiment, dataset, own) for own in experiment.runs(full, imported=False)]
    fits = [(POOLING, None), *((run.section.name, run.setting.params.mixture) for run in runs)]
    cost, rows = experiment.section.cost, []
    assert cost is not None  # kind cost has one
    with working(f"ablate {experiment.name}", len(fits)):
        for name, section in fits:
            for source in sources:
                about = {"run": name, "row": name, "value": name, "modality": CALLED[source.modality]}
                rows.append({**about, **apart(Work(source, ids, section, cost))})
            reporter().advance(f"ablate {experiment.name}", 1)
    pooled = {row["modality"]: row["seconds"] for row in rows if row["run"] == POOLING}
    told = [{**row, "times": round(row["seconds"] / pooled[row["modality"]], 3)} for row in rows]
    told += method_rows(run_of(setting, experiment, dataset, RunSection(name="methods")).setting, cost.repeats)
    return [{name: row.get(name) for name in COLUMNS} for row in told]


def _sources(setting: Setting) -> tuple[list[str], list[Tokens]]:
    """The items' ids, and their tokens of both modalities."""
    paths = require(setting, "ingest"), require(setting, "extract")
    items = load_items(setting.places.store, *paths, None, setting.params.ingest.captions)
    return items.ids, [items.tokens[m] for m in MODALITIES] if items.tokens else []


def apart(work: Work) -> Row:
    """The figures of some work, measured in a process of its own: what another one left in memory does not count."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (work,))


def measured(work: Work) -> Row:
    """Seconds (the best of `repeats`), products in 1e9, megabytes at the peak above what stood before, and of a mixture
    how it converges."""
    before = mark()
    run = _pooling(work.source) if work.section is None else _fitting(work, work.section)
    took = [_timed(run) for _ in range(work.cost.repeats)]
    peak = peak_since(before)
    found = {
        **{"items": len(work.source), "tokens": round(float(work.source.lengths.mean()), 2)},
        **{"width": width_of(work.source), "seconds": round(min(took), 4), "megabytes": round(peak, 1)},
        "gflop": giga(products(work.source, work.section)),
    }
    return found if work.section is None else {**found, **convergence(work, work.section)}


def _timed(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def width_of(source: Tokens) -> int:
    """How wide a token is."""
    return int(read_tokens(source, np.array([0]))[0].shape[2])


def _pooling(source: Tokens) -> Callable[[], object]:
    """The mean of the tokens of every item, read and batched as a mixture's are."""
    batches = plan_shares(source.lengths, width_of(source), "spherical", 1)

    def pooled(items: NDArray[np.int64]) -> NDArray[np.float64]:
        tokens, mask = read_tokens(source, items)
        return np.asarray(tokens.sum(axis=1) / mask.sum(axis=1)[:, None])

    return lambda: list(side_by_side(pooled, batches))


def _fitting(work: Work, section: MixtureSection) -> Callable[[], MixtureRows]:
    return lambda: fit_items(work.source, work.ids, section, section.components)


def convergence(work: Work, section: MixtureSection) -> Row:
    """Of some items, evenly over the dataset: the median of the iterations until one gains less than `tolerance` nats a
    token; the share that has not come to that after as many iterations as the stage makes (`open`) and after `cost`'s
    (`open_long`); the share of which one component has swallowed everything by the stage's end."""
    chosen = np.unique(np.linspace(0, len(work.source) - 1, min(work.cost.items, len(work.source))).astype(np.int64))
    few, ids = work.source.take(chosen), [work.ids[row] for row in chosen]
    many = section.model_copy(update={"iterations": work.cost.iterations})
    rows = fit_items(few, ids, many, section.components)
    ends = settled_after(rows, work.cost.tolerance)
    short = fit_items(few, ids, section, section.components)
    return {
        "iterations": float(np.median(ends)),
        "open": round(float((ends > section.iterations).mean()), 4),
        "open_long": round(float((ends > work.cost.iterations).mean()), 4),
        "collapsed": round(float(collapsed(short).mean()), 4),
    }


def settled_after(rows: MixtureRows, tolerance: float) -> NDArray[np.float64]:
    """After how many iterations the objective a token of each item gains less than `tolerance`, (N,): one more than
    there were where it never does."""
    a_token = rows.objective.astype(np.float64) / np.diff(rows.offsets)[:, None]
    small = np.diff(a_token, axis=1) < tolerance  # of the second iteration, and so on
    first = np.where(small.any(axis=1), small.argmax(axis=1) + 2, a_token.shape[1] + 1)
    return np.asarray(first, np.float64)


def products(source: Tokens, section: MixtureSection | None) -> int:
    """The floating-point operations of all items: two for each multiplication of a matrix product, everything done
    number by number left out; for pooling, which has no product, one an addition."""
    width = width_of(source)
    if section is None:
        return int(source.lengths.sum()) * width
    one = {"spherical": spherical, "diag": diagonal}[section.covariance]
    return sum(one(int(n), width, section.components, section.iterations) for n in source.lengths)


def spherical(tokens: int, width: int, components: int, iterations: int) -> int:
    """The products of EM with a variance a component (stages.em) on N tokens of D, and of its K views: the Gram matrix
    once, 2 N N D, and its sum, 2 N N; at the start and each iteration 2 K N N; means and views 2 K N D each."""
    once = 2 * tokens**2 * (width + 1) + 4 * components * tokens * width
    return once + (iterations + 1) * 2 * components * tokens**2


def diagonal(tokens: int, width: int, components: int, iterations: int) -> int:
    """The same with a variance a dimension: distances to the mean and to K tokens, 2 N D each; at the start and each
    iteration four products of 2 K N D, with the tokens and with their squares, there and back; views 2 K N D."""
    once = 2 * (1 + components) * tokens * width + 2 * components * tokens * width
    return once + (iterations + 1) * 8 * components * tokens * width
