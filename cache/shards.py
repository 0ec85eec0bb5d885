"""A folder of the store: cache.json says what it is, shards.jsonl vouches for its files, one leader writes both."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from cache import files as whole
from cache.errors import DamagedError, MissingError, UserError
from cache.files import canonical, digest_file, digest_of
from cache.store import KINDS_VERSION, command_of, shown

FORMAT = 1
ABOUT = "cache.json"
RECORD = "shards.jsonl"
TEMPORARY = "tmp-"


def _go_on(_step: str) -> None:
    """Nothing happens; a test puts a death here."""


step: Callable[[str], None] = _go_on
"""Called after each step of a commit: write, fsync, replace, folder (of a file, then of shards.jsonl), record."""


@dataclass(frozen=True)
class ShardLine:
    """What vouches for a finished file: its name, rows, size in bytes, and xxh3-128 as 32 hex digits."""

    name: str
    rows: int
    bytes: int
    xxh3: str


def begin(folder: Path, about: Mapping[str, Any], files: Sequence[str]) -> None:
    """Begin a folder, or go on with one: cache.json is written and recorded, leavings of the dead are removed.

    cache.json holds `about`, and with it the format, kind, version, key and the names in `files`. Where it stands
    already it must say the same, else DamagedError; a caller who goes on takes what decides no key from `about_of`.
    `about["content"]`, where given, is what `store.make_key` made the folder's name of; ValueError if it is not.
    """
    content = _whole_about(folder, about, files)
    with room(folder):
        folder.mkdir(parents=True, exist_ok=True)
        whole.sync_folder(folder.parent)
        lines = recorded(folder)
        sweep(folder, {ABOUT, *files} - set(lines))
        if ABOUT in lines:
            return _same(folder, content)
        finished = temporary(folder)
        finished.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
        _finish(folder, lines, finished, ABOUT, 0)


def _whole_about(folder: Path, about: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    kind = folder.parent.name
    ours = {"format": FORMAT, "kind": kind, "version": _version_of(folder), "key": folder.name}
    content: dict[str, Any] = json.loads(canonical({**about, **ours, "files": list(files)}))
    if not _is_named(content):
        raise ValueError(f"{folder} is not the key of its content")
    return content


def _version_of(folder: Path) -> int:
    return KINDS_VERSION.get(folder.parent.name, 0)


def _is_named(about: Mapping[str, Any]) -> bool:
    """Whether a folder's key is the digest of the content that cache.json holds in the open."""
    if "content" not in about:
        return True
    return bool(about["key"] == digest_of({**about["content"], "kind": about["kind"], "version": about["version"]}))


def about_of(folder: Path) -> dict[str, Any]:
    """What cache.json says; MissingError if the folder was never begun, DamagedError if it is not as recorded."""
    return _about_by(folder, recorded(folder))


def _about_by(folder: Path, lines: Mapping[str, ShardLine]) -> dict[str, Any]:
    """The same, where the lines are known already: with many parts reading them is most of the work."""
    line = lines.get(ABOUT)
    if line is None:
        raise MissingError(f"{shown(folder)}: nothing is here; run '{command_of(folder)}'")
    if problem := _problem(folder, line, hashes=True):
        raise _damaged(folder, problem, ABOUT, command_of(folder))
    about: dict[str, Any] = whole.read_json(folder / ABOUT)
    if about["format"] != FORMAT:
        what = f"has format {about['format']}, this release reads format {FORMAT}"
        raise DamagedError(f"{shown(folder)}: {what}; remove the folder and run '{command_of(folder)}'")
    if not _is_named(about):
        what = f"{ABOUT} holds the content of another key"
        raise DamagedError(f"{shown(folder)}: {what}; remove the folder and run '{command_of(folder)}'")
    return about


def temporary(folder: Path) -> Path:
    """A fresh name for a worker to write to: folder/tmp-<pid>-<random>; no reader takes it for a finished file."""
    return whole.temporary(folder / ABOUT)


def record(folder: Path, finished: Path, name: str, rows: int) -> ShardLine:
    """Give a finished temporary file its name, then vouch for it in shards.jsonl; each is whole or not there at all.

    For the leader alone. ValueError if cache.json does not list the name; UserError on a full disk.
    """
    lines = recorded(folder)
    if name not in _about_by(folder, lines)["files"]:
        raise ValueError(f"{name} is not among the files that {ABOUT} lists")
    with room(folder):
        line = _finish(folder, lines, finished, name, rows)
    step("record")
    return line


def _finish(folder: Path, lines: Mapping[str, ShardLine], finished: Path, name: str, rows: int) -> ShardLine:
    line = ShardLine(name, rows, finished.stat().st_size, digest_file(finished))
    try:
        if lines.get(name) == line and not _problem(folder, line, hashes=True):
            return line
        if name in lines:  # a death between the two below would leave a line that vouches for other bytes
            lines = {other: kept for other, kept in lines.items() if other != name}
            _write_record(folder, lines)
        _commit(finished, folder / name)
        _write_record(folder, {**lines, name: line})
    finally:
        finished.unlink(missing_ok=True)
    return line


def _commit(finished: Path, target: Path) -> None:
    step("write")
    whole.sync_file(finished)
    step("fsync")
    os.replace(finished, target)
    step("replace")
    whole.sync_folder(target.parent)
    step("folder")


def _write_record(folder: Path, lines: Mapping[str, ShardLine]) -> None:
    """Rewrite shards.jsonl, sorted by name: the order in which shards were finished leaves no trace."""
    sealed = [asdict(lines[name]) for name in sorted(lines)]
    text = b"".join(canonical({**fields, "line": digest_of(fields)}) + b"\n" for fields in sealed)
    finished = temporary(folder)
    try:
        finished.write_bytes(text)
        _commit(finished, folder / RECORD)
    finally:
        finished.unlink(missing_ok=True)


def recorded(folder: Path) -> dict[str, ShardLine]:
    """The lines of shards.jsonl by file name, {} where there is none.

    DamagedError if a line's own digest is wrong or a file has two lines; UserError if the system does not let it be
    read, for then nothing is known of the folder, and nothing in it is to be dropped.
    """
    try:
        texts = (folder / RECORD).read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        where = f"{shown(folder / RECORD)}: cannot be read ({error.strerror})"
        raise UserError(f"{where}; mend that and run the same command again") from error
    lines: dict[str, ShardLine] = {}
    for number, text in enumerate(texts, 1):
        line = _unsealed(text)
        if line is None or line.name in lines:
            renew = f"run 'verify --repair', then '{command_of(folder)}' makes it again"
            raise DamagedError(f"{shown(folder / RECORD)}: line {number} is damaged; {renew}")
        lines[line.name] = line
    return lines


def _unsealed(text: bytes) -> ShardLine | None:
    """What a line says; None if it is not what was once written."""
    try:
        fields = json.loads(text)
        if fields.pop("line") != digest_of(fields) or Path(fields["name"]).name != fields["name"]:
            return None
        return ShardLine(**fields)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def unfinished(folder: Path) -> list[str]:
    """The files that cache.json names and shards.jsonl does not record yet, in order.

    A recorded file that is gone or of another size is damage, not unfinished work: DamagedError, one line.
    """
    lines = recorded(folder)
    return _unfinished_by(folder, _about_by(folder, lines), lines)


def _unfinished_by(folder: Path, about: Mapping[str, Any], lines: Mapping[str, ShardLine]) -> list[str]:
    for name, line in lines.items():
        if problem := _problem(folder, line, hashes=False):
            raise _damaged(folder, problem, name, command_of(folder))
    return [name for name in about["files"] if name not in lines]


def is_whole(folder: Path) -> bool:
    """Whether every file of the folder is recorded and there with its size (stat only); never raises."""
    try:
        return not unfinished(folder)
    except (UserError, OSError, KeyError, TypeError):
        return False


def require_whole(folder: Path, remedy: str) -> tuple[dict[str, Any], dict[str, ShardLine]]:
    """What cache.json says and the recorded lines; one line naming a command unless it is whole (stat only): `remedy`
    for a folder that is gone, the one that fills it for one that is not finished.

    MissingError if it is absent, unfinished or of another version of its kind, DamagedError if a file is gone, of
    another size or unreadable.
    """
    lines = recorded(folder)
    if ABOUT not in lines:
        raise MissingError(f"{shown(folder)}: not there; run '{remedy}'")
    about = _about_by(folder, lines)
    if about["version"] != _version_of(folder):
        raise MissingError(f"{shown(folder)}: of another version; run '{command_of(folder)}' again")
    if missing := _unfinished_by(folder, about, lines):
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MissingError(
            f"{shown(folder)}: unfinished, {missing[0]}{rest} to come; run '{command_of(folder)}', which goes on"
        )
    return about, lines


def require_sound(folder: Path) -> None:
    """Read every byte of a folder's files; DamagedError, one line with the remedy, unless they are as recorded.

    For a stage about to keep numbers made of them: their key would vouch for wrong ones for ever after.
    """
    for line in recorded(folder).values():
        require_sound_file(folder, line)


def require_sound_file(folder: Path, line: ShardLine) -> None:
    """Read every byte of one file; DamagedError, one line with the remedy, unless it is as recorded."""
    if problem := _problem(folder, line, hashes=True):
        raise _damaged(folder, problem, line.name, command_of(folder))


def folder_digest(folder: Path) -> str:
    """One digest for all files of a folder: that of its shards.jsonl, 32 hex digits."""
    return digest_file(folder / RECORD)


def check(folder: Path, hashes: bool) -> list[str]:
    """The damage in a folder, a line a problem, [] where there is none; `hashes` reads every byte, else stat only.

    Unfinished work is no damage (`unfinished` lists it); strays count in a whole folder only, others may be at work.
    """
    try:
        lines = recorded(folder)
        problems = [p for line in lines.values() if (p := _problem(folder, line, hashes))]
        if problems or ABOUT not in lines:
            return problems or _unvouched(folder)
        about_of(folder)
    except UserError as error:
        return [str(error).removeprefix(shown(folder)).lstrip(f"{os.sep}: ").split("; ")[0]]
    return [f"{name}: not a file of this folder" for name in _strays(folder)] if is_whole(folder) else []


def _strays(folder: Path) -> list[str]:
    """The visible names in a folder that shards.jsonl does not record, sorted."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return sorted(names - {RECORD, *recorded(folder)})


def _unvouched(folder: Path) -> list[str]:
    """A lost shards.jsonl: a death at the very beginning leaves cache.json and temporaries behind, nothing else."""
    alone = [name for name in _strays(folder) if name != ABOUT and not name.startswith(TEMPORARY)]
    return [f"{RECORD}: missing, and nothing vouches for {alone[0]}"] if alone else []


def repair(folder: Path) -> list[str]:
    """Drop the damaged files and their lines, so that the next run makes just those again; returns their names.

    A damaged cache.json or shards.jsonl leaves nothing to trust: then the folder goes. For the leader alone.
    """
    try:
        lines = recorded(folder)
    except DamagedError:
        remove(folder)
        return [RECORD]
    damaged = [name for name, line in lines.items() if _problem(folder, line, hashes=True)]
    if ABOUT in damaged or ABOUT not in lines:
        remove(folder)
        return [ABOUT if damaged else RECORD]
    if damaged:
        _write_record(folder, {name: line for name, line in lines.items() if name not in damaged})
    sweep(folder, damaged)
    return damaged


def remove(folder: Path) -> None:
    """Remove a folder, its record first, so that half a removal is never taken for a whole folder. For the leader."""
    (folder / RECORD).unlink(missing_ok=True)
    shutil.rmtree(folder)


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Turn a full disk, or a spent quota, into one line for a person."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        again = f"make room, then run '{command_of(folder)}' again, which goes on from what is recorded"
        raise UserError(f"{shown(folder)}: the disk is full; {again}") from error


def _problem(folder: Path, line: ShardLine, hashes: bool) -> str | None:
    path = folder / line.name
    try:
        stat = path.stat()
        if not S_ISREG(stat.st_mode):
            return f"{line.name}: no file, {RECORD} says {line.bytes} bytes"
        if stat.st_size != line.bytes:
            return f"{line.name}: {stat.st_size} bytes, {RECORD} says {line.bytes}"
        if hashes and (found := digest_file(path)) != line.xxh3:
            return f"{line.name}: its content has digest {found}, {RECORD} says {line.xxh3}"
    except FileNotFoundError:
        return f"{line.name}: missing, {RECORD} says {line.bytes} bytes"
    except OSError as error:
        return f"{line.name}: cannot be read ({error.strerror})"
    return None


def _damaged(folder: Path, problem: str, name: str, command: str) -> DamagedError:
    what = "this part" if name.startswith("part-") else "this file"
    if name == ABOUT:
        what = "the folder"
    renew = f"run 'verify --repair', then '{command}' writes only {what} again"
    return DamagedError(f"{shown(folder)}{os.sep}{problem}; {renew}")


def _same(folder: Path, content: Mapping[str, Any]) -> None:
    stands = about_of(folder)
    names = sorted(n for n in {*stands, *content} if stands.get(n) != content.get(n))
    if names:
        where = shown(folder / ABOUT)
        raise DamagedError(f"{where}: begun with another {', '.join(names)}; finish it with that, or remove the folder")


def sweep(folder: Path, names: Iterable[str] = ()) -> None:
    """Remove what writers left that died while they wrote, and the files of these names. For the leader alone."""
    for path in folder.glob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)
    for name in names:
        _drop(folder / name)


def _drop(path: Path) -> None:
    """Remove whatever bears the name of a file of the folder; a link goes, not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
