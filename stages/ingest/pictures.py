"""The size and digest of every picture of a manifest, read once and in parallel."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO

from cache.errors import UserError
from cache.files import CHUNK, digest_open
from stages.ingest.places import confined, no_file

THREADS = 8  # hashing waits for the disk, not for the cores
SHARE = 64  # pictures that a thread takes at a time: small ones are read faster than handed over
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe in place of a picture must not be waited for

Seen = tuple[int, str]  # bytes, xxh3


def measure(name: str, root: Path, images: Sequence[str]) -> list[Seen | None]:
    """Bytes and xxh3-128 of the pictures at these paths under root, in their order; None where there is no file.

    A picture need not be decodable: extract lists those that are not. UserError where a path leads out of root, a pipe
    or a device stands there, or a file cannot be read.
    """
    inside: set[str] = set()
    shares = [images[at : at + SHARE] for at in range(0, len(images), SHARE)]
    with ThreadPoolExecutor(THREADS) as threads:
        some = threads.map(partial(_measure_some, name, root, inside), shares)
        return [one for share in some for one in share]


def _measure_some(name: str, root: Path, inside: set[str], images: Sequence[str]) -> list[Seen | None]:
    return [_measure_one(name, root, inside, image) for image in images]


def _measure_one(name: str, root: Path, inside: set[str], image: str) -> Seen | None:
    """Bytes and digest of one picture, None where there is none; `inside` are the folders that lie under root."""
    try:
        with _opened(name, root, inside, image) as file:
            status = os.fstat(file.fileno())
            block = min(CHUNK, status.st_size + 1)
            if not stat.S_ISREG(status.st_mode):
                raise no_file(name, image)
            return status.st_size, digest_open(file, block)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except PermissionError:
        raise  # told by the caller, for any file alike
    except OSError as error:
        raise UserError(f"{name}: picture '{image[:100]}' cannot be read ({error.strerror}); mend it") from error


def _opened(name: str, root: Path, inside: set[str], image: str) -> IO[bytes]:
    """A picture's file; UserError where its path leads out of root. To follow every part of every path costs more than
    to read a small picture, so each folder is followed once, and the last part only where it is a link."""
    folder, _, last = image.rpartition("/")
    if folder not in inside:
        confined(name, root, folder)
        inside.add(folder)
    path = f"{root}/{image}"
    try:
        if last == "..":
            raise OSError(errno.ELOOP, "")
        handle = os.open(path, _READ | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        handle = os.open(confined(name, root, image), _READ)
    try:
        return os.fdopen(handle, "rb", buffering=0)
    except IsADirectoryError:
        os.close(handle)
        raise
