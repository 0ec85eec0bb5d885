"""What can go wrong while a shard gets its name and its record, tried at every step of it.

A small extraction is traced once, then run again with a fault at one step: a child that ends there by os._exit, an
errno raised by the hook `shards.step`, an errno from the very call of the system (open, mkdir, fsync, replace), a
folder that may no longer be written from there on, and a disk in memory that is full after so many pages or files.
It holds where what had been recorded stands, no file bears a final name and other bytes than it should, an
unfinished cache is refused with one line, the user sees one line and exit code 1, and the next run goes on, leaves
what was recorded untouched, and ends with the bytes of a run that nothing disturbed.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cache import shards
from cache.errors import UserError
from cache.features import FeatureCache
from cache.verify import keys_in, verify_store
from pipeline.console import guarded
from proof.conditions import (
    child_of,
    may_mount,
    mount_small_disk,
    obeying_modes,
    one_encoder,
    private_mounts,
    remount,
    without_waiting_for_the_disk,
)
from proof.row import Proof, part_of
from proof.toys import TINY, bytes_of, make_toys, write_model
from stages.extract.params import ExtractParams
from stages.extract.run import run

ITEMS = 5  # pictures; with two captions each and five rows a part: one part of pictures, two of texts, one of names
ERRORS = ("ENOSPC", "EIO", "EACCES")
DEATH = 9  # the exit code of a child that died as asked
PAGE = 4096
AFTER_THE_LAST = 3  # steps of a run that come when all of it has been written

Act = Callable[[int], None]
"""What happens at the n-th step, or call."""
Meter = Callable[[Act], AbstractContextManager[None]]
"""Counts steps, or calls, and has an act happen at each."""


@dataclass(frozen=True)
class Clean:
    """A run that nothing disturbed: its bytes by path, its ledger, and what was recorded at each step and call."""

    params: ExtractParams
    files: dict[str, bytes]
    ledger: bytes
    recorded: dict[str, list[frozenset[str]]] = field(default_factory=dict)


# --- meters ---------------------------------------------------------------------------------------------------------


@contextmanager
def steps(act: Act) -> Iterator[None]:
    """Every step of every commit."""
    numbers = iter(range(1 << 30))
    with patch.object(shards, "step", lambda _name: act(next(numbers))):
        yield


@contextmanager
def calls(act: Act) -> Iterator[None]:
    """Every call of the system that makes, fills, syncs or renames a file or a folder, just before it is made."""
    numbers = iter(range(1 << 30))

    def metered(real: Callable[..., Any], counts: Callable[..., bool]) -> Callable[..., Any]:
        def called(*args: Any, **keys: Any) -> Any:
            if counts(*args):
                act(next(numbers))
            return real(*args, **keys)

        return called

    with ExitStack() as patches:
        for module, name, counts in COUNTED:
            patches.enter_context(patch.object(module, name, metered(getattr(module, name), counts)))
        yield


def _to_write(_file: Any, mode: str = "r", *_: Any) -> bool:
    return bool(set(mode) & set("wax+"))


COUNTED: list[tuple[Any, str, Callable[..., bool]]] = [
    (os, "fsync", lambda *_: True),
    (os, "replace", lambda *_: True),
    (os, "mkdir", lambda path, *_: not Path(path).exists()),
    (os, "open", lambda path, *_: Path(path).is_dir()),
    (io, "open", _to_write),
]
METERS: dict[str, Meter] = {"steps": steps, "calls": calls}


# --- acts -----------------------------------------------------------------------------------------------------------


def dies(at: int, n: int) -> None:
    """The process ends, and nothing is tidied."""
    if n == at:
        os._exit(DEATH)


def fails(number: int, at: int, n: int) -> None:
    """The system refuses."""
    if n == at:
        raise OSError(number, os.strerror(number))


def closes(store: Path, at: int, n: int) -> None:
    """No folder of the store may be written any more."""
    if n == at:
        _set_modes(store, 0o555)


def _set_modes(store: Path, mode: int) -> None:
    for folder in (path for path in [store, *store.rglob("*")] if path.is_dir()):
        folder.chmod(mode)


# --- what must hold -------------------------------------------------------------------------------------------------


def recorded(store: Path) -> frozenset[str]:
    """Everything that the records of a store vouch for, as key/name."""
    return frozenset(f"{folder.name}/{name}" for folder in keys_in(store) for name in shards.recorded(folder))


def wrong_at_once(store: Path, clean: Clean, stood: frozenset[str]) -> list[str]:
    """What a fault lost or left half visible; [] where all is well. `stood` had been recorded before it."""
    wrong = [f"damaged: {finding.problem}" for finding in verify_store(store, hashes=True)]
    wrong += [f"lost: {name}" for name in sorted(stood - recorded(store))]
    for folder in keys_in(store):
        wrong += _half_visible(folder, clean)
        wrong += [] if shards.is_whole(folder) else _not_refused(folder)
    return wrong


def _half_visible(folder: Path, clean: Clean) -> list[str]:
    """Files with a final name that are not what they will be."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(shards.TEMPORARY)}
    expected = {name: clean.files.get(f"features/{folder.name}/{name}") for name in names - {shards.RECORD}}
    return [f"half visible: {name}" for name, data in expected.items() if (folder / name).read_bytes() != data]


def _not_refused(folder: Path) -> list[str]:
    """An unfinished cache is told with one line."""
    try:
        FeatureCache.open(folder)
    except UserError as error:
        return [f"not one line: {error}"] if "\n" in str(error) else []
    return [f"opened though unfinished: {folder.name}"]


def wrong_in_the_end(params: ExtractParams, clean: Clean) -> list[str]:
    """Run once more, with no fault; what is not as it would have been, or was done twice."""
    before = _made(params.store)
    run(params)
    wrong = [] if bytes_of(params.store) == clean.files else ["other bytes in the end"]
    wrong += [] if params.ledger.read_bytes() == clean.ledger else ["another ledger in the end"]
    return wrong + [f"done again: {name}" for name, was in before.items() if _made(params.store).get(name) != was]


def _made(store: Path) -> dict[str, tuple[int, int]]:
    """When, and as which inode, each recorded file was made."""
    paths = [folder / name for folder in keys_in(store) for name in shards.recorded(folder)]
    stats = {f"{path.parent.name}/{path.name}": path.stat() for path in paths if path.exists()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def wrong_as_told(params: ExtractParams) -> list[str]:
    """Run as the command line does; what is wrong with what a user sees of a fault: one line and exit code 1."""
    with redirect_stderr(io.StringIO()) as seen:
        code = guarded(lambda: run(params), debug=False)
    line = seen.getvalue()
    plain = line.count("\n") == 1 and line.endswith("\n") and "Traceback" not in line and "unexpected" not in line
    plain = plain and str(params.home) in line and "; " in line
    return [] if code == 1 and plain else [f"exit code {code}, told: {line!r}"]


# --- trials ---------------------------------------------------------------------------------------------------------


def undisturbed(base: Path) -> Clean:
    """A small dataset, extracted once in peace and once on record."""
    toys = make_toys(base, write_model(base / "model", TINY), ITEMS)
    params = toys.into("clean", rows_per_shard=ITEMS)
    run(params)
    clean = Clean(params, bytes_of(params.store), params.ledger.read_bytes())
    for name, meter in METERS.items():
        with _copy(clean) as traced, meter(_traced(traced.store, clean.recorded.setdefault(name, []))):
            run(traced)
    return clean


def _traced(store: Path, trace: list[frozenset[str]]) -> Act:
    return lambda _n: trace.append(recorded(store))


@contextmanager
def _copy(clean: Clean) -> Iterator[ExtractParams]:
    """The same extraction into an empty store, which goes afterwards."""
    base = Path(tempfile.mkdtemp(dir=clean.params.home))
    try:
        yield replace(clean.params, store=base / "store", ledger=base / "ledger.json")
    finally:
        shutil.rmtree(base)


def killed(clean: Clean, at: int) -> list[str]:
    """A child dies at a step."""
    with _copy(clean) as params:
        child = child_of(_dying, params, at)
        child.join()
        wrong = [] if child.exitcode == DEATH else [f"the child ended with {child.exitcode}"]
        wrong += wrong_at_once(params.store, clean, clean.recorded["steps"][at])
        return wrong + wrong_in_the_end(params, clean)


def _dying(params: ExtractParams, at: int) -> None:
    with without_waiting_for_the_disk(), steps(partial(dies, at)):
        run(params)


def refused(clean: Clean, meter: str, name: str, at: int) -> list[str]:
    """The system refuses, at a step or in a call."""
    with _copy(clean) as params:
        with METERS[meter](partial(fails, getattr(errno, name), at)):
            wrong = wrong_as_told(params)
        wrong += wrong_at_once(params.store, clean, clean.recorded[meter][at])
        return wrong + wrong_in_the_end(params, clean)


def closed(clean: Clean, at: int) -> list[str]:
    """The folders of the store are closed at a step, and open again for the next run."""
    with _copy(clean) as params, obeying_modes():
        try:
            with steps(partial(closes, params.store, at)):
                wrong = wrong_as_told(params)
            wrong += wrong_at_once(params.store, clean, clean.recorded["steps"][at])
        finally:
            _set_modes(params.store, 0o755)
        return wrong + wrong_in_the_end(params, clean)


def filled(clean: Clean, limits: str) -> list[str]:
    """The disk has room for so many pages, or files."""
    with _copy(clean) as params:
        ours, theirs = get_context("forkserver").Pipe()
        child = child_of(_on_a_small_disk, params, clean, limits, theirs)
        theirs.close()
        child.join()
        return list(ours.recv()) if ours.poll() else [f"the child ended with {child.exitcode}"]


def _on_a_small_disk(params: ExtractParams, clean: Clean, limits: str, answer: Connection) -> None:
    private_mounts()
    params.store.mkdir()
    mount_small_disk(params.store, limits)
    with one_encoder(params):
        wrong = wrong_as_told(params)
        wrong += wrong_at_once(params.store, clean, frozenset())
        remount(params.store, "size=64m,nr_inodes=1000")
        answer.send(wrong + wrong_in_the_end(params, clean))


def limits_of(clean: Clean) -> Iterable[str]:
    """Every size of a disk, in pages, that is too small by a little or by much; and every count of files."""
    pages = sum(-(-len(data) // PAGE) for data in clean.files.values())
    yield from (f"size={PAGE * n}" for n in range(1, pages))
    yield from (f"nr_inodes={n}" for n in range(2, len(clean.files)))


# --- rows -----------------------------------------------------------------------------------------------------------

Trial = partial[list[str]]
"""Tries one fault; what did not hold, [] where all did."""


def prove(share: float) -> list[Proof]:
    """A share of all faults, spread evenly over them; a row a kind of fault."""
    with tempfile.TemporaryDirectory() as folder, without_waiting_for_the_disk():
        clean = undisturbed(Path(folder).resolve())
        with one_encoder(clean.params):
            return [_row(what, _spread(trials, share)) for what, trials in _kinds(clean)]


def _kinds(clean: Clean) -> Iterator[tuple[str, list[Trial]]]:
    """What is tried, and each trial of it."""
    n_steps, n_calls = (len(clean.recorded[name]) for name in ("steps", "calls"))
    yield "a child that dies at a step of the commit", [partial(killed, clean, at) for at in range(n_steps)]
    for name in ERRORS:
        at_steps = [partial(refused, clean, "steps", name, at) for at in range(n_steps)]
        yield f"{name} raised at a step of the commit", at_steps
        in_calls = [partial(refused, clean, "calls", name, at) for at in range(n_calls)]
        yield f"{name} from open, mkdir, fsync or replace", in_calls
    yield (
        "folders closed at a step of the commit",
        [partial(closed, clean, at) for at in range(n_steps - AFTER_THE_LAST)],
    )
    if reason := may_mount():
        print(f"a disk that is really full is not tried: {reason}")
    else:
        yield "a disk that is really full", [partial(filled, clean, limits) for limits in limits_of(clean)]


def _spread(trials: list[Trial], share: float) -> list[Trial]:
    """A share of the trials, evenly spread over all."""
    count = part_of(len(trials), share)
    return [trials[i * len(trials) // count] for i in range(count)]


def outcome(trial: Trial) -> list[str]:
    """What did not hold of a trial; an extraction that cannot go on is among it."""
    try:
        return trial()
    except UserError as error:
        return [f"stopped: {error}"]


def _row(what: str, trials: list[Trial]) -> Proof:
    found = [outcome(trial) for trial in trials]
    wrong = [text for texts in found for text in texts]
    return Proof(what, len(trials), sum(not texts for texts in found), wrong[0] if wrong else "")
