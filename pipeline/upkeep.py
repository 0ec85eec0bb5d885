"""Looking after the store: what is damaged, what ledgers name and the store lacks, what nobody names.

DVC cannot see the store: where a key is gone its ledger still stands, and DVC believes the stage done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cache.errors import DamagedError, MissingError, counted
from cache.shards import is_whole
from cache.verify import (
    Finding,
    all_ledgers,
    keys_in,
    remove_key,
    repair_store,
    unused_keys,
    verify_ledgers,
    verify_store,
)
from pipeline.ablation.runs import ASIDE
from pipeline.own_methods import own_among
from pipeline.places import DEMO, SEARCH, SEVERAL
from pipeline.setting import Setting
from pipeline.tables import Row, folder_bytes
from pipeline.wiring import STAGES, stamped
from stages.progress import reporter

WITH_KEYS = ("extract", "mixture", "train")


def repair(setting: Setting) -> None:
    """Drop what is damaged from the store's records, so that its stage makes just that again."""
    for name in repair_store(setting.places.store):
        reporter().say(name)


def mend(setting: Setting) -> None:
    """Run again each stage whose ledger under data/ names a key that is gone.

    The pictures may be gone with the store, so the manifest is made again first: what stands of it costs nothing.
    A ledger that was made with other parameters than the present ones is dropped, and DVC runs its stage.
    """
    gaps = {finding.path for finding in _gaps(setting, "data")}
    if not gaps:
        return
    tracked = _tracked(setting)
    STAGES["ingest"].run(tracked)
    for name in WITH_KEYS:
        path = _ledger(tracked, name)
        if path in gaps and _made_again(tracked, name, path):
            gaps.discard(path)
    for path in gaps:
        reporter().say(f"{path}: made from other inputs than stand now, dropped; DVC runs its stage")
        path.unlink()


def _tracked(setting: Setting) -> Setting:
    """The same run on the paths that dvc.yaml names, as if DVC ran it."""
    return replace(setting, places=replace(setting.places, stage="upkeep"))


def _ledger(tracked: Setting, name: str) -> Path:
    """Where a stage's first artefact stands under DVC."""
    return tracked.places.to_write(STAGES[name].artefacts(tracked)[0])


def _made_again(tracked: Setting, name: str, path: Path) -> bool:
    """Run a stage again where its ledger is of the present parameters and what it reads stands."""
    try:
        if stamped(path) != STAGES[name].stamp(tracked):
            return False
        reporter().say(f"{path}: made again")
        STAGES[name].run(tracked)
    except MissingError:
        return False
    return True


def outdated(setting: Setting) -> list[str]:
    """The stages whose artefact under data/ was made from a file that has changed since, which DVC does not see.

    Such a file (a user's table, heads, weights, method) lies outside dvc.yaml. Later stages follow by themselves."""
    tracked = _tracked(setting)
    for name in ("ingest", "extract"):
        if _changed(tracked, name):
            return [name]
    before = [_changed(tracked, name) for name in ("split", "mixture")] if any(own_among(setting.params)) else [True]
    return ["train"] if not any(before) and _changed(tracked, "train") else []


def _changed(tracked: Setting, name: str) -> bool:
    """Whether a stage's artefact under data/ stands, and was made from something else than there is now."""
    path = _ledger(tracked, name)
    return path.exists() and stamped(path) != STAGES[name].stamp(tracked)


def _gaps(setting: Setting, folder: str) -> list[Finding]:
    """What the ledgers under a folder name and the store lacks."""
    return verify_ledgers(setting.places.store, all_ledgers(setting.places.root / folder))


def tell_gaps_of_the_prompt(setting: Setting) -> int:
    """List what ledgers under runs/ name and the store lacks: no fault, the commands make it again; how many."""
    found = _gaps(setting, "runs")
    for finding in found:
        reporter().say(f"{finding.path}: {finding.problem} (the command that made it makes it again)")
    return len(found)


def verdict(setting: Setting, gaps: int) -> str:
    """What to say of a store without a fault, by the gaps told of: whole only where nothing is left to make."""
    unfinished = sum(not is_whole(folder) for folder in keys_in(setting.places.store))
    if unfinished:
        return f"no damage, {counted(unfinished, 'key')} unfinished"
    return "no damage, but not all that ledgers name" if gaps else "whole"


def findings(setting: Setting, hashes: bool) -> list[Finding]:
    """Every fault of the store, and every gap of the ledgers under data/."""
    return verify_store(setting.places.store, hashes) + _gaps(setting, "data")


def finding_rows(found: Sequence[Finding]) -> list[Row]:
    """Findings as rows of a table."""
    return [{"path": str(f.path), "problem": f.problem, "mend": f.mend} for f in found]


def require_none(found: Sequence[Finding]) -> None:
    """A DamagedError that counts the findings and tells the first, where there are any."""
    if found:
        first = found[0]
        which = f"{counted(len(found), 'problem')}{'; the first' if len(found) > 1 else ''}"
        raise DamagedError(f"{which}: {first.path}: {first.problem}; {first.mend}")


def unused(setting: Setting) -> list[Path]:
    """The store's folders that no ledger names, in either place or under the runs that commands make aside."""
    root, runs = setting.places.root, setting.places.root / "runs"
    places = [root / "data", runs, runs / SEARCH, runs / DEMO]
    places += [*(runs / ASIDE).glob("*/*/*"), *(runs / SEVERAL).glob("*")]
    return unused_keys(setting.places.store, [ledger for place in places for ledger in all_ledgers(place)])


def folder_rows(folders: Sequence[Path]) -> list[Row]:
    """Folders of the store as rows of a table."""
    return [{"kind": f.parent.name, "key": f.name, "MB": folder_bytes(f) / 1e6} for f in folders]


def remove(folders: Sequence[Path]) -> int:
    """Remove folders of the store, records first, but none that somebody is writing; returns how many went."""
    return sum(remove_key(folder) for folder in folders)
