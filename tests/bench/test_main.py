"""The comparisons' verdict, on made-up rows."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest

import bench.__main__ as command
from bench.row import Row


def row(name: str, ratio: float) -> Row:
    return Row(name=name, ours=1.0, theirs=1.0, ratio=ratio, promised=2.0, against="a loop")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "MODULES", ("one", "two"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("ratios", "code", "said"),
    [((2.0, 3.0), 0, ""), ((3.0, 1.96), 1, "two: ratio 1.96, promised 2\n")],
)
def test_a_broken_promise_is_named_after_both_files_are_written(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ratios: tuple[float, float],
    code: int,
    said: str,
) -> None:
    made = dict(zip(("bench.one", "bench.two"), ratios, strict=True))
    modules = {name: types.SimpleNamespace(rows=lambda n=name: [row(n[6:], made[n])]) for name in made}
    monkeypatch.setattr("bench.__main__.importlib.import_module", modules.__getitem__)
    assert command.main() == code
    assert capsys.readouterr().err == said
    assert [r["name"] for r in json.loads((root / "results" / "bench.json").read_text())["rows"]] == ["one", "two"]
    assert "| two |" in (root / "docs" / "benchmarks.md").read_text()
