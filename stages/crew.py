"""Many processes that work for one leader: each does whole pieces, the leader alone records what they hand back.

Under Ray they may be on many machines, all of which see the store and the data under the same paths. The leader
joins the cluster that RAY_ADDRESS names, or else the one that `ray start` began on this machine; where there is none
it starts one for itself, which ends with it. A worker that dies is started again, anywhere in the cluster, and gets
its piece once more; Ray itself says so.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from cache.errors import UsageError, UserError, counted, one_line
from stages.progress import reporter
from stages.section import Backend

RAY = {"max_restarts": -1, "max_task_retries": 3}  # a piece that kills every worker it meets must not go on for ever
LAST_WORDS = 300  # characters of Ray's own message, whose end says most
PR_SET_PDEATHSIG = 1


class Numbered(Protocol):
    """A piece of work, or what came of it: both bear the same number."""

    @property
    def index(self) -> int:
        """Which piece of a run it is."""


Task = TypeVar("Task", bound=Numbered)
Done = TypeVar("Done", bound=Numbered)
Work = Callable[[Task, int], Done]  # a piece, and how many cores the worker has for it


@dataclass(frozen=True)
class Crew:
    """Who works: so many processes of a backend, on `device`, with a GPU each on cuda. stage and piece are what
    messages call the work: extract, shard."""

    workers: int
    backend: Backend
    device: str
    stage: str
    piece: str


def lanes_of(device: str, workers: int) -> int:
    """How many batches one process encodes side by side: its share of the cores, or one on a GPU."""
    return max(1, joblib.cpu_count() // workers) if device == "cpu" else 1


def work_by_crew(
    crew: Crew, work: Work[Task, Done], tasks: Sequence[Task], on_finished: Callable[[Done], None]
) -> None:
    """Do every piece in one of the crew's processes; `on_finished` records each as it comes, in any order.

    Should a worker die, what was not recorded is done once more; UserError if one dies again (of Ray's, RAY decides).
    """
    waiting = {task.index: task for task in tasks}
    for attempt in (1, 2):
        try:
            results = _by_ray if crew.backend == "ray" else _by_loky
            for finished in results(crew, work, list(waiting.values())):
                on_finished(finished)
                del waiting[finished.index]
            return
        except TerminatedWorkerError as error:
            if attempt == 2:
                raise UserError(_lost(crew, "twice", len(waiting))) from error
            reporter().warn(f"a worker process died; {_many(crew, len(waiting))} given out again")
        except WorkerLostError as error:
            often = f"{RAY['max_task_retries'] + 1} times over one {crew.piece}"
            raise UserError(_lost(crew, often, len(waiting))) from error


class WorkerLostError(Exception):
    """Ray has given up a piece whose workers die."""


def _lost(crew: Crew, often: str, count: int) -> str:
    mend = "use fewer --workers, or give it more memory"
    return f"{crew.stage}: a worker process died {often}, {_many(crew, count)} left; {mend}"


def _many(crew: Crew, count: int) -> str:
    return counted(count, f"{crew.piece} is", f"{crew.piece}s are")


def _by_loky(crew: Crew, work: Work[Task, Done], tasks: list[Task]) -> Iterator[Done]:
    """What is finished, as it comes."""
    lanes = lanes_of(crew.device, crew.workers)
    warnings.filterwarnings("ignore", r"\d+ tasks (which|have)", UserWarning)  # that a run which stops drops its rest
    warnings.filterwarnings("ignore", "A worker stopped while", UserWarning)  # one that has grown is replaced: no loss
    with joblib.parallel_config(backend="loky", initializer=begin_worker, initargs=(os.getpid(),)):
        parallel = joblib.Parallel(n_jobs=crew.workers, return_as="generator_unordered", batch_size=1)
        yield from parallel(joblib.delayed(do_one)(work, task, lanes) for task in tasks)


def _by_ray(crew: Crew, work: Work[Task, Done], tasks: list[Task]) -> Iterator[Done]:
    """The same in rounds of two a worker, since Ray's backend returns lists only; its workers live through all."""
    register_ray(crew.stage)
    join_ray(crew.workers)
    share = share_of(nodes_of_ray(), crew.workers, crew.device)
    lanes = share if crew.device == "cpu" else 1
    owned = {**RAY, "num_cpus": share, "num_gpus": int(crew.device == "cuda")}
    with (
        _ray_errors(crew.stage),
        joblib.parallel_config(backend="ray", ray_remote_args=owned),
        joblib.Parallel(n_jobs=crew.workers, batch_size=1) as parallel,
    ):
        for begin in range(0, len(tasks), 2 * crew.workers):
            some = tasks[begin : begin + 2 * crew.workers]
            yield from parallel(joblib.delayed(do_one)(work, task, lanes) for task in some)


def register_ray(stage: str) -> None:
    """Make Ray known to joblib; UsageError where it is not installed."""
    if find_spec("ray") is None:
        raise UsageError(
            f"{stage}.backend is ray, which is not installed; run 'pip install ray', or use --backend loky"
        )
    import_module("ray.util.joblib").register_ray()


def join_ray(workers: int) -> None:
    """Join the running cluster or start one of this machine; what is joined already stays so."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the house unasked
    ray = import_module("ray")
    _set_ray_aside()
    if ray.is_initialized():
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        if address != "local":
            ray.init(address=address, **quiet)
            return
    except ConnectionError as error:
        if address != "auto":
            raise UserError(
                f"RAY_ADDRESS: no Ray cluster answers at {address}; start it, or unset RAY_ADDRESS"
            ) from error
    ray.init(address="local", num_cpus=max(workers, joblib.cpu_count()), include_dashboard=False, **quiet)


@cache
def _set_ray_aside() -> None:
    """What Ray tells of its workers goes to stderr, stdout being for results.

    Ray has no switch for it: it prints from a thread of its own whenever it likes, and what it held back at its end.
    """
    ray_worker: Any = import_module("ray._private.worker")
    if not hasattr(ray_worker, "print_to_stdstream"):
        return  # another release of Ray: better its lines among the results than no run
    printed: Callable[..., None] = ray_worker.print_to_stdstream

    def aside(data: dict[str, Any], *how: Any, **more: Any) -> None:
        # that a worker is let go is told as a failure, since a task of its may be tried again: nothing for a person
        if told := [line for line in data["lines"] if "__ray_terminate__" not in line]:
            printed({**data, "lines": told, "is_err": True}, *how, **more)

    ray_worker.print_to_stdstream = aside


def nodes_of_ray() -> list[tuple[int, int]]:
    """Cores and GPUs of each node of the cluster."""
    alive = [node["Resources"] for node in import_module("ray").nodes() if node["Alive"]]
    return [(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive]


def share_of(nodes: Sequence[tuple[int, int]], workers: int, device: str) -> int:
    """The most cores a worker can have if all are to find a place, with a GPU each on cuda; UsageError if none do."""
    for share in range(sum(cores for cores, _ in nodes) // workers, 0, -1):
        places = (min(cores // share, gpus if device == "cuda" else cores) for cores, gpus in nodes)
        if sum(places) >= workers:
            return share
    there = f"{sum(cores for cores, _ in nodes)} cores and {sum(gpus for _, gpus in nodes)} GPUs"
    need = "a core and a GPU" if device == "cuda" else "a core"
    raise UsageError(f"the Ray cluster has {there}, and each of {workers} workers needs {need}; use fewer --workers")


@contextmanager
def _ray_errors(stage: str) -> Iterator[None]:
    """What Ray says of its workers, without its traces."""
    errors = import_module("ray.exceptions")
    try:
        yield
    except errors.RayActorError as error:
        raise WorkerLostError from error
    except errors.RayError as error:
        told = one_line(error)[-LAST_WORDS:]
        raise UserError(f"{stage}: a worker of Ray failed ({told}); is it installed there?") from error


def begin_worker(leader: int) -> None:
    """What a worker of loky does first: it ends where its leader died while it was starting, which no signal tells.

    Else it would do what is queued for nobody, and litter a folder that the next run has swept already.
    """
    _die_with_parent()
    if os.getppid() != leader:
        os._exit(1)


def do_one(work: Work[Task, Done], task: Task, lanes: int) -> Done:
    """What a worker does: one piece. It dies with the leader."""
    _die_with_parent()
    return work(task, lanes)


def require_seen(folder: Path) -> None:
    """Refuse to work on a machine that does not see the store."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: not to be seen from {socket.gethostname()}; let all machines see the store and the "
            "data under the same paths, or use --backend loky"
        )


def _die_with_parent() -> None:
    """Where the system can: after a kill -9 of the leader its workers would finish what is queued for nobody."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
