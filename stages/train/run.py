"""Train: episodes and features -> heads, each fitted once and kept in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from cache import shards
from cache.episodes import Episode, read_episodes
from cache.errors import UsageError, UserError
from cache.files import digest_file, digest_of
from cache.heads import FILES, HEAD, HISTORY, read_history, write_history
from cache.scores import HISTORY as CURVES
from cache.scores import write_history as write_curves
from cache.store import Ledger, LedgerKey, folder_of, in_part, read_ledger, write_ledger
from stages.crew import register_ray
from stages.heads.files import save_head
from stages.heads.head import Head
from stages.progress import reporter
from stages.train import watch
from stages.train.chosen import Selections, choose_all
from stages.train.episode import train_episode
from stages.train.params import ScmSection, TrainParams
from stages.train.plan import (
    CHOSEN_ON,
    CHOSEN_PROTOCOL,
    Features,
    Job,
    Row,
    lacking,
    may_be_scored,
    plan_jobs,
    require_space,
    rows_of,
)
from stages.train.work import Craft, Sources, Task, World, draw_of, read_world, row_name, told, work_off

WORK = "train"
Curve = tuple[Job, pa.Table]


def run(params: TrainParams) -> None:
    """Fit the heads that the store lacks, write the ledger and the training curves, warn of what they show.

    A row that fails in an episode is told of at the end and left out of both, which then bear the stamp of a part, and
    the ledger says what is `lacking`. The command has then failed (exit code 1); where not one head stands and all of
    it is wrong use, such as a setting that does not suit the data, it was wrongly used (2)."""
    if params.section.backend == "ray":
        register_ray("train")
    dataset = str(read_ledger(params.features).about.get("dataset", ""))
    rows = _admitted(rows_of(params.section), dataset, read_episodes(params.episodes))
    world = read_world(_sources(params, rows))
    features = Features(world.items.aligned, world.items.encoder, world.items.keys, params.captions)
    require_space(rows, features)
    episodes = list(world.episodes.values())
    selections = choose_all(params, rows, world, features)
    jobs = plan_jobs(rows, episodes, features, params.section.align, selections.settle)
    failures = [*selections.failures, *work_off(params, world, _tasks(params, jobs, selections), WORK)]
    stand = [job for job in jobs if shards.is_whole(_folder(params, job))]
    made_from = in_part(params.made_from) if failures else params.made_from
    curves = [(job, read_history(_folder(params, job) / HISTORY)) for job in stand]
    write_curves(params.history, _joined(curves), made_from)
    about = {"dataset": dataset, **({"lacking": lacking(jobs, stand)} if failures else {})}
    _write_ledger(replace(params, made_from=made_from), about, stand, selections.keys)
    _warn(params, curves)
    wrong_use = not stand and all(failure.fault.wrong_use for failure in failures)
    for line, trace in told(failures):
        reporter().fail(line, UsageError.exit_code if wrong_use else UserError.exit_code, trace)


def _admitted(rows: list[Row], dataset: str, episodes: list[Episode]) -> list[Row]:
    """The rows whose figures would be honest on these class splits; the others are left out, and said so."""
    protocols = {episode.protocol for episode in episodes}
    kept = [row for row in rows if all(may_be_scored(row, dataset, protocol) for protocol in protocols)]
    lost = ", ".join(row_name(row) for row in rows if row not in kept)
    if lost:
        where = f"{CHOSEN_ON[0]}, {CHOSEN_PROTOCOL}"
        reporter().warn(
            f"{lost}: left out, their values were tried on classes of {where} that are tested here; use parity"
        )
    return kept


def _sources(params: TrainParams, rows: list[Row]) -> Sources:
    mixtures = params.mixtures if any(row.uses_views for row in rows) else None
    paths = params.store, params.manifest, params.features, mixtures
    apart = any(isinstance(row.section, ScmSection) and row.section.captions == "all" for row in rows)
    named = [path for path in (params.manifest, params.features, mixtures, params.episodes) if path is not None]
    return Sources(*paths, params.captions, params.episodes, apart, digest_of([digest_file(path) for path in named]))


def _folder(params: TrainParams, job: Job) -> Path:
    return folder_of(params.store, "heads", job.key)


def _tasks(params: TrainParams, jobs: list[Job], selections: Selections) -> list[Task]:
    """A task a head, each once, those of an episode together: so the first few tell what every row takes."""
    distinct = {job.key: job for job in jobs if not selections.lacks(job.row, job.episode)}
    order = {draw_of(job.episode): place for place, job in enumerate(jobs)}
    together = sorted(distinct.values(), key=lambda job: order[draw_of(job.episode)])
    return [
        Task(index, CRAFT, job.row, draw_of(job.episode), params.section, job.content, _folder(params, job))
        for index, job in enumerate(together)
    ]


def _fit(task: Task, world: World) -> Head:
    episode = train_episode(world.episodes[task.draw], world.items, task.section.align, task.row.lets_in)
    head: Head = task.row.method.fit()(episode, task.row.section, task.draw[-1])
    return head


def _write(head: Head, paths: Mapping[str, Path]) -> dict[str, int]:
    save_head(paths[HEAD], head)
    write_history(paths[HISTORY], head.history)
    return {HEAD: 1, HISTORY: len(head.history)}


CRAFT = Craft("heads", "head", FILES, _fit, _write)


def _joined(curves: list[Curve]) -> pa.Table:
    """All curves as one table, a row a point; a method without training has none."""
    drawn = {(job.key, *job.about.values()): (job.about, table) for job, table in curves}
    tables = [_labelled(about, table) for about, table in drawn.values()]
    return pa.concat_tables(tables) if tables else CURVES.empty_table()


def _labelled(about: dict[str, Any], table: pa.Table) -> pa.Table:
    fixed = {f.name: f for f in CURVES if f.name in about}
    columns = [pa.repeat(pa.scalar(about[f.name], f.type), len(table)) for f in fixed.values()]
    return pa.table([*columns, *table.columns], names=[*fixed, *table.column_names]).cast(CURVES)


def _write_ledger(
    params: TrainParams, about: dict[str, Any], jobs: list[Job], selections: tuple[LedgerKey, ...]
) -> None:
    heads = tuple(LedgerKey("heads", job.key, shards.folder_digest(_folder(params, job)), job.about) for job in jobs)
    label = str(read_ledger(params.features).about["label"])
    origin = f"params.yaml or -S; docs/selection.md: what the source classes of {CHOSEN_ON[0]}, {CHOSEN_PROTOCOL}, say"
    chosen = dict.fromkeys(str(key.about["method"]) for key in selections)
    if chosen:
        origin += f"; of {', '.join(chosen)} chosen on the source classes of each class split"
    about = {**about, "label": label, "values_from": origin}
    write_ledger(params.ledger, Ledger("heads", params.made_from, about, (*heads, *selections)))


def _warn(params: TrainParams, curves: list[Curve]) -> None:
    """Once a run, over all heads that the ledger names, so that a rerun says what the first run said."""
    own = [watch.by_name(table) for job, table in curves if job.row.method.name == "gcrdp" and len(table)]
    for line in watch.remarks(own, params.section.gcrdp):
        reporter().warn(line)
