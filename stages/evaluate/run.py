"""Heads and episodes -> scores: ranks every gallery with every head, or classifies every picture, and compares the
methods in pairs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from cache.episodes import CLASSIFY, Episode, read_episodes
from cache.errors import UserError, counted
from cache.features import REMEDY
from cache.files import write_json
from cache.heads import HEAD
from cache.manifest import read_manifest
from cache.scores import write_queries, write_scores
from cache.shards import require_whole
from cache.store import Ledger, folder_of, in_part, read_ledger
from stages.evaluate import classification
from stages.evaluate.params import EvaluateParams
from stages.evaluate.plan import CONTENDER, Task, plan_tasks
from stages.evaluate.ranking import Result, evaluate_task, look
from stages.evaluate.shift import on_target
from stages.evaluate.summary import label, summarise
from stages.evaluate.tables import Row, query_table, score_rows
from stages.heads.files import load_head
from stages.heads.head import Head
from stages.items import Items, load_items, require_sound
from stages.progress import reporter, working
from stages.section import Gallery

WORK = "evaluate"
Tables = tuple[dict[str, Any], pa.Table, list[Row]]  # metrics, queries, scores


def run(params: EvaluateParams) -> None:
    """Score all heads of the ledger; write scores, queries and metrics, as a part where the ledger is one."""
    items = load_items(params.store, params.manifest, params.features, params.mixtures, params.captions)
    require_sound(params.store, items)
    episodes, ledger = _episodes(params, items), read_ledger(params.heads)
    about = {"dataset": params.dataset, "encoder": params.label, "features": items.keys["image"]}
    score = _classified if {episode.protocol for episode in episodes} == {CLASSIFY} else _ranked
    summary, queries, scores = score(params, items, episodes, ledger, about)
    made_from = params.made_from if ledger.is_whole else in_part(params.made_from)
    write_json(params.metrics, {"made_from": made_from, **summary, **_lacking(ledger)})
    write_queries(params.queries, queries, made_from)
    write_scores(params.scores, scores, made_from)


def _episodes(params: EvaluateParams, items: Items) -> list[Episode]:
    """The episodes that the heads were trained on, with the test items of the target where that is another dataset."""
    episodes = read_episodes(params.episodes)
    if not params.shifted:
        return episodes
    manifest = read_manifest(params.manifest)
    splits = dict(zip(manifest.ids, manifest.splits, strict=True))
    labels = dict(zip(items.ids, items.labels, strict=True))
    return [on_target(episode, labels, splits, manifest.name) for episode in episodes]


def _ranked(params: EvaluateParams, items: Items, episodes: list[Episode], ledger: Ledger, about: Row) -> Tables:
    """Every gallery ranked with every head."""
    tasks = plan_tasks(ledger.of("heads"), episodes, params.section.galleries)
    _require_tasks(params.heads, ledger, tasks)
    results = list(_results(params.store, tasks, items))
    _warn_of_gaps(results, params.section.galleries)
    return summarise(results, params.section.draws), query_table(results, about), score_rows(results, about)


def _classified(params: EvaluateParams, items: Items, episodes: list[Episode], ledger: Ledger, about: Row) -> Tables:
    """Every test item classified by every head."""
    tasks = classification.plan_judging(ledger.of("heads"), episodes)
    _require_tasks(params.heads, ledger, tasks)
    results = []
    with working(WORK, len(tasks)):
        for task in tasks:
            results.append(classification.judge(task, _head(folder_of(params.store, "heads", task.key)), items))
            reporter().advance(WORK, 1)
    tables = classification.query_table(results, about), classification.score_rows(results, about)
    return classification.summarise(results, params.section.draws), *tables


def _require_tasks(path: Path, ledger: Ledger, tasks: list[Task]) -> None:
    if not ledger.of("heads"):
        raise UserError(f"{path}: names no heads; run 'train' again")
    if not any(task.queries for task in tasks):
        raise UserError(
            "no target class has a test item, so there is nothing to ask; add items, or change split.protocol"
        )


def _lacking(ledger: Ledger) -> dict[str, Any]:
    """For metrics.json: the rows that the ledger lacks heads of, and what they are called; nothing for a whole one."""
    found = ledger.about.get("lacking", [])
    told = [{"label": label([entry[name] for name in CONTENDER]), **entry} for entry in found]
    return {"lacking": told} if told else {}


def _results(store: Path, tasks: list[Task], items: Items) -> Iterator[Result]:
    """The results in the order of the tasks; each head is read once."""
    with working(WORK, len(tasks)):
        for key, group in groupby(tasks, key=lambda task: task.key):
            own = list(group)
            seen = look(own, _head(folder_of(store, "heads", key)), items)
            for task in own:
                yield evaluate_task(task, seen)
                reporter().advance(WORK, 1)


def _head(folder: Path) -> Head:
    require_whole(folder, REMEDY)
    return load_head(folder / HEAD)


def _warn_of_gaps(results: list[Result], galleries: list[Gallery]) -> None:
    """Say which galleries were empty, and how many queries had nothing relevant to find."""
    filled = {result.task.gallery for result in results}
    for gallery in galleries:
        lost = [int((r.relevant == 0).sum()) for r in results if r.task.gallery == gallery]
        if gallery not in filled:
            reporter().warn(f"gallery '{gallery}' is empty in every episode and has no rows")
        elif max(lost):
            queries = counted(max(lost), "query", "queries")
            reporter().warn(f"gallery '{gallery}': up to {queries} without a relevant item, scored 0")
