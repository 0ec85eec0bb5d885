"""The crew on a real Ray cluster of two nodes, both of them on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cache.errors import UsageError, UserError
from proof.toys import bytes_of
from stages import crew as any_crew
from stages.crew import join_ray, nodes_of_ray
from stages.extract import crew
from stages.extract.crew import extract_by_crew
from stages.extract.params import ExtractParams
from stages.extract.run import run
from tests.listener import Listener
from tests.stages.extract.conftest import Toys, caches_of
from tests.stages.extract.mortal import MortalTask, die_always, die_once, refuse
from tests.stages.extract.test_crew import shares_told

ray = pytest.importorskip("ray", reason="ray is not installed; 'pip install .[ray]'")


def children(pid: int) -> list[int]:
    """The processes that a process started, whichever of its threads it was."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for some in lists for child in some.read_text().split()]


def below(pid: int) -> list[int]:
    """All that descend from a process, but for joblib's own tracker, which ends with us."""
    found = [found for child in children(pid) for found in (child, *below(child))]
    return [pid for pid in found if "resource_tracker" not in spoken(pid)]


def spoken(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each; afterwards none of their processes is left."""
    from ray.cluster_utils import Cluster

    before = set(below(os.getpid()))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_ADDRESS", made.address)
    yield made
    patch.undo()
    ray.shutdown()
    started = [pid for pid in below(os.getpid()) if pid not in before]
    made.shutdown()
    end = time.monotonic() + 10
    while (left := [pid for pid in started if Path(f"/proc/{pid}").exists()]) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [spoken(pid) for pid in left if spoken(pid)]


@pytest.fixture
def many(toys: Toys) -> ExtractParams:
    """Eight shards of pictures that take a while each."""
    Image.effect_noise((900, 900), 80).save(toys.root / "large.png")
    toys.remake(["large.png"] * 160)
    return toys.with_(rows_per_shard=20)


class Killer(threading.Thread):
    """Kills one worker of the cluster while it works on a shard, once `armed`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.armed, self.over = threading.Event(), threading.Event()
        self.killed: list[int] = []

    def run(self) -> None:
        self.armed.wait()
        while not self.killed and not self.over.is_set():
            for pid in below(os.getpid()):
                if spoken(pid).startswith("ray::PoolActor.run_batch"):
                    time.sleep(0.03)
                    os.kill(pid, signal.SIGKILL)
                    self.killed.append(pid)
                    break


@pytest.mark.usefixtures("cluster")
def test_a_worker_killed_at_work_changes_no_bit(toys: Toys, many: ExtractParams, listener: Listener) -> None:
    run(many)
    killer = Killer()
    killer.start()
    listener.on_advance = lambda _: killer.armed.set()  # the first round is over: every worker has its encoder
    by_ray = replace(
        many,
        section=many.section.model_copy(update={"workers": 2, "backend": "ray"}),
        store=toys.base / "ray",
        ledger=toys.base / "ray.json",
    )
    for cache in caches_of(many).values():
        if cache.rows_kind != "image":  # their workers would start anew, which is what takes so long
            shutil.copytree(cache.path, by_ray.store / cache.path.relative_to(many.store))
    listener.advanced.clear()
    listener.said.clear()
    run(by_ray)
    killer.over.set()
    assert len(killer.killed) == 1
    assert bytes_of(by_ray.store) == bytes_of(many.store)
    assert listener.advanced == {"toys images": 160}
    assert shares_told(listener, "toys images: 160 rows") == 3
    assert [node["Alive"] for node in ray.nodes()] == [True, True]


@pytest.mark.usefixtures("cluster")
def test_a_shard_that_kills_all_its_workers_ends_the_run_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(crew, "extract_one", die_always)
    monkeypatch.setattr(any_crew, "RAY", {"max_restarts": -1, "max_task_retries": 1})
    tasks: Any = [MortalTask(i, tmp_path / "grave") for i in range(2)]
    with pytest.raises(UserError) as caught:
        extract_by_crew(None, "", tasks, 2, "cpu", "ray", lambda _: None)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "extract: a worker process died 2 times over one shard, 2 shards are left; "
        "use fewer --workers, or give it more memory"
    )
    assert len((tmp_path / "grave").read_text().split()) >= 2


@pytest.mark.usefixtures("cluster")
def test_what_ray_tells_stays_off_stdout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dead are told of, and not that living workers are let go."""
    monkeypatch.setattr(crew, "extract_one", die_once)
    tasks: Any = [MortalTask(i, tmp_path / "grave") for i in range(4)]
    extract_by_crew(None, "", tasks, 2, "cpu", "ray", lambda _: None)  # type: ignore[arg-type]
    time.sleep(2)  # Ray prints from a thread of its own, some time later
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "PoolActor.run_batch failed" in printed.err
    assert "__ray_terminate__" not in printed.err


@pytest.mark.usefixtures("cluster")
def test_what_a_worker_refuses_arrives_as_the_same_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(crew, "extract_one", refuse)
    tasks: Any = [MortalTask(i, tmp_path / "grave") for i in range(2)]
    with pytest.raises(UserError, match=r"^\S+grave: not to be seen from here$"):
        extract_by_crew(None, "", tasks, 2, "cpu", "ray", lambda _: None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("cluster")
def test_the_running_cluster_is_joined_and_too_many_workers_are_refused(toys: Toys) -> None:
    join_ray(2)
    assert nodes_of_ray() == [(1, 0), (1, 0)]
    with pytest.raises(UsageError, match="the Ray cluster has 2 cores and 0 GPUs, and each of 3 workers needs a core"):
        run(toys.with_(workers=3, backend="ray"))
