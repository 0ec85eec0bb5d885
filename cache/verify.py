"""Looking after the store: what is damaged, what a ledger names in vain, what no ledger names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cache import shards
from cache.errors import BusyError, UserError
from cache.store import KINDS_VERSION, LedgerKey, command_of, folder_of, is_locked, lock, read_ledger, shown


@dataclass(frozen=True)
class Finding:
    """Something wrong: where, what, and the command that mends it."""

    path: Path
    problem: str
    mend: str


def keys_in(store: Path) -> Iterator[Path]:
    """The folders of all keys in the store, kind by kind, sorted."""
    for kind in KINDS_VERSION:
        if (store / kind).is_dir():
            yield from sorted(path for path in (store / kind).iterdir() if path.is_dir())


def verify_store(store: Path, hashes: bool) -> list[Finding]:
    """The damage in every key of the store; `hashes` reads every byte, else stat only. Unfinished work is no damage."""
    return [
        Finding(folder, problem, f"run 'verify --repair', then '{command_of(folder)}'")
        for folder in keys_in(store)
        for problem in shards.check(folder, hashes)
    ]


def verify_ledgers(store: Path, ledgers: Iterable[Path]) -> list[Finding]:
    """What ledgers name and the store does not hold as they say: a key that is absent, unfinished or other content."""
    return [finding for path in ledgers for finding in _verify_ledger(store, path)]


def _verify_ledger(store: Path, path: Path) -> list[Finding]:
    try:
        ledger = read_ledger(path)
    except UserError as error:
        said, _, mend = str(error).partition(": ")[2].partition("; ")
        return [Finding(path, said, mend)]
    problems = (_key_problem(store, key) for key in ledger.keys)
    return [Finding(path, problem, "run 'verify --mend'") for problem in problems if problem]


def _key_problem(store: Path, key: LedgerKey) -> str | None:
    folder = folder_of(store, key.kind, key.key)
    name = f"{key.kind}/{key.key}"
    if not folder.is_dir():
        return f"names {name}, which is not in the store"
    if not shards.is_whole(folder):
        return f"names {name}, which is not whole"
    if (found := shards.folder_digest(folder)) != key.digest:
        return f"names {name} with digest {key.digest}, the store's is {found}"
    return None


def all_ledgers(base: Path) -> list[Path]:
    """Every ledger under a folder such as data/ or runs/: base/<kind>/**/*.json, sorted; the store is not searched."""
    return sorted(path for kind in KINDS_VERSION for path in (base / kind).rglob("*.json"))


def repair_store(store: Path) -> list[str]:
    """Drop every damaged file of the store, under its key's lock; a line each. BusyError where one is being written."""
    return [line for folder in keys_in(store) if shards.check(folder, hashes=True) for line in _repair(store, folder)]


def _repair(store: Path, folder: Path) -> list[str]:
    with lock(store, folder.parent.name, folder.name, wait=False, on_wait=lambda _: None):
        names = shards.repair(folder)
    again = f"'{command_of(folder)}' makes it again"
    return [f"{shown(folder / name)}: dropped; {again}" for name in names]


def unused_keys(store: Path, ledgers: Iterable[Path]) -> list[Path]:
    """The keys that no ledger names and nobody is writing; a damaged ledger stops it: what it names is not known."""
    named = {(key.kind, key.key) for path in ledgers for key in read_ledger(path).keys}
    folders = ((folder.parent.name, folder.name, folder) for folder in keys_in(store))
    return [f for kind, key, f in folders if (kind, key) not in named and not is_locked(store, kind, key)]


def remove_key(folder: Path) -> bool:
    """Remove a folder of the store (store/<kind>/<key>) under its lock; False, and nothing is touched, where another
    process holds that, or where the folder is gone already."""
    store, kind, key = folder.parent.parent, folder.parent.name, folder.name
    try:
        with lock(store, kind, key, wait=False, on_wait=lambda _: None):
            if there := folder.is_dir():
                shards.remove(folder)
            return there
    except BusyError:
        return False
