"""The check of the shipped values: its draws keep to source classes, and its page is what the figures make it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ablations.selection import GRIDS, PAGE, RESULTS, point, render, verdict
from cache.episodes import Episode
from cache.files import read_json
from pipeline.commands.options import gather
from stages.train.params import TrainSection
from stages.train.selection import source_draws

SOURCE, TARGET = [f"s{i}" for i in range(6)], [f"t{i}" for i in range(6)]


def episode() -> Episode:
    """Twelve classes of eight items, four of them in each half."""
    ids = {
        role: [f"{name}-{split}{i}" for name in classes for i in range(4)]
        for role, classes, split in (
            ("source-train", SOURCE, "a"),
            ("source-test", SOURCE, "b"),
            ("target-rest", TARGET, "a"),
            ("test", TARGET, "b"),
        )
    }
    labels = {name: (name.partition("-")[0],) for own in ids.values() for name in own}
    return Episode("parity", 0, 0, 0, {**ids, "support": []}, labels, SOURCE, TARGET)


def train_section() -> TrainSection:
    return gather().params.train


def test_no_item_of_a_target_class_is_in_any_draw() -> None:
    given = episode()
    for draw in (*source_draws(given, 6, 0), *source_draws(given, 6, 2)):
        assert set(draw.labels) <= {*given.ids["source-train"], *given.ids["source-test"]}
        assert {*draw.source_classes, *draw.target_classes} == set(SOURCE)


def test_supports_come_from_the_train_halves_and_queries_from_the_test_halves() -> None:
    given = episode()
    draws = [*source_draws(given, 6, 0), *source_draws(given, 6, 2)]
    assert len({tuple(draw.target_classes) for draw in draws}) > 1
    for draw in draws:
        assert {*draw.ids["support"], *draw.ids["source-train"]} <= set(given.ids["source-train"])
        assert set(draw.ids["test"]) <= set(given.ids["source-test"])
        assert len(draw.ids["support"]) == draw.shots * len(draw.target_classes)


@pytest.mark.parametrize(("overlay", "key"), [(overlay, key) for overlay, grid in GRIDS.items() for key in grid])
def test_the_shipped_value_is_among_those_tried(overlay: str, key: str) -> None:
    shipped = train_section()
    tried = (point(shipped, key, values) for values in GRIDS[overlay][key])
    assert [at for at in tried if at.section == getattr(shipped, at.method)]


def entries() -> list[dict[str, Any]]:
    """What was found on every key of every dataset."""
    return [entry for block in read_json(RESULTS)["blocks"] for entry in block["keys"]]


def test_the_committed_figures_are_of_the_shipped_values() -> None:
    for entry in entries():
        at = point(train_section(), entry["key"], entry["shipped"])
        assert at.section == getattr(train_section(), at.method)


def test_the_winner_has_the_highest_mean() -> None:
    for entry in entries():
        best = max(entry["rows"], key=lambda row: float(np.mean(row["mAP"])))
        assert best["values"] == entry["winner"]


def test_the_page_is_what_the_figures_make_it() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(read_json(RESULTS))


def test_a_value_that_is_not_the_best_is_named_with_its_distance() -> None:
    entry = {"key": "gap.lr", "shipped": {"lr": 1e-4}, "winner": {"lr": 3e-4}, "behind": 0.012}
    told = "`gap.lr`: the shipped lr 0.0001 is **not** the best; lr 0.0003 is ahead by 1.20 points"
    assert verdict({**entry, "interval": [0.004, 0.02]}) == f"{told} [0.40, 2.00], beyond the spread of the draws."
    assert verdict({**entry, "interval": [-0.004, 0.02]}) == (
        f"{told} [-0.40, 2.00], which these draws cannot tell from 0."
    )
