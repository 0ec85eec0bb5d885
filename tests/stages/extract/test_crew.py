from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from joblib.externals.loky import reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from cache.errors import UsageError, UserError
from proof.toys import bytes_of
from stages.extract import crew
from stages.extract.crew import extract_by_crew, lanes_of, share_of
from stages.extract.run import run
from stages.extract.shard import Task
from tests.stages.extract.conftest import Recorder, Toys, caches_of, choice_of
from tests.stages.extract.mortal import MortalTask, die_once


def test_cores_are_shared_out_among_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    assert [lanes_of("cpu", workers) for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert lanes_of("cuda", 1) == 1


@pytest.fixture
def no_pool_left() -> Iterator[None]:
    yield
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(kill_workers=True)


def shares_told(told: Recorder, begin: str) -> int:
    """How many shares of read, encode and write the last line of a cache says; those of the two former are some."""
    line = [line for line in told.said if line.startswith(begin)][-1]
    shares = [int(word.strip(",)%")) for word in line.split() if "%" in word]
    assert abs(sum(shares) - 100) <= 2
    assert min(shares[:2]) > 0
    return len(shares)


@pytest.mark.usefixtures("no_pool_left")
def test_a_crew_makes_the_very_same_cache(toys: Toys, told: Recorder) -> None:
    alone, crewed = toys.into("alone"), toys.into("crewed", workers=2)
    run(alone)
    told.advanced.clear()
    told.said.clear()
    run(crewed)
    assert bytes_of(crewed.store) == bytes_of(alone.store)
    assert told.advanced == {"toys images": 10, "toys texts": 20, "toys names": 4}
    assert shares_told(told, "toys images: 10 rows") == shares_told(told, "toys texts: 20 rows") == 3


@pytest.mark.usefixtures("no_pool_left")
def test_the_shards_of_a_worker_that_was_killed_are_given_out_again(
    monkeypatch: pytest.MonkeyPatch, told: Recorder, tmp_path: Path
) -> None:
    monkeypatch.setattr(crew, "extract_one", die_once)
    tasks: Any = [MortalTask(i, tmp_path / "grave") for i in range(8)]
    recorded: list[int] = []
    extract_by_crew(None, tasks, 2, "cpu", "loky", lambda done: recorded.append(done.index))  # type: ignore[arg-type]
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
    monkeypatch.setattr(crew, "_by_loky", given)
    recorded: list[int] = []
    tasks: Any = [FakeTask(i) for i in range(5)]
    with pytest.raises(UserError) as caught:
        extract_by_crew(choice_of("x"), tasks, 2, "cpu", "loky", lambda done: recorded.append(done.index))
    assert given.tasks == [[0, 1, 2, 3, 4], [2, 3, 4]]
    assert recorded == [0, 1, 2]
    assert told.warned == ["a worker process died; 3 shards are given out again"]
    assert str(caught.value) == (
        "extract: a worker process died twice, 2 shards are left; use fewer --workers, or give it more memory"
    )


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "share"),
    [
        ([(1, 0), (1, 0)], 2, "cpu", 1),
        ([(32, 0)] * 10, 10, "cpu", 32),
        ([(4, 0), (2, 0)], 2, "cpu", 2),  # three each would leave the second without a place
        ([(4, 0), (2, 0)], 3, "cpu", 2),
        ([(8, 0), (1, 0)], 3, "cpu", 2),
        ([(64, 8), (64, 0)], 8, "cuda", 8),
        ([(64, 8), (16, 8)], 16, "cuda", 2),
    ],
)
def test_workers_share_the_cores_of_a_cluster_as_they_fit_its_nodes(
    nodes: list[tuple[int, int]], workers: int, device: str, share: int
) -> None:
    assert share_of(nodes, workers, device) == share


@pytest.mark.parametrize(
    ("workers", "device", "need"),
    [(5, "cpu", "5 workers needs a core"), (2, "cuda", "2 workers needs a core and a GPU")],
)
def test_workers_that_find_no_place_in_a_cluster_are_refused(workers: int, device: str, need: str) -> None:
    with pytest.raises(UsageError) as caught:
        share_of([(2, 1), (2, 0)], workers, device)
    assert str(caught.value) == f"the Ray cluster has 4 cores and 1 GPUs, and each of {need}; use fewer --workers"


def test_a_worker_that_does_not_see_the_store_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(crew, "_die_with_parent", lambda: None)
    task = Task(0, [], None, tmp_path / "features" / "key", 3, "joint", "float16")
    with pytest.raises(UserError, match=r"key: not to be seen from \S+; let all machines see the store and the pict"):
        crew.extract_one(choice_of("x"), task, 1)


def test_one_shard_alone_needs_no_crew(toys: Toys, told: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the leader take itself for a worker, which dies with whoever started it."""
    monkeypatch.setattr(crew, "_die_with_parent", lambda: pytest.fail("the leader would die with its parent"))
    run(toys.with_(rows_per_shard=100, workers=2))
    assert {rows: len(cache) for rows, cache in caches_of(toys.params).items()} == {"image": 10, "text": 20, "name": 4}
    assert told.advanced == {"toys images": 10, "toys texts": 20, "toys names": 4}
