from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky import reusable_executor

from cache.errors import UserError
from proof.toys import bytes_of
from stages.extract import crew
from stages.extract.crew import extract_by_crew
from stages.extract.encoders.encoder import load_encoder
from stages.extract.run import choose, run
from stages.extract.shard import Task
from tests.listener import Listener
from tests.stages.extract.conftest import Toys, caches_of, choice_of
from tests.stages.extract.mortal import MortalTask, die_once


@pytest.fixture
def no_pool_left() -> Iterator[None]:
    yield
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(kill_workers=True)


def shares_told(listener: Listener, begin: str) -> int:
    """How many shares of read, encode and write the last line of a cache says; those of the two former are some."""
    line = [line for line in listener.said if line.startswith(begin)][-1]
    shares = [int(word.strip(",)%")) for word in line.split() if "%" in word]
    assert abs(sum(shares) - 100) <= 2
    assert min(shares[:2]) > 0
    return len(shares)


@pytest.mark.usefixtures("no_pool_left")
def test_a_crew_makes_the_very_same_cache(toys: Toys, listener: Listener) -> None:
    alone, crewed = toys.into("alone"), toys.into("crewed", workers=2)
    run(alone)
    listener.advanced.clear()
    listener.said.clear()
    run(crewed)
    assert bytes_of(crewed.store) == bytes_of(alone.store)
    assert listener.advanced == {"toys images": 10, "toys texts": 20, "toys names": 4}
    assert shares_told(listener, "toys images: 10 rows") == shares_told(listener, "toys texts: 20 rows") == 3


@pytest.mark.usefixtures("no_pool_left")
def test_the_shards_of_a_worker_that_was_killed_are_given_out_again(
    monkeypatch: pytest.MonkeyPatch, listener: Listener, tmp_path: Path
) -> None:
    monkeypatch.setattr(crew, "extract_one", die_once)
    tasks: Any = [MortalTask(i, tmp_path / "grave") for i in range(8)]
    recorded: list[int] = []
    extract_by_crew(None, "", tasks, 2, "cpu", "loky", lambda done: recorded.append(done.index))  # type: ignore[arg-type]
    assert (tmp_path / "grave").exists()
    assert sorted(recorded) == list(range(8))
    assert len(listener.warned) == 1


def test_a_worker_that_does_not_see_the_store_is_one_line(tmp_path: Path) -> None:
    task = Task(0, [], None, tmp_path / "features" / "key", 3, "joint", "float16")
    with pytest.raises(UserError, match=r"key: not to be seen from \S+; let all machines see the store and the data"):
        crew.extract_one(choice_of("x"), "", task, 1)


def test_a_worker_goes_by_the_weights_and_not_by_their_path(toys: Toys, tmp_path: Path) -> None:
    """It outlives a run, and the weights at a path may be others in the next one."""
    choice = choose(toys.params)
    crew._encoder.cache_clear()
    right = crew._encoder(choice, load_encoder(choice).digest)
    assert crew._encoder(choice, right.digest) is right
    with pytest.raises(UserError, match=r"^extract: the weights of '.*' were replaced meanwhile; run it again$"):
        crew.extract_one(choice, "other", Task(0, [], None, tmp_path, 3, "joint", "float16"), 1)
    assert crew._encoder(choice, right.digest) is not right  # one encoder at a time


def test_one_shard_alone_needs_no_crew(toys: Toys, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the leader take itself for a worker, which dies with whoever started it."""
    monkeypatch.setattr("stages.crew._die_with_parent", lambda: pytest.fail("the leader would die with its parent"))
    run(toys.with_(rows_per_shard=100, workers=2))
    assert {rows: len(cache) for rows, cache in caches_of(toys.params).items()} == {"image": 10, "text": 20, "name": 4}
    assert listener.advanced == {"toys images": 10, "toys texts": 20, "toys names": 4}
