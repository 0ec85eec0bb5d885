"""Ctrl-C at a terminal: SIGINT reaches the command and all its workers at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proof import checkout
from proof.checkout import ROOT, environment, make_folder

STARTED = 60.0  # seconds in which the first part must be there


def at_work(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """An extraction in a process group of its own that has finished its first part and has many before it."""
    command = (sys.executable, "-m", "pipeline", "extract", "-S", "extract.rows_per_shard=2", *arguments)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + STARTED
    while not any(folder.glob("data/store/features/*/part-*")) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_with_130_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(checkout, "ITEMS", 50)
    folder = make_folder(tmp_path / "stopped")
    process = at_work(folder, "--workers", str(workers), "--json")
    os.killpg(process.pid, signal.SIGINT)
    said, told = process.communicate(timeout=60)
    assert process.returncode == 130
    remarks = [line for line in told.splitlines() if not line.startswith("table")]
    assert remarks == ["stopped; what was finished is kept, and the same command goes on from there"]
    assert said == ""
    assert any(folder.glob("data/store/features/*/part-*"))
