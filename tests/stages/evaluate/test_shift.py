"""Another test set for the heads as they are: who is tested, among which classes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cache.episodes import write_episodes
from cache.errors import UserError
from cache.files import read_json
from cache.manifest import Manifest, write_manifest
from cache.scores import read_scores
from cache.store import write_ledger
from stages.episodes import classify_episodes
from stages.evaluate import run as stage
from stages.evaluate.shift import on_target
from tests.stages.evaluate import build
from tests.stages.evaluate.test_classification import ITEMS
from tests.stages.evaluate.test_run import params as params
from tests.stages.evaluate.test_run import save_heads

(EPISODE,) = classify_episodes(ITEMS.ids, ITEMS.labels, [None] * 48, shots=[2], seeds=1, validation=1)
COPIES = dict(zip(ITEMS.ids, ITEMS.labels, strict=True))


def shifted(labels: dict[str, Any], splits: dict[str, str | None] | None = None):
    return on_target(EPISODE, labels, splits or dict.fromkeys(labels), "other")


def test_of_copies_those_of_tested_items_alone_are_tested() -> None:
    found = shifted(COPIES)
    assert found.ids["test"] == EPISODE.ids["test"]
    assert not any(ids for role, ids in found.ids.items() if role != "test")
    assert (found.protocol, found.shots, found.seed) == ("classify", 2, 0)
    assert found.target_classes == build.CLASSES


def test_of_another_set_all_of_it_or_its_test_split_is_tested_among_its_own_classes() -> None:
    other = {"x": ["dog"], "y": ["ant"], "z": ["dog"]}
    found = shifted(other)
    assert (found.ids["test"], found.target_classes) == (["x", "y", "z"], ["ant", "dog"])
    assert found.labels["y"] == ("ant",)
    assert shifted(other, {"x": "train", "y": "test", "z": None}).ids["test"] == ["y"]


def test_a_class_that_no_head_knows_and_a_set_without_an_item_are_refused() -> None:
    with pytest.raises(UserError, match=r"^other: class 'gnu' \(and 1 more class\) is none that the heads judge; name"):
        shifted({"x": ["gnu"], "y": ["yak"], "z": ["ant"]})
    learnt = {name: COPIES[name] for name in EPISODE.ids["support"]}
    with pytest.raises(UserError, match=r"^other: no item is left to test; its test split is empty, or all of it was"):
        shifted(learnt)


def test_the_stage_scores_the_same_heads_on_the_other_items(params, monkeypatch, tmp_path) -> None:
    other = replace(ITEMS, ids=[f"new-{name}" for name in ITEMS.ids])
    monkeypatch.setattr(stage, "load_items", lambda *_: other)
    monkeypatch.setattr(build, "episodes", lambda: [EPISODE])
    write_episodes(params.episodes, [EPISODE], "made")
    write_ledger(params.heads, save_heads(params.store, ["raw"]))
    own, count = [[*labels] for labels in other.labels], len(other.ids)
    texts, splits = [["t"]] * count, [("train", "test")[i % 2] for i in range(count)]
    table = Manifest("other", ".", other.ids, other.ids, texts, own, splits, [1] * count, ["0" * 32] * count)
    write_manifest(tmp_path / "pairs.parquet", table, "test")
    stage.run(replace(params, manifest=tmp_path / "pairs.parquet", dataset="toy-to-other", shifted=True))
    rows = read_scores(params.scores).to_pylist()
    assert {row["dataset"] for row in rows} == {"toy-to-other"}
    assert read_json(params.metrics)["counts"]["queries"] == count // 2
    assert read_json(params.metrics)["prototypes"] == []
