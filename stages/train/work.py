"""What a run lacks in the store: made by the leader alone or by a crew of processes; the leader alone records it."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from cache import shards
from cache.episodes import Episode, read_episodes
from cache.errors import UsageError, UserError, counted, one_line
from cache.store import lock
from stages.crew import Crew, require_seen, work_by_crew
from stages.items import Items, load_items, require_sound
from stages.naming import row_label
from stages.progress import reporter, working
from stages.threads import one_blas_thread
from stages.train.params import TrainParams, TrainSection
from stages.train.plan import Row

ROUND = 128  # folders locked and begun at a time; each lock is an open file
WORTH = 5.0  # seconds of work left for each worker, from which `auto` starts a crew: torch alone takes 3 to import
Draw = tuple[str, int, int, int]  # protocol, half, shots, seed: which episode


@dataclass(frozen=True)
class Sources:
    """Where a worker reads the items and episodes, once for all that it does. state: the digest of the files named
    here; datasets may follow each other at the same paths, and a worker outlives a run."""

    store: Path
    manifest: Path
    features: Path
    mixtures: Path | None
    captions: str
    episodes: Path
    apart: bool  # whether a row learns from each caption by itself
    state: str


@dataclass(frozen=True)
class World:
    """The items and episodes that all work is about, and where they come from."""

    items: Items
    episodes: Mapping[Draw, Episode]
    sources: Sources


@dataclass(frozen=True)
class Craft:
    """How folders of one kind of the store are made. make(task, world): what it raises may be its method's failure (see
    attempt); write(made, paths): writes the files, and says how many rows each has."""

    kind: str
    piece: str
    files: tuple[str, ...]
    make: Callable[[Task, World], Any]
    write: Callable[[Any, Mapping[str, Path]], dict[str, int]]


@dataclass(frozen=True)
class Task:
    """One folder of the store, named by `content`: of a row of the tables and an episode."""

    index: int
    craft: Craft
    row: Row
    draw: Draw
    section: TrainSection
    content: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class Fault:
    """Why a method failed: on one line, whether it was wrongly used, and where in the code it was."""

    reason: str
    wrong_use: bool
    trace: str


@dataclass(frozen=True)
class Finished:
    """What came of a task: temporary files with their rows, or the fault for which there are none."""

    index: int
    files: dict[str, Path]
    rows: dict[str, int]
    seconds: float
    fault: Fault | None = None


@dataclass(frozen=True)
class Failure:
    """A row that failed in an episode."""

    row: Row
    draw: Draw
    fault: Fault


def draw_of(episode: Episode) -> Draw:
    """Which episode it is."""
    return episode.protocol, episode.half, episode.shots, episode.seed


def read_world(sources: Sources) -> World:
    """Read all items and episodes; errors as of load_items and read_episodes."""
    read = (sources.store, sources.manifest, sources.features, sources.mixtures, sources.captions, sources.apart)
    episodes = read_episodes(sources.episodes)
    return World(load_items(*read), {draw_of(episode): episode for episode in episodes}, sources)


def work_off(params: TrainParams, world: World, tasks: Sequence[Task], what: str) -> list[Failure]:
    """Make every folder that is not whole; returns what failed, in the order of the tasks."""
    missing = [task for task in tasks if not shards.is_whole(task.folder)]
    if missing:
        require_sound(params.store, world.items)  # nothing is fitted on damaged features or mixtures
    failures: list[tuple[int, Failure]] = []
    seconds: dict[str, float] = {}
    with working(what, len(missing)):
        for first in range(0, len(missing), ROUND):
            failures += _round(params, world, missing[first : first + ROUND], seconds, what)
    return [failure for _, failure in sorted(failures, key=lambda found: found[0])]


def _round(
    params: TrainParams, world: World, tasks: list[Task], seconds: dict[str, float], what: str
) -> list[tuple[int, Failure]]:
    """Some tasks under their locks. `seconds` remembers what the last task of a row took."""
    known = {task.index: task for task in tasks}
    failures: list[tuple[int, Failure]] = []

    def on_finished(done: Finished) -> None:
        task = known[done.index]
        seconds[_pace(task)] = done.seconds
        if done.fault is None:
            _record(task, done)
        else:
            failures.append((task.index, Failure(task.row, task.draw, done.fault)))
        reporter().advance(what, 1, failed=int(done.fault is not None))

    with _locked(params, tasks), _begun(tasks) as todo:
        reporter().advance(what, len(tasks) - len(todo))  # what another run has finished meanwhile
        _give_out(params.section, world, todo, seconds, on_finished)
    return failures


@contextmanager
def _locked(params: TrainParams, tasks: Sequence[Task]) -> Iterator[None]:
    """All locks, in one order for all runs, so that no two wait for each other."""
    with ExitStack() as held:
        for kind, key in sorted((task.craft.kind, task.folder.name) for task in tasks):
            held.enter_context(lock(params.store, kind, key, params.wait_for_lock, reporter().say))
        yield


@contextmanager
def _begun(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Begin the folders; what of them is to do. A folder that stays empty goes again."""
    for task in tasks:
        shards.begin(task.folder, {"content": task.content}, task.craft.files)
    todo = [task for task in tasks if shards.unfinished(task.folder)]
    try:
        yield todo
    finally:
        for task in todo:
            if len(shards.unfinished(task.folder)) == len(task.craft.files):
                shards.remove(task.folder)


def _give_out(
    section: TrainSection,
    world: World,
    tasks: Sequence[Task],
    seconds: Mapping[str, float],
    on_finished: Callable[[Finished], None],
) -> None:
    """The leader works alone until a crew is worth its start."""
    todo = list(tasks)
    while todo and (workers := _workers(section, todo, seconds)) < 2:
        on_finished(attempt(todo.pop(0), world))
    if todo:
        crew = Crew(workers, section.backend, "cpu", "train", todo[0].craft.piece)
        work_by_crew(crew, partial(_attempt_apart, world.sources), todo, on_finished)


def _workers(section: TrainSection, todo: Sequence[Task], seconds: Mapping[str, float]) -> int:
    """How many processes what is left is worth: as many as were asked for, or by what the like of it has taken."""
    if section.workers != "auto":
        return min(section.workers, len(todo))
    left = sum(seconds.get(_pace(task), 0.0) for task in todo)
    cores: int = joblib.cpu_count()
    return min(cores, len(todo), int(left / WORTH))


def _pace(task: Task) -> str:
    return f"{task.craft.kind} {task.row.method.name} {task.row.variant}"


def _attempt_apart(sources: Sources, task: Task, cores: int) -> Finished:  # noqa: ARG001 - one thread, whatever there is
    """What a worker does: one task. It reads the items and episodes once."""
    require_seen(task.folder)
    return attempt(task, _world_of(sources))


_world_of = lru_cache(maxsize=1)(read_world)


def attempt(task: Task, world: World) -> Finished:
    """Do one task on one thread. A method that fails is told of, not raised: by a UserError, or by numbers that it
    cannot go on with. Anything else is a mistake in the code, and is raised: what is finished by then is kept."""
    task.row.method.fit()  # imports what it needs, which is not to count
    begun = time.thread_time()  # of the processor, so that a busy machine or a slow disk counts neither
    try:
        with one_blas_thread():
            made = task.craft.make(task, world)
    except Exception as error:
        if not (isinstance(error, UserError) or numerical(error)):
            raise
        return Finished(task.index, {}, {}, time.thread_time() - begun, _fault(error, task))
    files = {name: shards.temporary(task.folder) for name in task.craft.files}
    rows = task.craft.write(made, files)
    return Finished(task.index, files, rows, time.thread_time() - begun)


def numerical(error: Exception) -> bool:
    """Whether numbers, not the code, are at fault: overflow, division by zero, what linear algebra cannot decompose,
    and infinities that scipy refuses to begin with. Any other ValueError or RuntimeError is a mistake, as is a
    TypeError."""
    torch = sys.modules.get("torch")  # what has not been imported has raised nothing
    kinds = (ArithmeticError, np.linalg.LinAlgError, *([torch.linalg.LinAlgError] if torch else []))  # scipy's: numpy's
    if isinstance(error, kinds):
        return True
    innermost = traceback.extract_tb(error.__traceback__)[-1:]
    return isinstance(error, ValueError) and [frame.name for frame in innermost] == ["asarray_chkfinite"]


def _fault(error: Exception, task: Task) -> Fault:
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, UserError):
        return Fault(one_line(error), isinstance(error, UsageError), trace)
    what = f"{type(error).__name__}: {one_line(error)}"
    return Fault(f"{what}; try other values of train.{task.row.method.name}", False, trace)


def _record(task: Task, done: Finished) -> None:
    for name in task.craft.files:
        shards.record(task.folder, done.files[name], name, done.rows[name])
    shards.sweep(task.folder)  # a worker that died over it may have left something


def told(failures: Sequence[Failure]) -> list[tuple[str, str]]:
    """One line for each reason for which a row failed: where first, in how many episodes, and why; and the first trace
    of that."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((row_name(failure.row), failure.fault.reason), []).append(failure)
    return [(f"{_where(name, own)}: {reason}", own[0].fault.trace) for (name, reason), own in groups.items()]


def row_name(row: Row) -> str:
    """A row for messages: without the marks that are no part of its name in params.yaml."""
    return row_label(row.method.name, row.variant, "inductive", False)


def _where(name: str, failures: Sequence[Failure]) -> str:
    protocol, half, shots, seed = failures[0].draw
    more = f" and in {counted(len(failures) - 1, 'more episode')}" if len(failures) > 1 else ""
    split = f"half {half}, " if protocol == "random" else ""
    return f"{name} at {split}{counted(shots, 'shot')}, seed {seed}{more}"
