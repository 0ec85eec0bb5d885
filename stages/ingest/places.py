"""Where a dataset's files lie, how messages name them, and a guard that keeps reading inside its folder."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cache.errors import MissingError, UserError
from stages.ingest.datasets import find, missing
from stages.ingest.params import IngestParams

ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip")  # what is unpacked in a dataset's folder
OTHERS = (".rar", ".7z", ".tar.zst", ".tar.lz4", ".tar.lzma", ".tbz2", ".tbz", ".txz", ".tzst", ".zipx")  # is not
_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}  # what stands for a file that is not there


def dataset_folder(params: IngestParams) -> Path:
    """The folder of a named dataset: <ingest.root>/<its place>, against the home folder."""
    return params.home / params.section.root / find(params.dataset).place


def whole_folder(params: IngestParams) -> Path:
    """The same, where all parts that the registry names stand in it; MissingError names the first that does not."""
    root, dataset = dataset_folder(params), find(params.dataset)
    where = from_home(root, params.home)
    if root.is_dir():
        require_rights(root)
    elif root.exists():
        raise UserError(
            f"{dataset.name}: {where} is a file and must be a folder; lay what it holds into a folder of that name"
        )
    lost = lacking(root, dataset.parts) if root.is_dir() else [""]
    if lost:
        told = _told(root, lost[0], params.home)
        if archive := _not_unpacked(root):
            raise MissingError(
                f"{dataset.name}: {told}, and {archive} is of a kind that is not unpacked here "
                f"({', '.join(ARCHIVES[:-1])} and {ARCHIVES[-1]} are); unpack it by hand into {where}"
            )
        raise missing(dataset, told, where)
    return root


def _not_unpacked(root: Path) -> str | None:
    """The first archive in a folder of a kind that ingest does not unpack."""
    names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    return next((name for name in names if name.lower().endswith(OTHERS)), None)


def _told(root: Path, part: str, home: Path) -> str:
    """What is wrong with a part: an empty folder is there, and yet lacks everything."""
    if empty := next((path for path in part.split("|") if (root / path).is_dir()), None):
        return f"{from_home(root / empty, home)} is an empty folder"
    first, *others = part.split("|")
    return from_home(root / first, home) + (f" (or {', '.join(others)})" if others else "") + " is missing"


def lacking(root: Path, parts: Sequence[str]) -> list[str]:
    """Those of the parts that the registry names of which nothing is there."""
    return [part for part in parts if standing(root, part) is None]


def standing(root: Path, part: str) -> Path | None:
    """The first that is there, and is no empty folder, of the paths that a part of the registry names, `|` between."""
    return next((root / path for path in part.split("|") if is_filled(root / path)), None)


def is_filled(path: Path) -> bool:
    """Whether a file is there, or a folder with one in it, at whatever depth; what a dot hides does not count."""
    if not path.is_dir():
        return path.exists()
    with os.scandir(path) as entries:  # a link counts: to follow it could lead round in a circle
        return any(
            not entry.name.startswith(".") and (not entry.is_dir(follow_symlinks=False) or is_filled(Path(entry.path)))
            for entry in entries
        )


def require_rights(folder: Path) -> None:
    """PermissionError where this user may not list a folder, or not reach what lies in it."""
    os.scandir(folder).close()
    (folder / "..").stat()  # the way up leads through it


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what this user may not read, or a folder where a file must be, into one line about that dataset."""
    try:
        yield
    except (IsADirectoryError, NotADirectoryError) as error:
        there, due = ("folder", "file") if isinstance(error, IsADirectoryError) else ("file", "folder")
        raise UserError(f"{name}: {error.filename} is a {there} and must be a {due}; get it again") from error
    except PermissionError as error:
        shut = barred(Path(error.filename))
        raise UserError(
            f"{name}: {shut} may not be read by this user; give the right to, as in chmod -R u+rX "
            f"{shlex.quote(str(shut))}"
        ) from error


def barred(path: Path) -> Path:
    """The uppermost folder on the way to a path that lets this user not through, else the path itself: rights to what
    lies below do not help."""
    for folder in reversed(path.parents):
        try:
            (folder / path.relative_to(folder).parts[0]).lstat()
        except PermissionError:
            return folder
        except OSError:
            break
    return path


def is_file(name: str, root: Path, relative: str) -> bool:
    """Whether a file is at `relative` under a dataset's root; UserError where it leads out, or a pipe or a device
    stands there."""
    path = confined(name, root, relative)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise
        return False
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise no_file(name, relative)
    return stat.S_ISREG(mode)


def no_file(name: str, relative: str) -> UserError:
    """The one line for a pipe, a socket or a device in place of a file."""
    return UserError(f"{name}: '{relative[:100]}' is a pipe or a device and must be a file; put the file there")


def from_home(path: Path, home: Path) -> str:
    """A path for people and manifests: relative to the home folder where it lies in it, else absolute."""
    full, base = Path(os.path.normpath(path)), Path(os.path.normpath(home))
    return full.relative_to(base).as_posix() if full.is_relative_to(base) else full.as_posix()


def confined(name: str, root: Path, relative: str) -> Path:
    """The file at `relative` under a dataset's root; UserError if `..`, an absolute path or a link leads out of it."""
    path = root / relative
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except ValueError as error:  # a NUL, or half a character
        raise UserError(f"{name}: {relative[:100]!r} can be no file's name; mend the list that names it") from error
    if not inside:
        raise UserError(
            f"{name}: '{relative[:100]}' leads out of {root}; "
            "its files must lie under it, without '..', absolute paths or links to elsewhere"
        )
    return path
