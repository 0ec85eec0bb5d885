"""What is in an archive, member by member, as it is read once from its beginning to its end."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from cache.errors import DamagedError, UserError, one_line
from stages.progress import reporter, working

PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {  # what a packed tar begins with, and what unpacks it
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
LONGEST_MARK = max(map(len, PACKED))
ENCRYPTED = 1  # a flag of a zip's member
LONGEST_LINK = 4096  # bytes of a path
CHUNK = 1 << 20

Kind = Literal["file", "folder", "hard", "soft"]


@dataclass(frozen=True)
class Member:
    """One member: its path as the archive has it, its bytes, where a link leads (a hard one from the archive's root, a
    soft one from its own folder), and what opens it, before the next member is asked for."""

    path: str
    kind: Kind
    size: int
    target: str
    open: Callable[[], IO[bytes]]


def members_of(name: str, archive: Path) -> Iterator[Member]:
    """The members of a tar, packed or not, or a zip archive in their order, with progress in megabytes of the archive.

    `name` is the dataset's, for messages. UserError where a member is neither file, folder nor link, or is encrypted.
    What is read here is read within `whole_archive`, which says where an archive is none or is cut short.
    """
    read = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    task, total = f"unpack {archive.name} (MB)", archive.stat().st_size
    told = 0
    with working(task, total // 10**6):
        for position, member in read(name, archive):
            yield member
            reporter().advance(task, position // 10**6 - told)
            told = position // 10**6


def confined_name(name: str, archive: Path, path: str) -> str:
    """A member's path below the folder that it is unpacked in; UserError where it leads out of it."""
    parts = re.split(r"[\\/]", path)
    if path.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:[\\/]", path) or "\0" in path:
        raise UserError(
            f"{name}: {archive.name} holds {path[:100]!r}, which leads out of the dataset's folder; nothing was "
            "unpacked: get it from its publisher"
        )
    return PurePosixPath(path).as_posix()


@contextmanager
def whole_archive(name: str, archive: Path) -> Iterator[None]:
    """One line (DamagedError) for an archive that is none, is cut short, or is not what its checksums say."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's; gzip's and bz2's own have no number
            raise
        raise DamagedError(
            f"{name}: {archive.name} is not a whole archive ({one_line(error)}); get it again"
        ) from error
    except NotImplementedError as error:  # a compression that zipfile does not know
        raise UserError(f"{name}: {archive.name} cannot be read ({one_line(error)}); unpack it by hand") from error


# --- tar --------------------------------------------------------------------------------------------------------------


class _Header(tarfile.TarInfo):
    """A header; without its end mark, or with a broken header, an archive is cut short, and tarfile takes both for the
    end of it."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        """The next header; ReadError where there is none and no end mark either."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":
                raise
            raise tarfile.ReadError(str(error)) from error


def _tar_members(name: str, archive: Path) -> Iterator[tuple[int, Member]]:
    with archive.open("rb") as raw:
        mark = raw.read(LONGEST_MARK)
        raw.seek(0)
        stream: IO[bytes] = next((unpack(raw) for first, unpack in PACKED.items() if mark.startswith(first)), raw)
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as tar:
            while info := tar.next():
                yield raw.tell(), _tar_member(name, archive, tar, info)
                tar.members = []  # type: ignore[attr-defined]  # it would keep a million of them
        while stream.read(CHUNK):
            pass  # behind the last member is the checksum of all


def _tar_member(name: str, archive: Path, tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    kinds: list[tuple[bool, Kind]] = [
        (info.isreg(), "file"),
        (info.isdir(), "folder"),
        (info.islnk(), "hard"),
        (info.issym(), "soft"),
    ]
    kind = next((kind for fits, kind in kinds if fits), None)
    if kind is None:
        raise _no_file(name, archive, info.name)
    return Member(info.name, kind, info.size if kind == "file" else 0, info.linkname, lambda: _data(tar, info))


def _data(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    data = tar.extractfile(info)
    assert data is not None
    return data


def _no_file(name: str, archive: Path, path: str) -> UserError:
    return UserError(
        f"{name}: {archive.name} holds '{path[:100]}', which is neither a file, a folder nor a link; nothing was "
        "unpacked: get it from its publisher"
    )


# --- zip --------------------------------------------------------------------------------------------------------------


def _zip_members(name: str, archive: Path) -> Iterator[tuple[int, Member]]:
    with zipfile.ZipFile(archive) as opened:
        position = 0
        for info in opened.infolist():
            position += info.compress_size
            yield position, _zip_member(name, archive, opened, info)


def _zip_member(name: str, archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    path = (info.filename if "\0" not in info.orig_filename else info.orig_filename).replace("\\", "/")
    if info.flag_bits & ENCRYPTED:
        raise UserError(f"{name}: {archive.name} is encrypted; unpack it by hand")
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        with opened.open(info) as file:
            target = file.read(LONGEST_LINK).decode(errors="surrogateescape")
        return Member(path, "soft", 0, target, lambda: opened.open(info))
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise _no_file(name, archive, path)
    kind: Kind = "folder" if path.endswith("/") else "file"
    return Member(path, kind, info.file_size, "", lambda: opened.open(info))
