from __future__ import annotations

from typing import Any

import joblib
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from cache.errors import UsageError, UserError
from stages import crew
from stages.crew import Crew, lanes_of, share_of, work_by_crew
from tests.listener import Listener


def test_cores_are_shared_out_among_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    assert [lanes_of("cpu", workers) for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert lanes_of("cuda", 1) == 1


class Given:
    """Stands for the workers: how many shards each attempt yields before one of them dies."""

    def __init__(self, *attempts: int) -> None:
        self.attempts = list(attempts)
        self.tasks: list[list[int]] = []

    def __call__(self, _crew: Any, _work: Any, tasks: list[Any]) -> Any:
        self.tasks.append([task.index for task in tasks])
        yield from tasks[: self.attempts.pop(0)]
        raise TerminatedWorkerError("gone")


class FakeTask:
    def __init__(self, index: int) -> None:
        self.index = index


def test_what_was_recorded_is_not_given_out_again_and_two_deaths_are_enough(
    monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    given = Given(2, 1)
    monkeypatch.setattr(crew, "_by_loky", given)
    recorded: list[int] = []
    tasks: Any = [FakeTask(i) for i in range(5)]
    with pytest.raises(UserError) as caught:
        work_by_crew(Crew(2, "loky", "cpu", "extract", "shard"), int, tasks, lambda done: recorded.append(done.index))
    assert given.tasks == [[0, 1, 2, 3, 4], [2, 3, 4]]
    assert recorded == [0, 1, 2]
    assert listener.warned == ["a worker process died; 3 shards are given out again"]
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
