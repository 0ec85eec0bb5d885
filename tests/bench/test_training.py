"""What the rows of one episode's training say, at small sizes."""

from __future__ import annotations

import pytest

from bench import training
from bench.pairs import SHOTS, episode_of, make_pairs
from stages.train.methods import METHODS


def test_a_method_that_is_there_has_a_row_and_one_that_is_not_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = training.section_of
    monkeypatch.setattr(training, "PAIRS", 96)
    monkeypatch.setattr(training, "CLASSES", 6)
    monkeypatch.setattr(training, "SECONDS", {"gcrdp": 5.0, "scm": 0.5, "not yet": 10.0})
    monkeypatch.setattr(training, "section_of", lambda name: section(name).model_copy(update={"steps": 2}))
    trained, closed = training.rows()
    assert (trained.name, closed.name) == ("gcrdp, an episode", "scm, an episode")
    assert trained.ratio == 5.0 / trained.ours
    assert trained.note.endswith("fitted on 39")
    assert closed.note.endswith("fitted on 39, 24 ranked for 24 in both directions")
    assert capsys.readouterr().err == "bench training: no row of not yet, which is no method yet\n"


def test_no_value_is_left_to_choose() -> None:
    for name in training.SECONDS:
        if name in METHODS:
            assert not [value for value in vars(training.section_of(name)).values() if isinstance(value, list)]


def test_an_episode_uses_every_pair_once() -> None:
    items = make_pairs(120, 6, 2)
    episode = episode_of(items)
    assert sorted(name for own in episode.ids.values() for name in own) == sorted(items.ids)
    assert {len(own) for own in episode.ids.values()} == {30, 3 * SHOTS, 3 * (10 - SHOTS)}
    assert {episode.labels[name][0] for name in episode.ids["test"]} == set(episode.target_classes)
