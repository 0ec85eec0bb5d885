"""The gap between pictures and names, and prototypes on either side of it: loops in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.episodes import classify_episodes
from stages.evaluate.classification import judge, summarise
from stages.evaluate.plan import Task
from stages.evaluate.prototypes import GAP, KINDS, STATES, prototype_figures
from stages.heads.classifier import ClassHead
from stages.heads.linear import Residual
from tests.stages.evaluate import build

NAMES = np.random.default_rng(5).standard_normal((6, build.WIDTH)).astype(np.float32)
ITEMS = replace(build.items(), names={"joint": dict(zip(build.CLASSES, NAMES, strict=True))})
(EPISODE,) = classify_episodes(ITEMS.ids, ITEMS.labels, [None] * 48, shots=[3], seeds=1, validation=1)


def head(mapped: bool) -> ClassHead:
    rng = np.random.default_rng(2)
    weight = (0.4 * rng.standard_normal((build.WIDTH, build.WIDTH))).astype(np.float32)
    nothing = np.zeros(build.WIDTH, np.float32)
    classes = {"target": build.CLASSES, "source": []}
    about = {"method": "toy", "encoder": "toy", "aligned": True, "scale": 1.0, "share": 1.0, "classes": classes}
    return ClassHead(about, {}, NAMES, np.zeros(6, np.float32), Residual(weight, nothing) if mapped else None)


def norm(values: np.ndarray) -> np.ndarray:
    return values / np.sqrt(sum(x * x for x in values))


def places(role: str, state: str) -> list[np.ndarray]:
    """The pictures of a role as vectors, one by one."""
    rows = [ITEMS.ids.index(name) for name in EPISODE.ids[role]]
    plain = [norm(ITEMS.pooled["image"][row].astype(np.float64)) for row in rows]
    if state == "mapped":
        mapped = head(True).mapped
        assert mapped is not None
        return [norm(f + f @ mapped.weight.astype(np.float64)) for f in plain]
    if state == "plain":
        return plain
    support = [norm(ITEMS.pooled["image"][ITEMS.ids.index(name)].astype(np.float64)) for name in EPISODE.ids["support"]]
    way = sum(own_names("support")) / len(support) - sum(support) / len(support)
    return [norm(f + way) for f in plain]


def own_names(role: str) -> list[np.ndarray]:
    return [norm(NAMES[build.CLASSES.index(name.split("-")[0])].astype(np.float64)) for name in EPISODE.ids[role]]


@pytest.mark.parametrize("state", STATES)
def test_the_gap_and_each_kind_of_prototype_are_those_of_a_loop(state):
    found = prototype_figures(head(True), ITEMS, EPISODE)[state]
    asked, given = places("test", state), places("support", state)
    apart = sum(asked) / len(asked) - sum(own_names("test")) / len(asked)
    assert found[GAP] == pytest.approx(np.sqrt(apart @ apart), abs=1e-5)
    of_class = [
        [v for v, one in zip(given, EPISODE.ids["support"], strict=True) if one[:3] == c] for c in build.CLASSES
    ]
    middle = [norm(sum(own)) for own in of_class]
    named = [norm(own.astype(np.float64)) for own in NAMES]
    kinds = {"names": named, "pictures": middle, "both": [norm(a + b) for a, b in zip(named, middle, strict=True)]}
    assert set(kinds) == set(KINDS)
    for kind, prototypes in kinds.items():
        hits = [
            name[:3] == build.CLASSES[max(range(6), key=lambda c, v=v: v @ prototypes[c])]
            for name, v in zip(EPISODE.ids["test"], asked, strict=True)
        ]
        assert found[kind] == pytest.approx(sum(hits) / len(hits))


def test_a_shift_closes_the_gap_of_the_supports():
    told = prototype_figures(head(True), ITEMS, EPISODE)
    assert told["shifted"][GAP] < told["plain"][GAP] / 2


def test_metrics_have_the_gap_by_state_and_an_entry_a_kind():
    contender = {"method": "toy", "variant": "default", "access": "inductive", "names": True}
    tasks = [Task(str(seed), contender, EPISODE, "target", seed) for seed in (0, 1)]
    found = summarise([judge(task, head(True), ITEMS) for task in tasks], 100)
    told = prototype_figures(head(True), ITEMS, EPISODE)
    assert {state: found["modality_gap"][state]["toy (names)"]["3"] for state in STATES} == pytest.approx(
        {state: own[GAP] for state, own in told.items()}, abs=1e-6
    )
    entries = {(e["state"], e["prototypes"]): e["value"] for e in found["prototypes"]}
    assert entries == pytest.approx({(s, k): v for s, own in told.items() for k, v in own.items()}, abs=1e-6)
    assert summarise([judge(tasks[0], head(False), ITEMS)], 100)["prototypes"] == []
