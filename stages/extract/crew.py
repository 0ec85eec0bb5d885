"""Many processes: each extracts whole shards into temporary files, the leader alone gives them their names."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from cache.errors import UsageError, UserError
from stages.extract.built import EncoderChoice
from stages.extract.encoders import Encoder, load_encoder
from stages.extract.shard import Finished, Task, extract_shards
from stages.progress import reporter

Backend = Literal["loky", "ray"]
RAY = {"max_restarts": -1, "max_task_retries": -1}  # without these one lost worker ends the run
PR_SET_PDEATHSIG = 1


def lanes_of(device: str, workers: int) -> int:
    """How many batches one process encodes side by side: its share of the cores, or one on a GPU."""
    return max(1, joblib.cpu_count() // workers) if device == "cpu" else 1


def extract_by_crew(
    choice: EncoderChoice,
    tasks: Sequence[Task],
    workers: int,
    lanes: int,
    backend: Backend,
    on_finished: Callable[[Finished], None],
) -> None:
    """Extract shards in `workers` processes; `on_finished` records each as it comes, in any order.

    Should a worker die, what was not recorded is done once more; UserError if one dies again.
    """
    waiting = {task.index: task for task in tasks}
    for attempt in (1, 2):
        try:
            for finished in _results(choice, list(waiting.values()), workers, lanes, backend):
                on_finished(finished)
                del waiting[finished.index]
            return
        except TerminatedWorkerError as error:
            if attempt == 2:
                raise UserError(_lost(len(waiting))) from error
            reporter().warn(f"a worker process died; {len(waiting)} shards are given out again")


def _lost(count: int) -> str:
    return f"extract: a worker process died twice, {count} shards are left; use fewer --workers, or give it more memory"


def _results(
    choice: EncoderChoice, tasks: list[Task], workers: int, lanes: int, backend: Backend
) -> Iterator[Finished]:
    """The shards as they are finished; Ray's backend returns lists only, so it gets them in rounds."""
    streams = backend == "loky"
    rounds = [tasks] if streams else [tasks[i : i + 2 * workers] for i in range(0, len(tasks), 2 * workers)]
    with _configured(backend):
        options = {"return_as": "generator_unordered" if streams else "list", "batch_size": 1}
        parallel = joblib.Parallel(n_jobs=min(workers, len(tasks)), **options)
        for some in rounds:
            yield from parallel(joblib.delayed(extract_one)(choice, task, lanes) for task in some)


@contextmanager
def _configured(backend: Backend) -> Iterator[None]:
    options: dict[str, Any] = {}
    if backend == "ray":
        register_ray()
        options = {"ray_remote_args": RAY}
    with joblib.parallel_config(backend=backend, **options):
        yield


def register_ray() -> None:
    """Make Ray known to joblib; UsageError where it is not installed."""
    if find_spec("ray") is None:
        raise UsageError("extract.backend is ray, which is not installed; run 'pip install ray', or use --backend loky")
    import_module("ray.util.joblib").register_ray()


def extract_one(choice: EncoderChoice, task: Task, lanes: int) -> Finished:
    """What a worker does: one shard. It loads its encoder once, and dies with the leader."""
    _die_with_parent()
    return next(extract_shards(_encoder(choice), [task], lanes, lambda _piece: None))


@lru_cache(maxsize=1)
def _encoder(choice: EncoderChoice) -> Encoder:
    return load_encoder(choice)


def _die_with_parent() -> None:
    """Where the system can: after a kill -9 of the leader its workers would finish what is queued for nobody."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
