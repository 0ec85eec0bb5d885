"""Which episode, items and heads are looked at closely."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cache.errors import DamagedError
from cache.store import read_ledger
from stages.report import first_draw
from tests.stages.report import build
from tests.stages.train import build as world


def test_the_first_draw_is_that_of_most_shots_then_first_half_then_first_seed():
    drawn = [
        replace(world.episode(shots, seed), half=half) for shots in (0, 5, 2) for half in (1, 0) for seed in (1, 0)
    ]
    found = first_draw.first_episode(drawn)
    assert (found.shots, found.half, found.seed) == (5, 0, 0)


def test_items_stand_class_by_class_in_manifest_order():
    shuffled = replace(world.episode(), target_classes=["eel", "ant", "cat"])
    found = first_draw.by_class(shuffled)
    assert found == [(f"{name}-{i}", name) for name in ("eel", "ant", "cat") for i in (4, 5, 6, 7)]


def test_few_of_each_keeps_the_first_of_every_class():
    assert first_draw.few_of_each(["a", "a", "a", "b", "c", "c"], 6) == [0, 1, 3, 4, 5]
    assert first_draw.few_of_each(["a", "a", "b"], 1) == [0]
    assert first_draw.few_of_each([], 5) == []


def test_the_heads_of_the_draw_alone_are_read_and_called_as_their_rows(tmp_path):
    made = build.write_inputs(tmp_path)
    ledger = read_ledger(made.heads)
    episode = world.episode(build.SHOTS[-1])
    assert list(first_draw.heads_of(made.store, episode, ledger)) == list(build.CURVES)
    assert first_draw.heads_of(made.store, world.episode(1), ledger) == {}
    named = replace(ledger.keys[0], about={**ledger.keys[0].about, "variant": "wide", "names": True})
    assert list(first_draw.heads_of(made.store, episode, replace(ledger, keys=(named,)))) == ["cca (wide, names)"]
    (made.store / "heads" / ledger.keys[0].key / "head.safetensors").unlink()
    with pytest.raises(DamagedError, match="verify"):
        first_draw.heads_of(made.store, episode, ledger)
