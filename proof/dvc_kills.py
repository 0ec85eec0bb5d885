"""A small checkout of the project, its DVC and its tiny encoder; `dvc repro` is killed with SIGKILL once its extract
stage has recorded a number of parts (one in the first trial, a random number in the others), and another one starts at
once, while the stage's child of the first lives on. In the first trial that child stands still until the next one's has
come to the lock that it holds, so that there is always a run that has to wait; in the others they meet as they come.

The next one has to end well, with no hand laid on DVC's own locks; to have said "waiting for pid ..." whenever both
children had the lock of a key open; to have left alone what was recorded when the kill came; and to leave every byte of
the store as an undisturbed run does. A run that has not ended after ten minutes is ended, and did not end well.

What DVC writes itself is DVC's to keep whole, and no kill here aims at it. Its `.dvc/tmp/rwlock` names the processes
that read or write an output; the next command drops those that are dead. A kill amid DVC's write of that file can leave
it cut off ("Unable to read RWLock-file"): once no DVC is at work, remove it and run `dvc repro` again. The same holds
for a `dvc.lock` that is cut off: `git checkout dvc.lock`, or remove it; stages then run again, and find their caches
whole. The caches themselves need no hand: their locks are the system's, and end with their holder.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
LEAST = 0.1  # of ITEMS, however small the share
SLOW = {**TINY, "vision_cfg": {"image_size": 224, "layers": 12, "width": 192, "head_width": 64, "patch_size": 16}}
"""So that a killed run's child has work for longer than the next run takes to start."""
LIMIT = 600.0  # seconds in which a run must end
DEATH = 120.0  # seconds in which the child of a killed run must have ended, when the next run has
POLL = 0.01  # seconds between two looks at what runs
SEED = 2
COMMAND = ("dvc", "repro", "extract")
AFTER = "kill -9 of `dvc repro` in its extract stage: the next one ends well, with the very same bytes"
WAITED = "runs that met the living child of a killed one: each said for whom it waits"


@dataclass(frozen=True)
class Trial:
    """One kill: the parts that were recorded; whether the child lived on, met the next, was told of; what was wrong."""

    parts: int
    outlived: bool
    met: bool
    waited: bool
    faults: list[str]


def prove(share: float) -> list[Proof]:
    with TemporaryDirectory() as base:
        folder = make_checkout(Path(base) / "checkout", part_of(ITEMS, max(share, LEAST)))
        model = write_model(Path(base) / "model", SLOW)
        set_params(folder, encoder=f"local-dir:{model}", extract__rows_per_shard=1)
        whole = undisturbed(folder)
        parts, draw = len(stamps(folder)), random.Random(SEED)
        trials = [trial(folder, 1, True, whole)]
        trials += [trial(folder, draw.randrange(parts), False, whole) for _ in range(1, part_of(KILLS, share))]
    return told(trials)


def told(trials: list[Trial]) -> list[Proof]:
    """What became of the runs after the kills; and whether those that had to wait said so, of which there must be."""
    held, met = sum(not t.faults for t in trials), [t for t in trials if t.met]
    note = f"after {min(t.parts for t in trials)} to {max(t.parts for t in trials)} recorded parts, "
    note += f"{sum(t.outlived for t in trials)} times outlived by the stage's child; DVC's locks needed no help"
    faults = [fault for t in trials for fault in t.faults][:1]
    return [
        Proof(AFTER, len(trials), held, "; ".join([note, *faults])),
        Proof(WAITED, len(met), sum(t.waited for t in met), f"{len(trials) - len(met)} other kills left none to meet"),
    ]


def undisturbed(folder: Path) -> dict[str, bytes]:
    """Run to the end; every file of the store."""
    with repro(folder, "whole") as (process, log):
        process.wait(LIMIT)
    if process.returncode:
        raise RuntimeError(log.read_text())
    return bytes_of(folder / "data/store")


def trial(folder: Path, parts: int, halted: bool, whole: dict[str, bytes]) -> Trial:
    """Kill one `dvc repro` after so many parts, start the next at once, and look at what it leaves.

    Where `halted`, the killed run's child stands still until the next run has met it.
    """
    forget(folder)
    children = killed_after(folder, parts)
    with standing_still(children if halted else []) as go_on:
        outlived = any(child.is_running() for child in children)
        standing = stamps(folder)
        with repro(folder, "next") as (process, log):
            met = meeting(process, children, go_on)
    psutil.wait_procs(children, timeout=DEATH)
    said = log.read_text() + log.with_name("killed.log").read_text()
    waited = any(f"waiting for pid {pid}" in said for pid in met)
    return Trial(len(standing), outlived, bool(met), waited, list(wrong(folder, process.returncode, standing, whole)))


def killed_after(folder: Path, parts: int) -> list[psutil.Process]:
    """Kill a `dvc repro` once its stage has recorded so many parts; the processes that it leaves."""
    begun = time.monotonic()
    with repro(folder, "killed") as (process, log):
        while len(stamps(folder)) < parts or not (children := offspring(process)):
            time.sleep(POLL)
            if process.poll() is not None or time.monotonic() > begun + LIMIT:
                raise RuntimeError(log.read_text())
    return children


@contextmanager
def standing_still(processes: list[psutil.Process]) -> Iterator[Callable[[], None]]:
    """Halt processes until they are told to go on, at the latest at the end."""

    def signalled(number: int) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    signalled(signal.SIGSTOP)
    try:
        yield lambda: signalled(signal.SIGCONT)
    finally:
        signalled(signal.SIGCONT)


def wrong(folder: Path, code: int, standing: dict[str, tuple[int, int]], whole: dict[str, bytes]) -> Iterator[str]:
    """What was wrong with a trial, a line each."""
    if code:
        yield f"the next run ended with {code}"
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
    """`dvc repro extract` in a folder, killed in the end, and the log of what it and its children say, who live on."""
    log = folder.parent / f"{name}.log"
    with log.open("wb") as file:
        heard = environment(PYTHONUNBUFFERED="1")
        process = subprocess.Popen(COMMAND, cwd=folder, env=heard, stdout=file, stderr=subprocess.STDOUT)
    with process:
        try:
            yield process, log
        finally:
            process.kill()


def meeting(process: subprocess.Popen[bytes], others: list[psutil.Process], go_on: Callable[[], None]) -> set[int]:
    """Follow the next run to its end, or for as long as it may take, and call `go_on` at each meeting.

    The processes, its own and the killed run's, that had a key's lock open at the same time: one of them waited.
    """
    met: set[int] = set()
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() < begun + LIMIT:
        for ours in offspring(process):
            held = locks(ours)
            met |= {pid for other in others if held & locks(other) for pid in (ours.pid, other.pid)}
        if met:
            go_on()
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
