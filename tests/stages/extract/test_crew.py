from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import joblib
import pytest
from joblib.externals.loky import reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from cache.errors import UserError
from stages.extract import crew
from stages.extract.crew import extract_by_crew, lanes_of
from stages.extract.run import run
from tests.stages.extract.conftest import Recorder, Toys, choice_of
from tests.stages.extract.mortal import MortalTask, die_once
from tests.stages.extract.test_run import bytes_of


def test_cores_are_shared_out_among_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    assert [lanes_of("cpu", workers) for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert lanes_of("cuda", 1) == 1


@pytest.fixture
def no_pool_left() -> Iterator[None]:
    yield
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(kill_workers=True)


@pytest.mark.usefixtures("no_pool_left")
def test_a_crew_makes_the_very_same_cache(toys: Toys, told: Recorder) -> None:
    alone, crewed = toys.into("alone"), toys.into("crewed", workers=2)
    run(alone)
    told.advanced.clear()
    run(crewed)
    assert bytes_of(crewed.store) == bytes_of(alone.store)
    assert told.advanced == {"toys images": 10, "toys texts": 20, "toys names": 4}


@pytest.mark.usefixtures("no_pool_left")
def test_the_shards_of_a_worker_that_was_killed_are_given_out_again(
    monkeypatch: pytest.MonkeyPatch, told: Recorder, tmp_path: Path
) -> None:
    monkeypatch.setattr(crew, "extract_one", die_once)
    tasks: Any = [MortalTask(i, tmp_path / "grave") for i in range(8)]
    recorded: list[int] = []
    extract_by_crew(None, tasks, 2, 1, "loky", lambda done: recorded.append(done.index))  # type: ignore[arg-type]
    assert (tmp_path / "grave").exists()
    assert sorted(recorded) == list(range(8))
    assert len(told.warned) == 1


class Given:
    """Stands for the workers: how many shards each attempt yields before one of them dies."""

    def __init__(self, *attempts: int) -> None:
        self.attempts = list(attempts)
        self.tasks: list[list[int]] = []

    def __call__(self, _choice: Any, tasks: list[Any], *_: Any) -> Any:
        self.tasks.append([task.index for task in tasks])
        yield from tasks[: self.attempts.pop(0)]
        raise TerminatedWorkerError("gone")


class FakeTask:
    def __init__(self, index: int) -> None:
        self.index = index


def test_what_was_recorded_is_not_given_out_again_and_two_deaths_are_enough(
    monkeypatch: pytest.MonkeyPatch, told: Recorder
) -> None:
    given = Given(2, 1)
    monkeypatch.setattr(crew, "_results", given)
    recorded: list[int] = []
    tasks: Any = [FakeTask(i) for i in range(5)]
    with pytest.raises(UserError) as caught:
        extract_by_crew(choice_of("x"), tasks, 2, 1, "loky", lambda done: recorded.append(done.index))
    assert given.tasks == [[0, 1, 2, 3, 4], [2, 3, 4]]
    assert recorded == [0, 1, 2]
    assert told.warned == ["a worker process died; 3 shards are given out again"]
    assert str(caught.value) == (
        "extract: a worker process died twice, 2 shards are left; use fewer --workers, or give it more memory"
    )


def test_ray_gets_its_own_backend_rounds_of_shards_and_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for Ray, whose joblib backend returns lists only."""
    module = ModuleType("ray.util.joblib")
    registered: list[bool] = []
    module.register_ray = lambda: registered.append(True)  # type: ignore[attr-defined]
    configured: list[dict[str, Any]] = []
    calls: list[list[int]] = []

    @contextmanager
    def config(**options: Any) -> Any:
        configured.append(options)
        yield

    def parallel(n_jobs: int, return_as: str, batch_size: int) -> Any:
        assert (n_jobs, return_as, batch_size) == (2, "list", 1)

        def call(jobs: Any) -> Any:
            done = [args[1] for _, args, _ in jobs]
            calls.append([task.index for task in done])
            return done

        return call

    monkeypatch.setitem(sys.modules, "ray.util.joblib", module)
    monkeypatch.setattr(crew, "find_spec", lambda name: name)
    monkeypatch.setattr(crew.joblib, "parallel_config", config)
    monkeypatch.setattr(crew.joblib, "Parallel", parallel)
    recorded: list[int] = []
    tasks: Any = [FakeTask(i) for i in range(6)]
    extract_by_crew(choice_of("x"), tasks, 2, 1, "ray", lambda done: recorded.append(done.index))
    assert registered == [True]
    assert configured == [{"backend": "ray", "ray_remote_args": {"max_restarts": -1, "max_task_retries": -1}}]
    assert calls == [[0, 1, 2, 3], [4, 5]]
    assert recorded == list(range(6))
