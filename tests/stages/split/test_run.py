"""The stage: from a manifest and two caches to a file of episodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.episodes import read_episodes
from cache.errors import ParamsError
from cache.files import read_about
from stages.split.params import SplitParams, SplitSection
from stages.split.run import run
from tests.listener import Listener
from tests.stages.small_features import place

IDS = [f"{name}{i}" for i in range(6) for name in "abcd"]


def params(folder: Path, shots: list[int], **changes: Any) -> SplitParams:
    given: dict[str, Any] = {"labels": [[name[0]] for name in IDS], "lost": [], **changes}
    text = [[np.zeros((2, 3), np.float16)]] * len(IDS)
    here = place(folder, IDS, np.zeros((len(IDS), 2, 3), np.float16), text, **given)
    return SplitParams(
        section=SplitSection(protocol="parity", halves=1, shots=shots, seeds=2, validation=4),
        store=here.store,
        manifest=here.manifest,
        features=here.features,
        episodes=folder / "episodes.parquet",
        made_from="made",
    )


def test_episodes_are_drawn_among_what_both_towers_could_read(tmp_path: Path) -> None:
    run(asked := params(tmp_path, [0, 1], lost=["a0", "d3"]))
    episodes = read_episodes(asked.episodes)
    assert [(e.shots, e.seed) for e in episodes] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for episode in episodes:
        assert set(episode.labels) == set(IDS) - {"a0", "d3"}
        assert (episode.source_classes, episode.target_classes) == (["b", "d"], ["a", "c"])
    assert read_about(asked.episodes)["made_from"] == "made"


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    asked = [params(tmp_path / name, [0, 1]) for name in ("one", "two")]
    for each in asked:
        run(each)
    assert asked[0].episodes.read_bytes() == asked[1].episodes.read_bytes()


def test_too_many_shots_leave_nothing_behind(tmp_path: Path) -> None:
    asked = params(tmp_path, [0, 4])
    with pytest.raises(ParamsError, match="'a' has 3 in its train half"):
        run(asked)
    assert not asked.episodes.exists()


@pytest.mark.parametrize(("labels", "what"), [([], "no item has a label"), (["cat"], "every item is of class 'cat'")])
def test_fewer_than_two_classes_are_refused_with_the_key_to_set(tmp_path: Path, labels: list[str], what: str) -> None:
    asked = params(tmp_path, [0], labels=[labels for _ in IDS])
    with pytest.raises(ParamsError) as error:
        run(asked)
    assert str(error.value) == (
        f"small: {what}, and split needs two classes or more; set ingest.table.label to the column that holds them "
        "(of imported features ingest.features.label), or give each class a folder of its own"
    )
    assert not asked.episodes.exists()


def test_people_are_told_the_sizes_and_how_many_items_are_on_both_sides(tmp_path: Path, listener: Listener) -> None:
    labels = [[name[0]] for name in IDS]
    labels[0] = ["a", "b"]
    run(params(tmp_path, [0, 1], labels=labels))
    assert listener.said == [
        "small: 4 episodes; 2 source classes (6 train, 6 test), 2 target classes (6 train, 6 test)",
        "small: items with a source and a target label: 1; none is trained on, all stay in the galleries",
    ]


def test_classic_is_drawn_and_told_of(tmp_path: Path, listener: Listener) -> None:
    splits = ["train" if i % 3 else "test" for i in range(len(IDS))]
    asked = params(tmp_path, [0, 1], splits=splits, lost=["a0"])
    section = asked.section.model_copy(update={"protocol": "classic"})
    run(replace(asked, section=section))
    [episode] = read_episodes(asked.episodes)
    assert (episode.shots, episode.source_classes, episode.target_classes) == (0, [], ["a", "b", "c", "d"])
    assert listener.said == [
        "small: classic, one episode; all 4 classes (16 train, 7 test); split.halves, split.shots and split.seeds have "
        "no say in it"
    ]
