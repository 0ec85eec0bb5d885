"""A small checkout of the project, its DVC and its tiny encoder; `dvc repro` is killed with SIGKILL once its extract
stage has recorded a random number of parts, and another one starts at once, while the stage's child of the first lives
on. The next one has to end well, with no hand laid on DVC's own locks; to have said "waiting for pid ..." whenever both
children had the lock of a key open; to have left alone what was recorded when the kill came; and to leave every byte of
the store as an undisturbed run does.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from cache import shards
from proof.checkout import environment, make_checkout, run, set_params
from proof.row import Proof, part_of
from proof.toys import TINY, bytes_of, write_model

KILLS = 10
ITEMS = 150  # pictures of each of four classes, a part each
LEAST = 0.2  # of ITEMS, however small the share
SLOW = {**TINY, "vision_cfg": {"image_size": 224, "layers": 12, "width": 192, "head_width": 64, "patch_size": 16}}
"""So that a killed run's child has work for longer than the next run takes to start."""
DEATH = 120.0  # seconds in which the child of a killed run must have ended, when the next run has
POLL = 0.01  # seconds between two looks at what runs
SEED = 2
COMMAND = ("dvc", "repro", "extract")


@dataclass(frozen=True)
class Trial:
    """One kill: whether the stage's child lived on, was waited for, was to be waited for, and what was wrong."""

    outlived: bool
    waited: bool
    faults: list[str]


def prove(share: float) -> list[Proof]:
    with TemporaryDirectory() as base:
        folder = make_checkout(Path(base) / "checkout", part_of(ITEMS, max(share, LEAST)))
        model = write_model(Path(base) / "model", SLOW)
        set_params(folder, encoder=f"local-dir:{model}", extract__rows_per_shard=1)
        whole = undisturbed(folder)
        parts, draw = len(stamps(folder)), random.Random(SEED)
        trials = [trial(folder, draw.randrange(parts), whole) for _ in range(part_of(KILLS, share))]
    return [told(trials)]


def told(trials: list[Trial]) -> Proof:
    held = sum(not t.faults for t in trials)
    note = f"the stage's child outlived {sum(t.outlived for t in trials)} kills and was waited for "
    note += f"{sum(t.waited for t in trials)} times, DVC's locks needed no help"
    faults = [fault for t in trials for fault in t.faults][:1]
    what = "kill -9 of `dvc repro` in its extract stage: the next one waits for the child, the very same bytes"
    return Proof(what, len(trials), held, "; ".join([note, *faults]))


def undisturbed(folder: Path) -> dict[str, bytes]:
    """Run to the end; every file of the store."""
    with repro(folder, "whole") as (process, log):
        process.wait()
    if process.returncode:
        raise RuntimeError(log.read_text())
    return bytes_of(folder / "data/store")


def trial(folder: Path, parts: int, whole: dict[str, bytes]) -> Trial:
    """Kill one `dvc repro` after so many parts, start the next at once, and look at what it leaves."""
    forget(folder)
    with repro(folder, "killed") as (process, log):
        while len(stamps(folder)) < parts or not (children := offspring(process)):
            time.sleep(POLL)
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
        process.kill()
        process.wait()
    outlived = any(child.is_running() for child in children)
    standing = stamps(folder)
    with repro(folder, "next") as (process, log):
        met = meeting(process, children)
        process.wait()
    psutil.wait_procs(children, timeout=DEATH)
    said = log.read_text() + log.with_name("killed.log").read_text()
    waited = any(f"waiting for pid {pid}" in said for pid in met)
    return Trial(outlived, waited, list(wrong(folder, process.returncode, standing, whole, bool(met) and not waited)))


def wrong(
    folder: Path, code: int, standing: dict[str, tuple[int, int]], whole: dict[str, bytes], silent: bool
) -> Iterator[str]:
    """What was wrong with a trial, a line each."""
    if code:
        yield f"the next run ended with {code}"
    if silent:
        yield "the next run did not say that it waits"
    now = stamps(folder)
    yield from (f"{name} was written again" for name, stamp in standing.items() if now.get(name) != stamp)
    found = bytes_of(folder / "data/store")
    yield from (f"{name} differs" for name in sorted({*found, *whole}) if found.get(name) != whole.get(name))


def forget(folder: Path) -> None:
    """Remove what extract made, and DVC's memory of it: its cache brings outputs back without running the stage."""
    for name in ("data/store", "data/features", ".dvc/cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    assert run(folder, *COMMAND[:2], "ingest").returncode == 0


@contextmanager
def repro(folder: Path, name: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`dvc repro extract` in a folder, and the log of what it and its children say, which outlive it."""
    log = folder.parent / f"{name}.log"
    with log.open("wb") as file:
        heard = environment(PYTHONUNBUFFERED="1")
        process = subprocess.Popen(COMMAND, cwd=folder, env=heard, stdout=file, stderr=subprocess.STDOUT)
    with process:
        yield process, log


def meeting(process: subprocess.Popen[bytes], others: list[psutil.Process]) -> set[int]:
    """The processes, of the next run and the killed one's, that had a key's lock open at the same time: one waited."""
    met: set[int] = set()
    while process.poll() is None:
        for ours in offspring(process):
            held = locks(ours)
            met |= {pid for other in others if held & locks(other) for pid in (ours.pid, other.pid)}
        time.sleep(POLL)
    return met


def offspring(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def locks(process: psutil.Process) -> set[str]:
    """The locks of keys that a process has open, to hold them or to wait for them."""
    try:
        return {file.path for file in process.open_files() if file.path.endswith(".lock") and "/locks/" in file.path}
    except psutil.Error:
        return set()


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """The parts that the caches vouch for: which file it is, and when it was written."""
    keys = list((folder / "data/store/features").glob("*"))
    parts = [key / name for key in keys for name in shards.recorded(key) if name.startswith("part-")]
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in parts}
