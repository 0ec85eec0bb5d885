"""A child process extracts a small dataset with a tiny encoder, many small parts and real fsyncs; it is killed with
SIGKILL at a moment drawn uniformly over the length of an undisturbed run, and the next child goes on in the same store.
When a store gets whole, every byte below it is compared with that of an undisturbed run, and the next round begins in
an empty one. After each kill the recorded parts are compared too, and none of them may be given out again. Runs with
two workers are killed in turn while these start and while they work, and the next run begins at once. One that has not
ended after two minutes did not hold, nor did a kill that no store in four gave occasion for.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from cache import shards
from cache.features import PART_NAME
from proof.row import Proof, part_of
from proof.toys import TINY, Toys, bytes_of, make_toys, write_model
from stages.extract import fill as filling
from stages.extract.params import ExtractParams
from stages.extract.run import run
from stages.extract.shard import Finished, Task

ITEMS, KILLS, CREW_KILLS = 96, 50, 5
STAGES = {1: ("begin",), 2: ("extract", "record")}  # by workers: what a child notes before the moments are counted
STORES = 4  # stores for each kill, at most: a run may end before its kill comes
LIMIT = 120.0  # seconds in which an extraction must end
DEATH = 20.0  # seconds in which the workers of a dead leader must be gone
SEED = 1


@dataclass
class Round:
    """One store from empty to whole: where its extractions were killed, and what was wrong, a line a fault."""

    kills: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    standing: int = 0
    again: int = 0


def prove(share: float) -> list[Proof]:
    with TemporaryDirectory() as base:
        toys = make_toys(Path(base), write_model(Path(base) / "model", TINY), ITEMS)
        kills, crew_kills = part_of(KILLS, share), part_of(CREW_KILLS, share)
        alone, crewed = rounds(toys, 1, kills), rounds(toys, 2, crew_kills)
    again, standing = sum(r.again for r in alone + crewed), sum(r.standing for r in alone + crewed)
    return [
        told("kill -9 of `extract` at a random moment: resumed to the very same bytes", kills, alone),
        told("kill -9 of `extract --workers 2`: the same, and its workers die with it", crew_kills, crewed),
        Proof("parts recorded before one of these kills: none is computed again", standing, standing - again),
    ]


def told(what: str, tried: int, made: list[Round]) -> Proof:
    """The kills of some rounds; those of a round with a fault did not hold, nor those that it kept from being tried."""
    held = sum(len(r.kills) for r in made if not r.faults)
    places = Counter(place for r in made for place in r.kills)
    where = ", ".join(f"{count} while {place}" for place, count in sorted(places.items()))
    faults = [fault for r in made for fault in r.faults][:1]
    return Proof(what, tried, held, "; ".join([f"{len(made)} stores", where, *faults]))


def rounds(toys: Toys, workers: int, kills: int) -> list[Round]:
    """Rounds until that many kills have hit an extraction at work, or something was wrong, or the stores are spent."""
    draw = random.Random(SEED + workers)
    reference = toys.into(f"whole{workers}", workers=workers)
    spans = undisturbed(reference)
    moments = ((word, draw.uniform(0, spans[word])) for word in cycle(spans))
    made: list[Round] = []
    while (left := kills - sum(len(r.kills) for r in made)) and not any(r.faults for r in made):
        if len(made) == STORES * kills:
            break
        params = toys.into(f"round{workers}-{len(made)}", workers=workers)
        made.append(one_round(params, reference, list(islice(moments, left))))
    return [r for r in made if r.kills or r.faults]


def undisturbed(params: ExtractParams) -> dict[str, float]:
    """Extract without harm; the seconds to the end from each moment that kills are counted from."""
    process, log = start(params, 0)
    end(process, log, None)
    times = {what: when for when, what in reversed(lines(log))}
    if "done" not in times:
        raise RuntimeError("the undisturbed extraction failed")
    return {word: times["done"] - times[word] for word in STAGES[params.section.workers]}


def one_round(params: ExtractParams, reference: ExtractParams, moments: list[tuple[str, float]]) -> Round:
    """Kill at each of the moments until the store is whole, or the moments are spent; then compare."""
    here, orphans = Round(), list[psutil.Process]()
    for number in range(len(moments) + 1):
        before, begun = recorded(params.store), time.monotonic()
        process, log = start(params, number)
        orphans += end(process, log, moments[number] if number < len(moments) else None)
        said = [what for _, what in lines(log)]
        here.again += len(again := before & set(said))
        here.faults += [f"{name} was computed again" for name in sorted(again)]
        if time.monotonic() > begun + LIMIT:
            here.faults.append(f"an extraction had not ended after {LIMIT:g} s")
            break
        if process.exitcode != -signal.SIGKILL or "done" in said:
            break
        here.kills.append(place(said))
        standing = recorded(params.store)
        here.standing += sum("/part-" in name for name in standing)
        here.faults += unlike(params.store, reference.store, standing)
    here.faults += differences(params, reference) + survivors(orphans)
    return here


def start(params: ExtractParams, number: int) -> tuple[ForkServerProcess, Path]:
    """Start an extraction in a child that has its imports behind it; the child and its log."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["proof.kills"])
    log = params.store.with_name(f"{params.store.name}-{number}.log")
    process = context.Process(target=extraction, args=(params, log))
    process.start()
    return process, log


def end(process: ForkServerProcess, log: Path, moment: tuple[str, float] | None) -> list[psutil.Process]:
    """Kill a child some seconds after it noted a word, or where it has not ended in time; the processes it leaves."""
    word, seconds = moment or ("begin", LIMIT)
    late = time.monotonic() + LIMIT
    while process.is_alive() and word not in {what for _, what in lines(log)} and time.monotonic() < late:
        process.join(0.005)
    process.join(seconds)
    left = children(process)
    process.kill()
    process.join()
    return left


def children(process: ForkServerProcess) -> list[psutil.Process]:
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def survivors(orphans: list[psutil.Process]) -> list[str]:
    """What lives on long after its leader's death, a line each; it is ended."""
    _, alive = psutil.wait_procs(orphans, timeout=DEATH)
    for process in alive:
        process.kill()
    return [f"a child of a killed extraction still lived after {DEATH:g} s" for _ in alive]


def extraction(params: ExtractParams, log: Path) -> None:
    """What a child does: an extraction that notes in a log, by one write each, how far it is."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    extract = filling.extract

    def note(what: str) -> None:
        os.write(handle, f"{time.monotonic()} {what}\n".encode())

    def noted(job: filling.Job, tasks: list[Task]) -> list[Finished]:
        for task in tasks:
            note(f"{job.key}/{PART_NAME(task.index)}")
        note("extract")
        return extract(job, tasks)

    os.environ["PYTHONWARNINGS"] = "ignore"  # loky's own, of what a killed leader leaves
    note("begin")
    shards.step, filling.extract = note, noted
    try:
        run(params)
        note("done")
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)  # a child of multiprocessing runs no atexit, by which alone loky ends its workers


def lines(log: Path) -> list[tuple[float, str]]:
    """What a child noted so far: when, and what."""
    text = log.read_text() if log.exists() else ""
    pairs = [line.partition(" ") for line in text.splitlines()]
    return [(float(when), what) for when, _, what in pairs]


def place(said: list[str]) -> str:
    """Where a child was, from the last that it noted."""
    if said[-1] in ("write", "fsync", "replace", "folder"):
        return "recording"
    return "computing" if said[-1] in ("extract", "record") else "loading"


def recorded(store: Path) -> set[str]:
    """The files that a store's caches vouch for, as <key>/<name>."""
    return {f"{key.name}/{name}" for key in (store / "features").glob("*") for name in shards.recorded(key)}


def unlike(store: Path, reference: Path, names: set[str]) -> list[str]:
    """Those of the files that differ from a store that was not disturbed."""
    same = {name: (store / "features" / name, reference / "features" / name) for name in names}
    return [f"{name} differs" for name, (a, b) in same.items() if not a.is_file() or a.read_bytes() != b.read_bytes()]


def differences(params: ExtractParams, reference: ExtractParams) -> list[str]:
    """The files of a store, and its ledger, that are not those of an undisturbed one, strays among them."""
    ours, theirs = bytes_of(params.store), bytes_of(reference.store)
    wrong = [f"{name} differs" for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
    ledgers = [path.read_bytes() if path.is_file() else b"" for path in (params.ledger, reference.ledger)]
    return wrong + ["the ledger differs"] * (ledgers[0] != ledgers[1])
