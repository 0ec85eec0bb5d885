"""What the methods themselves cost: to fit a head on one episode, and to score with it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cache.episodes import Episode, read_episodes
from pipeline.ablation.memory import mark, peak_since
from pipeline.ablation.runs import fitting
from pipeline.setting import Setting
from pipeline.wiring import require
from stages.evaluate.plan import Task
from stages.evaluate.ranking import evaluate_task, look
from stages.heads.head import Head
from stages.items import Items, load_items
from stages.threads import one_blas_thread
from stages.train.episode import train_episode
from stages.train.params import GapSection, GcrdpSection
from stages.train.plan import Row as MethodRow
from stages.train.plan import rows_of
from stages.train.selection import settled, several

FIT, SCORING = "fit", "scoring"
Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """A method under its values, and the episode that it is fitted to, `repeats` times."""

    method: MethodRow
    episode: Episode
    items: Items
    align: Any
    repeats: int


def method_rows(setting: Setting, repeats: int) -> list[Row]:
    """Two rows a method of the setting: its fit and its scoring, on the first episode of the most shots."""
    setting = fitting(setting)
    paths = require(setting, "ingest"), require(setting, "extract")
    episodes = read_episodes(require(setting, "split"))
    episode = max(episodes, key=lambda own: (own.shots, -own.seed))
    mixtures = require(setting, "mixture")
    items = load_items(setting.places.store, *paths, mixtures, setting.params.ingest.captions)
    rows: list[Row] = []
    for method in rows_of(setting.params.train):
        rows += apart(Work(method, episode, items, setting.params.train.align, repeats))
    return rows


def apart(work: Work) -> list[Row]:
    """The figures of one method, measured in a process of its own: what another left in memory does not count."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (work,))


def measured(work: Work) -> list[Row]:
    """The figures of one method: seconds (the best of `repeats`), megabytes at the peak above
    what stood before, products in 1e9 by formula and as torch counts them, where there are such."""
    from torch.utils.flop_counter import FlopCounterMode

    fit = fitter(work)  # imports what it needs, which is not to count
    before, (head, fit_seconds) = mark(), best_of(work.repeats, fit)
    fitted = peak_since(before)
    with FlopCounterMode(display=False) as counter:
        fit()
    after, ((asked, offered), seconds) = mark(), best_of(work.repeats, lambda: scored(work, head))
    counted, formula = counter.get_total_flops(), products_of(work)
    about = {"run": work.method.method.name, "row": work.method.method.name, "value": work.method.method.name}
    trained = {"modality": FIT, "items": len(work.episode.ids["source-train"]) + len(work.episode.ids["support"])}
    told = {"gflop": giga(formula), "gflop_counted": giga(counted or None), "megabytes": round(fitted, 1)}
    score = {"modality": SCORING, "items": asked, "gflop": giga(scoring_products(work, head, asked, offered))}
    return [
        {**about, **trained, **told, "seconds": round(fit_seconds, 4)},
        {**about, **score, "seconds": round(seconds, 4), "megabytes": round(peak_since(after), 1)},
    ]


def giga(count: int | None) -> float | None:
    """A count in 1e9, to six digits."""
    return None if count is None else float(f"{count / 1e9:.6g}")


def best_of(repeats: int, run: Callable[[], Any]) -> tuple[Any, float]:
    """What a run gives, and the seconds of the quickest of some, on one thread of linear algebra."""
    found, took = None, float("inf")
    with one_blas_thread():
        for _ in range(repeats):
            begun = time.perf_counter()
            found = run()
            took = min(took, time.perf_counter() - begun)
    return found, took


def fitter(work: Work) -> Callable[[], Head]:
    """What fits the method to the episode; of values to choose from the last."""
    section, fit = work.method.section, work.method.method.fit()
    if work.method.method.selects and section is not None:
        section = settled(section, {key: listed[-1] for key, listed in several(section).items()})
    return lambda: fit(train_episode(work.episode, work.items, work.align), section, work.episode.seed)


def scored(work: Work, head: Head) -> tuple[int, int]:
    """Rank the gallery `target` for every query, both ways; how many asked, and of how many."""
    contender = {"method": work.method.method.name, "variant": "default", "access": "inductive", "names": False}
    task = Task("0" * 32, contender, work.episode, "target", work.episode.seed)
    evaluate_task(task, look([task], head, work.items))
    return len(task.queries), len(task.candidates)


def scoring_products(work: Work, head: Head, asked: int, offered: int) -> int:
    """The products of comparing Q queries with G items, both ways, each by V vectors of d: 4 Q G d for each pair of
    vectors; `mix` compares its first vectors with each other, and the others with each other."""
    vectors = head.vectors(work.items.take([0]), "image", "target")
    views, width = vectors.values.shape[1:]
    pairs = {"dot": 1, "max": views**2, "mix": 1 + (views - 1) ** 2}[vectors.match]
    return int(4 * asked * offered * width * pairs)


def products_of(work: Work) -> int | None:
    """The products of training a linear residual head by formula (see of_pooled, of_components); None for others."""
    section = work.method.section
    if not isinstance(section, GapSection) or section.hidden or work.method.method.name not in ("gap", "gcrdp"):
        return None
    classes = len(
        {
            name
            for role in ("source-train", "support")
            for i in work.episode.ids[role]
            for name in work.episode.labels[i]
        }
    )
    width = work.items.pooled["image"].shape[1] if work.items.aligned else work.align.dims
    shape = section.batch, int(width), classes
    if not isinstance(section, GcrdpSection):
        return section.steps * of_pooled(*shape)
    usual = section.over == "tokens" and section.space == "cached" and section.retrieve == "mix"
    weighted = section.contrast and section.alpha and section.lambda_
    if not (usual and weighted and work.items.views):
        return None
    return section.steps * of_components(*shape, work.items.views["image"].shape[1])


def of_pooled(batch: int, width: int, classes: int) -> int:
    """One step of `gap` on B rows of d and C classes: two modalities through W and back to it, 2 B d d each; their
    similarities there, and back to both, 2 B B d each; who shares a class, 2 B B C."""
    return 8 * batch * width**2 + 6 * batch**2 * width + 2 * batch**2 * classes


def of_components(batch: int, width: int, classes: int, components: int) -> int:
    """One step of `gcrdp` with `retrieve: mix`: B rows and B K views through W and back; L_GC of either modality and
    the best pairs of L_reg, (B K) x (B K) there and back; L_reg's pooled similarities, and those within both
    modalities that L_RDP compares, B x B; who shares a class, twice."""
    rows = batch * components
    through = 8 * (batch + rows) * width**2
    return through + 18 * rows**2 * width + 18 * batch**2 * width + 4 * batch**2 * classes
