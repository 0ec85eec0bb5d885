"""Train: episodes and features -> heads, each fitted once and kept in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from cache import shards
from cache.episodes import Episode, read_episodes
from cache.heads import FILES, HEAD, HISTORY, read_history, write_history
from cache.scores import HISTORY as CURVES
from cache.scores import write_history as write_curves
from cache.store import Ledger, LedgerKey, folder_of, lock, read_ledger, write_ledger
from stages.heads.files import save_head
from stages.heads.head import Head
from stages.items import Items, load_items, require_sound
from stages.progress import reporter
from stages.train import watch
from stages.train.chosen import choose_all
from stages.train.episode import train_episode
from stages.train.params import TrainParams
from stages.train.plan import CHOSEN_ON, CHOSEN_PROTOCOL, Features, Job, Row, may_be_scored, plan_jobs, rows_of

WORK = "train"
Curve = tuple[Job, pa.Table]


def run(params: TrainParams) -> None:
    """Fit the heads that the store lacks, write the ledger and the training curves, warn of what they show."""
    dataset = str(read_ledger(params.features).about.get("dataset", ""))
    episodes = read_episodes(params.episodes)
    rows = _admitted(rows_of(params.section), dataset, episodes)
    items = _items(params, rows)
    features = Features(items.aligned, items.encoder, items.keys, params.captions)
    selections = choose_all(params, rows, episodes, items, features)
    jobs = plan_jobs(rows, episodes, features, params.section.align, selections.settle)
    _train(params, jobs, items)
    curves = [(job, read_history(_folder(params, job) / HISTORY)) for job in jobs]
    write_curves(params.history, _joined(curves), params.made_from)
    _write_ledger(params, dataset, jobs, selections.keys)
    _warn(params, curves)


def _admitted(rows: list[Row], dataset: str, episodes: list[Episode]) -> list[Row]:
    """The rows whose figures would be honest on these class splits; the others are left out, and said so."""
    protocols = {episode.protocol for episode in episodes}
    kept = [row for row in rows if all(may_be_scored(row.method, dataset, protocol) for protocol in protocols)]
    lost = ", ".join(dict.fromkeys(row.method.name for row in rows if row not in kept))
    if lost:
        where = f"{CHOSEN_ON[0]}, {CHOSEN_PROTOCOL}"
        reporter().warn(
            f"{lost}: left out, their values were tried on classes of {where} that are tested here; use parity"
        )
    return kept


def _items(params: TrainParams, rows: list[Row]) -> Items:
    mixtures = params.mixtures if any(row.method.uses_views for row in rows) else None
    return load_items(params.store, params.manifest, params.features, mixtures, params.captions)


def _folder(params: TrainParams, job: Job) -> Path:
    return folder_of(params.store, "heads", job.key)


def _train(params: TrainParams, jobs: list[Job], items: Items) -> None:
    missing = {job.key: job for job in jobs if not shards.is_whole(_folder(params, job))}
    if missing:
        require_sound(params.store, items)  # nothing is fitted on damaged features or mixtures
    reporter().start(WORK, len(missing))
    for job in missing.values():
        with lock(params.store, "heads", job.key, params.wait_for_lock, reporter().say):
            _fit_into(params, job, items)
        reporter().advance(WORK, 1)
    reporter().finish(WORK)


def _fit_into(params: TrainParams, job: Job, items: Items) -> None:
    folder = _folder(params, job)
    shards.begin(folder, {"content": job.content}, FILES)
    if not shards.unfinished(folder):
        return
    episode = train_episode(job.episode, items, params.section.align, job.row.lets_in)
    head: Head = job.row.method.fit()(episode, job.row.section, job.episode.seed)
    finished = {name: shards.temporary(folder) for name in FILES}
    save_head(finished[HEAD], head)
    write_history(finished[HISTORY], head.history)
    for name, rows in ((HEAD, 1), (HISTORY, len(head.history))):
        shards.record(folder, finished[name], name, rows)


def _joined(curves: list[Curve]) -> pa.Table:
    """All curves as one table, a row a point; a method without training has none."""
    drawn = {(job.key, *job.about.values()): (job.about, table) for job, table in curves}
    tables = [_labelled(about, table) for about, table in drawn.values()]
    return pa.concat_tables(tables) if tables else CURVES.empty_table()


def _labelled(about: dict[str, Any], table: pa.Table) -> pa.Table:
    fixed = {f.name: f for f in CURVES if f.name in about}
    columns = [pa.repeat(pa.scalar(about[f.name], f.type), len(table)) for f in fixed.values()]
    return pa.table([*columns, *table.columns], names=[*fixed, *table.column_names]).cast(CURVES)


def _write_ledger(params: TrainParams, dataset: str, jobs: list[Job], selections: tuple[LedgerKey, ...]) -> None:
    heads = tuple(LedgerKey("heads", job.key, shards.folder_digest(_folder(params, job)), job.about) for job in jobs)
    label = str(read_ledger(params.features).about["label"])
    origin = f"params.yaml; checked on the source classes of {CHOSEN_ON[0]}, {CHOSEN_PROTOCOL} (docs/selection.md)"
    about = {"dataset": dataset, "label": label, "values_from": origin}
    write_ledger(params.ledger, Ledger("heads", params.made_from, about, (*heads, *selections)))


def _warn(params: TrainParams, curves: list[Curve]) -> None:
    """Once a run, over all heads that the ledger names, so that a rerun says what the first run said."""
    own = [watch.by_name(table) for job, table in curves if job.row.method.name == "gcrdp" and len(table)]
    for line in watch.remarks(own, params.section.gcrdp):
        reporter().warn(line)
