"""Which heads are ranked on which galleries, and how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from cache.errors import MissingError
from stages.evaluate.plan import plan_tasks
from tests.stages.evaluate import build

GALLERIES = ["target", "rest", "all"]


def plan(methods, drawn=None, galleries=GALLERIES):
    drawn = build.episodes() if drawn is None else drawn
    return plan_tasks(list(build.ledger_keys(methods, drawn)), drawn, galleries)


def seeds(tasks):
    return {
        (task.contender["method"], task.gallery, task.episode.shots): [
            other.seed
            for other in tasks
            if (other.contender, other.gallery, other.episode.shots)
            == (task.contender, task.gallery, task.episode.shots)
        ]
        for task in tasks
    }


def test_a_seeded_method_is_ranked_for_every_seed():
    found = seeds(plan(["spoilt"]))
    assert all(found["spoilt", gallery, 1] == [0, 1, 2] for gallery in GALLERIES)


def test_a_deterministic_method_stands_once_per_shot_count():
    found = seeds(plan(["raw"]))
    assert all(found["raw", gallery, shots] == [0] for gallery in ("target", "all") for shots in build.SHOTS)


def test_the_rest_gallery_depends_on_the_seed_once_there_are_supports():
    found = seeds(plan(["raw"]))
    assert found["raw", "rest", 0] == [0]
    assert found["raw", "rest", 1] == [0, 1, 2]


def test_class_splits_are_never_folded_together():
    drawn = build.episodes(0) + build.episodes(1, build.SOURCE)
    halves = Counter(task.episode.half for task in plan(["raw"], drawn, ["target"]))
    assert halves == {0: len(build.SHOTS), 1: len(build.SHOTS)}


def test_queries_are_the_target_test_items_whatever_the_gallery():
    for task in plan(["raw"]):
        assert task.queries == task.episode.ids["test"]


def test_galleries_hold_the_roles_of_the_protocol():
    tasks = {task.gallery: task for task in plan(["spoilt"]) if task.episode.shots == 1}
    ids = tasks["rest"].episode.ids
    assert tasks["target"].candidates == ids["test"]
    assert tasks["rest"].candidates == ids["target-rest"]
    assert set(tasks["all"].candidates) == set(ids["test"]) | set(ids["source-test"])


def test_an_empty_gallery_makes_no_task():
    drawn = [build.episode(build.TRAIN, 0)]
    assert {task.gallery for task in plan(["raw"], drawn)} == {"target", "all"}


def test_the_galleries_of_a_head_stand_together():
    keys = [task.key for task in plan(["raw", "spoilt"])]
    assert len(set(keys)) == sum(1 for i, key in enumerate(keys) if i == 0 or keys[i - 1] != key)


def test_a_head_of_no_episode_is_named():
    drawn = build.episodes()
    keys = list(build.ledger_keys(["raw"], drawn))
    stray = replace(keys[0], about={**keys[0].about, "shots": 7})
    with pytest.raises(MissingError) as caught:
        plan_tasks([stray], drawn, ["target"])
    expected = "heads ledger: no episode has protocol parity, half 0, shots 7, seed 0; run 'split' and 'train' again"
    assert str(caught.value) == expected
