"""Classification from heads: which class a picture is taken for, figure by figure, and what the files say of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from cache.episodes import write_episodes
from cache.errors import UserError
from cache.files import read_json
from cache.scores import read_queries, read_scores
from cache.store import LedgerKey, write_ledger
from stages.episodes import classify_episodes
from stages.evaluate import run as stage
from stages.evaluate.classification import Judged, judge, plan_judging
from stages.heads.head import Vectors
from stages.items import Items
from tests.stages.evaluate import build
from tests.stages.evaluate.test_run import params as params
from tests.stages.evaluate.test_run import save_heads

ITEMS = replace(
    build.items(), names={"joint": dict(zip(build.CLASSES, np.eye(6, build.WIDTH, dtype=np.float32), strict=True))}
)
DRAWN = classify_episodes(ITEMS.ids, ITEMS.labels, [None] * 48, shots=[1, 2], seeds=2, validation=1)


@dataclass(frozen=True)
class Told:
    """A head that says of each item what it was told to, in classes turned round."""

    values: np.ndarray
    about: dict[str, Any] = field(
        default_factory=lambda: {"method": "told", "classes": {"target": build.CLASSES[::-1], "source": []}}
    )
    history: tuple[Any, ...] = ()

    def logits(self, items: Items, modality: str) -> np.ndarray:
        assert modality == "image"
        return self.values[[ITEMS.ids.index(name) for name in items.ids]]

    def vectors(self, items: Items, modality: str, gallery: str) -> Vectors:  # noqa: ARG002
        return Vectors(items.pooled[modality][:, None], "dot")

    def tensors(self) -> dict[str, np.ndarray]:
        return {"values": self.values}


def keys(method: str, seeded: bool = True) -> list[LedgerKey]:
    drawn = [{"protocol": e.protocol, "half": e.half, "shots": e.shots, "seed": e.seed} for e in DRAWN]
    row = {"method": method, "variant": "default", "access": "inductive", "names": False}
    return [
        LedgerKey("heads", f"{method}{d['shots']}{d['seed'] if seeded else 0}".ljust(32, "0"), "0" * 32, {**row, **d})
        for d in drawn
    ]


def judged(values: np.ndarray, place: int = 0) -> Judged:
    return judge(plan_judging(keys("told"), DRAWN)[place], Told(values), ITEMS)


def test_top_1_and_the_order_of_the_classes_are_those_of_a_loop():
    values = np.random.default_rng(3).standard_normal((48, 6)).astype(np.float32)
    values[::5] = 0.25  # all equal: the first class, by name, is what it is taken for
    found = judged(values)
    assert found.queries == [name for name in ITEMS.ids if name in set(DRAWN[0].ids["test"])]
    for i, name in enumerate(found.queries):
        told = dict(zip(build.CLASSES[::-1], values[ITEMS.ids.index(name)], strict=True))
        order = sorted(build.CLASSES, key=lambda c: (-told[c], c))
        own = name.split("-")[0]
        assert found.top[i].tolist() == order
        assert found.figures["top-1"][i] == float(order[0] == own)
        assert found.figures["ap"][i] == pytest.approx(1 / (1 + order.index(own)))


def test_an_item_of_several_classes_is_right_with_any_of_them():
    labels = {**DRAWN[0].labels, **dict.fromkeys(DRAWN[0].ids["test"], ("ant", "fox"))}
    task = replace(plan_judging(keys("told"), DRAWN)[0], episode=replace(DRAWN[0], labels=labels))
    best_fox = np.tile(np.arange(6, 0, -1, dtype=np.float32), (48, 1))  # fox stands first in Told
    assert judge(task, Told(best_fox), ITEMS).figures["top-1"].mean() == 1
    assert judge(task, Told(np.roll(best_fox, 1, axis=1)), ITEMS).figures["top-1"].mean() == 0


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="the scores of 'told' at 1 shot are not finite"):
        judged(np.full((48, 6), np.nan, np.float32))


def test_a_head_without_logits_goes_by_names_and_says_so():
    assert not judged(np.zeros((48, 6), np.float32)).task.contender["names"]
    task = plan_judging(keys("raw"), DRAWN)[0]
    assert judge(task, build.head("raw", 0), ITEMS).task.contender["names"]


def test_one_head_for_all_seeds_is_judged_once_a_shot_count():
    assert [(t.episode.shots, t.seed) for t in plan_judging(keys("raw", seeded=False), DRAWN)] == [(1, 0), (2, 0)]
    assert [(t.episode.shots, t.seed) for t in plan_judging(keys("told"), DRAWN)] == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_the_stage_writes_the_same_columns_and_files_that_agree(params, monkeypatch):
    monkeypatch.setattr(stage, "load_items", lambda *_: ITEMS)
    monkeypatch.setattr(build, "episodes", lambda: DRAWN)
    write_episodes(params.episodes, DRAWN, "made")
    write_ledger(params.heads, save_heads(params.store, ["raw", "spoilt"]))
    stage.run(params)
    scores = read_scores(params.scores).to_pylist()
    assert {(r["protocol"], r["direction"], r["gallery"], r["metric"]) for r in scores} == {
        ("classify", "i2c", "classes", "top-1")
    }
    assert {r["method"]: r["value"] for r in scores}["chance"] == pytest.approx(1 / 6)
    queries, metrics = read_queries(params.queries).to_pylist(), read_json(params.metrics)
    for row in (r for r in scores if r["method"] != "chance"):
        own = [q for q in queries if all(q[k] == row[k] for k in ("method", "shots", "seed"))]
        assert row["value"] == pytest.approx(np.mean([q["ap"] == 1 for q in own]))
    for label in ("raw (names)", "spoilt (names)"):
        mean = np.mean([r["value"] for r in scores if r["method"] == label.split()[0] and r["shots"] == 2])
        assert metrics["top-1"][label]["2"] == pytest.approx(mean, abs=1e-6)
    (entry,) = [e for e in metrics["differences"] if e["shots"] == 2]
    assert entry["difference"] == pytest.approx(
        metrics["top-1"]["spoilt (names)"]["2"] - metrics["top-1"]["raw (names)"]["2"], abs=1e-6
    )
