"""What the tests of cache/ share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests kill processes, not the power: waiting for the disk would be most of their time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
