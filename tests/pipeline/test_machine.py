"""The machine and the software in words."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from pipeline import machine


def test_the_software_is_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.software()
    assert found["torch"] == version("torch")
    assert list(found)[:2] == ["this project", "python"]
    monkeypatch.setattr(machine, "PROJECT", "no-such-project")
    assert machine.software()["this project"] == "not installed"


def test_the_processor_is_named_with_its_cores_and_memory() -> None:
    assert re.fullmatch(r".+, \d+ cores to use, [\d.]+ (GB|TB) memory", machine.processor())
