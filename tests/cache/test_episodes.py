"""Episodes: drawn once, read back exactly, their key blind to every test label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.episodes import ROLES, Episode, read_episodes, write_episodes
from cache.errors import DamagedError, MissingError
from cache.files import read_about, write_table
from tests.cache.build import some
from tests.strategies import NAMES


@st.composite
def episode_lists(draw: st.DrawFn) -> list[Episode]:
    """Episodes of two halves, with any roles empty, some items multi-label."""
    made = []
    for half in range(draw(st.integers(1, 2))):
        source, target = [f"s{half}"], [f"t{half}", "u"]
        for shots, seed in [(0, 0), (1, 0), (1, 1)]:
            ids = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
            roles = draw(st.lists(st.sampled_from(ROLES), min_size=len(ids), max_size=len(ids)))
            by_role = {role: [i for i, r in zip(ids, roles, strict=True) if r == role] for role in ROLES}
            classes = st.lists(st.sampled_from(source + target), min_size=1, max_size=2, unique=True)
            labels = {i: tuple(draw(classes)) for i in ids}
            made.append(Episode("random", half, shots, seed, by_role, labels, source, target))
    return made


@settings(max_examples=40, deadline=None)
@given(episode_lists())
def test_episodes_come_back_as_written(tmp_path_factory: pytest.TempPathFactory, episodes: list[Episode]) -> None:
    path = tmp_path_factory.mktemp("e") / "e.parquet"
    write_episodes(path, episodes, "made")
    assert read_episodes(path) == episodes
    assert [e.key for e in read_episodes(path)] == [e.key for e in episodes]
    assert read_about(path)["made_from"] == "made"


@pytest.fixture
def episode() -> Episode:
    ids = {"source-train": ["a", "b"], "source-test": ["c"], "support": ["d"], "target-rest": ["e"], "test": ["f"]}
    labels = {name: (name.upper(),) for name in "abcdef"}
    return Episode("parity", 0, 1, 3, ids, labels, ["A", "B", "C"], ["D", "E", "F"])


@pytest.mark.parametrize("poisoned", "cef")
def test_no_label_outside_source_train_and_support_enters_the_key(episode: Episode, poisoned: str) -> None:
    assert replace(episode, labels={**episode.labels, poisoned: ("poison",)}).key == episode.key


@pytest.mark.parametrize("fitted", "abd")
def test_every_label_that_is_fitted_on_enters_the_key(episode: Episode, fitted: str) -> None:
    assert replace(episode, labels={**episode.labels, fitted: ("other",)}).key != episode.key


def test_the_key_is_that_of_the_fitted_rows_alone(episode: Episode) -> None:
    same = replace(episode, protocol="random", half=4, shots=9, seed=8, source_classes=[], target_classes=[])
    assert same.key == replace(same, ids={**same.ids, "test": [], "source-test": ["f"]}).key == episode.key
    assert episode.key == "6f66caf340f792ae2b397839d2f0cb9e"
    moved = {**episode.ids, "source-train": ["a", "b", "d"], "support": []}
    assert replace(episode, ids=moved).key != episode.key


def test_an_unknown_role_is_refused(episode: Episode, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no role dev"):
        write_episodes(tmp_path / "e", [replace(episode, ids={"dev": ["a"]})], "made")


def test_what_is_no_table_of_episodes_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        read_episodes(tmp_path / "e.parquet")
    import pyarrow as pa

    write_table(tmp_path / "e.parquet", pa.table({"x": some((2,), float)}), {})
    with pytest.raises(DamagedError, match=r"e\.parquet: not episodes of format 1; delete it and run 'split'"):
        read_episodes(tmp_path / "e.parquet")
