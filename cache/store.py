"""The store of costly artefacts, by content: keys, folders, ledgers that name keys, and the lock of a key."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from cache.errors import BusyError, DamagedError, MissingError, UserError
from cache.files import digest_of, read_json, write_json

KINDS_VERSION: dict[str, int] = {"features": 1, "mixtures": 2, "heads": 1, "selections": 1}
"""The kinds of the store; a version is raised by hand when the same inputs give other numbers."""

COMMANDS = {"features": "extract", "mixtures": "mixture", "heads": "train", "selections": "train"}
"""The command that makes a kind, for messages."""

LEDGER_FORMAT = 1
LOCKS = "locks"


def make_key(kind: str, content: Mapping[str, Any]) -> str:
    """The key of an artefact: 32 hex digits, the digest of its kind, the kind's version and all that decides it."""
    return digest_of({**content, "kind": kind, "version": KINDS_VERSION[kind]})


def folder_of(store: Path, kind: str, key: str) -> Path:
    """Where a key lies: store/<kind>/<key>."""
    return store / kind / key


def command_of(folder: Path) -> str:
    """The command that fills a store folder, by its kind."""
    return COMMANDS.get(folder.parent.name, "extract")


def shown(path: Path) -> str:
    """A path for messages: relative to the working folder where it lies inside it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


IN_PART = "in part: "


def in_part(made_from: str) -> str:
    """The stamp of what lacks a part of what it should hold: never that of the whole, so that it is made again."""
    return made_from if made_from.startswith(IN_PART) else IN_PART + made_from


@dataclass(frozen=True)
class LedgerKey:
    """A key that a ledger names: its kind, the digest of its folder (shards.folder_digest), and what it is."""

    kind: str
    key: str
    digest: str
    about: dict[str, Any]


@dataclass(frozen=True)
class Ledger:
    """The small file that a stage hands on in place of gigabytes: the keys it made, and what it was made from."""

    kind: str
    made_from: str
    about: dict[str, Any]
    keys: tuple[LedgerKey, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it names all that it should."""
        return not self.made_from.startswith(IN_PART)

    def of(self, kind: str) -> tuple[LedgerKey, ...]:
        """The keys of one kind, in their order."""
        return tuple(key for key in self.keys if key.kind == kind)

    def find(self, **about: Any) -> LedgerKey:
        """The first key that is all of `about`; MissingError says what was sought and which command makes it."""
        for key in self.keys:
            if all(key.about.get(name) == value for name, value in about.items()):
                return key
        sought = ", ".join(f"{name}={value}" for name, value in about.items())
        command = COMMANDS.get(self.kind, "extract")
        raise MissingError(f"{self.kind} ledger: none of its {len(self.keys)} keys has {sought}; run '{command}' again")


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Write a ledger whole, as JSON; UserError where the system refuses."""
    with _plainly(f"{shown(path)}: cannot be written", "the same command"):
        write_json(path, {"format": LEDGER_FORMAT, **asdict(ledger)})


def read_ledger(path: Path) -> Ledger:
    """Read a ledger; MissingError if it is absent, DamagedError if it is no ledger of this format."""
    fields = read_json(path)
    try:
        if fields.pop("format") != LEDGER_FORMAT:
            raise ValueError
        keys = tuple(LedgerKey(**key) for key in fields.pop("keys"))
        return Ledger(keys=keys, **fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{shown(path)}: not a ledger of format {LEDGER_FORMAT}; delete it and run the command that makes it"
        ) from error


@contextmanager
def lock(store: Path, kind: str, key: str, wait: bool, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold a key for writing, in one step (flock); the system frees it when the holder dies.

    Where another process holds it: BusyError naming that process at once, or with `wait`, one call of `on_wait`
    with "waiting for pid ... on ..." and then patience. Processes forked, not spawned, from the holder share it.
    UserError where the lock's file cannot be written, or the file system keeps no locks.
    """
    folder = folder_of(store, kind, key)
    with _opened(_lock_path(store, kind, key), folder) as file:
        if not _try(file, folder):
            if not wait:
                raise BusyError(_busy(folder, _holder(file)))
            on_wait(_waiting(_holder(file)))
            fcntl.flock(file, fcntl.LOCK_EX)
        _sign(file, folder)
        try:
            yield
        finally:
            file.truncate(0)


def is_locked(store: Path, kind: str, key: str) -> bool:
    """Whether a living process holds a key for writing at this moment."""
    path = _lock_path(store, kind, key)
    if not path.exists():
        return False
    folder = folder_of(store, kind, key)
    with _opened(path, folder) as file:
        return not _try(file, folder)


def _lock_path(store: Path, kind: str, key: str) -> Path:
    return store / LOCKS / f"{kind}-{key}.lock"


def _opened(path: Path, folder: Path) -> IO[str]:
    with _plainly(f"{shown(folder)}: its lock cannot be opened", f"'{command_of(folder)}'"):
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")


def _try(file: IO[str], folder: Path) -> bool:
    with _plainly(f"{shown(folder)}: the file system keeps no locks", f"'{command_of(folder)}'"):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _sign(file: IO[str], folder: Path) -> None:
    """Say who holds the lock, by a plain write: what a full disk refuses is not tried again when the file is closed."""
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%H:%M")}
    with _plainly(f"{shown(folder)}: its lock cannot be signed", f"'{command_of(folder)}'"):
        file.truncate(0)
        os.write(file.fileno(), json.dumps(holder).encode())


@contextmanager
def _plainly(what: str, again: str) -> Iterator[None]:
    """Turn what the system refuses into one line for a person."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{what} ({error.strerror}); mend that and run {again} again") from error


def _holder(file: IO[str]) -> dict[str, Any] | None:
    """Who signed the lock; None in the instant between taking and signing it."""
    file.seek(0)
    try:
        holder = json.loads(file.read())
    except ValueError:
        return None
    return holder if isinstance(holder, dict) else None


def _busy(folder: Path, holder: dict[str, Any] | None) -> str:
    who = "another process is writing here"
    if holder:
        who = f"pid {holder['pid']} on {holder['host']} is writing here since {holder['since']}"
    return f"{shown(folder)}: {who}; wait for it or stop it"


def _waiting(holder: dict[str, Any] | None) -> str:
    return f"waiting for pid {holder['pid']} on {holder['host']}" if holder else "waiting for another process"
