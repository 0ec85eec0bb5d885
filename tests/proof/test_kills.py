"""A tenth of what `make proof` kills; and an extraction that never ends has a verdict too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cache import store
from cache.store import read_ledger
from proof import kills
from proof.toys import TINY, make_toys, write_model
from stages.extract.run import run


def test_a_killed_extraction_is_resumed_to_the_very_same_bytes() -> None:
    for proof in kills.prove(0.1):
        print(f"{proof.what}: {proof.held} of {proof.tried} ({proof.note})")
        assert proof.held == proof.tried > 0, proof


def test_an_extraction_that_never_ends_did_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a lock that is never given back."""
    toys = make_toys(tmp_path, write_model(tmp_path / "model", TINY), 4)
    whole, stuck = toys.into("whole"), replace(toys.into("stuck"), wait_for_lock=True)
    run(whole)
    monkeypatch.setattr(kills, "LIMIT", 2.0)
    with store.lock(stuck.store, "features", read_ledger(whole.ledger).keys[0].key, False, print):
        made = kills.one_round(stuck, whole, [])
    assert made.faults[0] == "an extraction had not ended after 2 s"
    assert kills.told("kills", 5, [made]).held == 0


def test_kills_that_always_come_too_late_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys = make_toys(tmp_path, tmp_path / "nowhere", 1)
    monkeypatch.setattr(kills, "undisturbed", lambda _params: {"begin": 1.0})
    monkeypatch.setattr(kills, "one_round", lambda *_: kills.Round())
    assert kills.told("kills", 2, kills.rounds(toys, 1, 2)).held == 0
