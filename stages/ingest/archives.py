"""Published archives in a dataset's folder, unpacked there: each whole or not at all, and never beside the folder.

An archive is unpacked into a folder `tmp-<archive>` and then moved, entry by entry, to where the dataset is read from.
While that folder stands the archive is not done, so that a killed run starts it anew; what it moved already is kept.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cache.errors import BusyError, UserError
from cache.files import read_json, write_json
from stages.ingest.members import Member, confined_name, members_of, whole_archive
from stages.ingest.places import ARCHIVES, lacking, readable, standing
from stages.progress import reporter

RATIO = 200  # times its own size an archive may become: of pictures none does, a bomb becomes a thousand times as large
FREELY = 1 << 30  # bytes that any archive may become, since lists of noughts and ones pack well
LEAST = 4096  # bytes that a member counts at least: what a file takes on a disk
DEPTH = 2  # an archive in an archive is published, a third level is not
DONE = ".unpacked.json"  # which archives of a folder were unpacked: name -> bytes
CHUNK = 1 << 20


def unpack_archives(name: str, folder: Path, parts: Sequence[str]) -> None:
    """Unpack the archives of a dataset's folder, if the parts that the registry names are not all there yet.

    `name` is the dataset's, for messages. UserError where an archive leads out of the folder, holds what is no file,
    or becomes too large; DamagedError where it is cut short; BusyError where another process unpacks it. Whatever is
    raised, nothing of that archive is left.
    """
    for _ in range(DEPTH):
        with readable(name):
            pending = pending_archives(folder, parts)
        for archive in pending:
            if _is_pending(archive, parts):
                _unpack(name, archive, parts)
        if not pending:
            return


def pending_archives(folder: Path, parts: Sequence[str]) -> list[Path]:
    """The archives of a dataset's folder that ingest would unpack: half done, or not done while a part is missing."""
    return [archive for archive in _archives(folder) if _is_pending(archive, parts)]


def _archives(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if _is_archive(path.name) and path.is_file()]


def _is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES) and not name.startswith(".")


def _place(archive: Path) -> Path:
    """Where an archive is unpacked before it is moved; no reader takes it for a part of a dataset."""
    return archive.parent / f"tmp-{archive.name}"


def _is_pending(archive: Path, parts: Sequence[str]) -> bool:
    """Whether an archive is half done, or not done while something is missing that it may hold."""
    if _place(archive).exists():
        return True
    whole = bool(parts) and not lacking(archive.parent, parts)
    return not whole and _done(archive.parent).get(archive.name) != archive.stat().st_size


def _done(folder: Path) -> dict[str, int]:
    record: dict[str, int] = read_json(folder / DONE) if (folder / DONE).exists() else {}
    return record


def _unpack(name: str, archive: Path, parts: Sequence[str]) -> None:
    place = _place(archive)
    with _told(name, archive), _held(name, archive), whole_archive(name, archive):
        shutil.rmtree(place, ignore_errors=True)
        try:
            place.mkdir()
            _fill(name, archive, place)
            base = _base(place, parts)
            _check_links(name, archive, base)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        _move(base, archive.parent)
        write_json(archive.parent / DONE, {**_done(archive.parent), archive.name: archive.stat().st_size})
        shutil.rmtree(place)
    reporter().say(f"{name}: {archive.name} is unpacked; it may be deleted")


@contextmanager
def _held(name: str, archive: Path) -> Iterator[None]:
    """Hold an archive for unpacking; the system frees it when the holder dies."""
    with archive.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"{name}: {archive.name} is being unpacked by another process; wait for it") from error
        yield


@contextmanager
def _told(name: str, archive: Path) -> Iterator[None]:
    """One line for what the disk refuses."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{name}: {archive.name} cannot be unpacked in {archive.parent} ({error.strerror or error}); mend that, or "
            "unpack it by hand"
        ) from error


# --- into the temporary folder ---------------------------------------------------------------------------------------


def _fill(name: str, archive: Path, place: Path) -> None:
    """Write every member below `place`: folders and files first and links last, so that nothing is written through one;
    hard links before soft ones, which could lead them astray."""
    allowance = _allowance(archive, place)
    links: list[Member] = []
    taken = 0
    for member in members_of(name, archive):
        taken += max(member.size, LEAST)
        _refuse_bomb(name, archive, taken, allowance)
        if member.kind in {"hard", "soft"}:
            links.append(member)
        else:
            _write(member, place / confined_name(name, archive, member.path))
    for member in sorted(links, key=lambda member: member.kind):
        _link(name, archive, member, place)


def _allowance(archive: Path, place: Path) -> tuple[int, int]:
    """Bytes that an archive may become: by its own size, and by what is free."""
    return max(FREELY, RATIO * archive.stat().st_size), shutil.disk_usage(place).free


def _refuse_bomb(name: str, archive: Path, taken: int, allowance: tuple[int, int]) -> None:
    most, free = allowance
    if taken > most:
        raise UserError(
            f"{name}: {archive.name} becomes more than {most / 1e9:.3g} GB, which no published archive of its size "
            "does; nothing was unpacked: get it from its publisher, or unpack it by hand if you trust it"
        )
    if taken > free:
        raise UserError(
            f"{name}: {archive.name} needs more than the {free / 1e9:.3g} GB that are free in {archive.parent}; "
            "nothing was unpacked: make room, or link the folder to another disk"
        )


def _write(member: Member, target: Path) -> None:
    (target if member.kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
    if member.kind == "file":
        with target.open("wb") as file, member.open() as source:
            shutil.copyfileobj(source, file, CHUNK)


def _link(name: str, archive: Path, member: Member, place: Path) -> None:
    link = place / confined_name(name, archive, member.path)
    link.parent.mkdir(parents=True, exist_ok=True)
    target = (place if member.kind == "hard" else link.parent) / member.target
    inside = place.resolve()
    if not (target.resolve().is_relative_to(inside) and link.parent.resolve().is_relative_to(inside)):
        raise _leads_out(name, archive, member.path, member.target)
    link.unlink(missing_ok=True)
    if member.kind == "hard":
        os.link(target, link, follow_symlinks=False)
    else:
        link.symlink_to(member.target)


def _leads_out(name: str, archive: Path, path: str, target: str) -> UserError:
    return UserError(
        f"{name}: {archive.name} holds a link '{path[:100]}' to '{target[:100]}', which leads out of the dataset's "
        "folder; nothing was unpacked: get it from its publisher"
    )


# --- from there to where the dataset is read -------------------------------------------------------------------------


def _base(place: Path, parts: Sequence[str]) -> Path:
    """The folder, of an unpacked archive, that holds what belongs into the dataset's: the uppermost one with one of the
    parts, or with an archive called like one, in it; else all of it."""
    level = [place]
    while level:
        for folder in level:
            if any(_holds(folder, part) for part in parts):
                return folder
        level = [inner for folder in level for inner in _folders(folder)]
    return place


def _holds(folder: Path, part: str) -> bool:
    return any(standing(folder, f"{path}{suffix}") for path in part.split("|") for suffix in ("", *ARCHIVES))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _check_links(name: str, archive: Path, base: Path) -> None:
    """UserError where a link leads out of what will be moved."""
    inside = base.resolve()
    for top, folders, files in os.walk(base):
        for path in (Path(top) / entry for entry in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise _leads_out(name, archive, str(path.relative_to(base)), str(path.readlink()))


def _move(source: Path, target: Path) -> None:
    """Move what is in a folder into another one; what stands there already is kept, folders are filled up."""
    for entry in sorted(source.iterdir()):
        there = target / entry.name
        if entry.name == "__MACOSX":  # one system's notes on the files
            continue
        if not there.exists() and not there.is_symlink():
            entry.rename(there)
        elif all(path.is_dir() and not path.is_symlink() for path in (entry, there)):
            _move(entry, there)
