"""What tells one state of a folder from another: the names, sizes and times of its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cache.files import digest_of_list

State = tuple[str, int, int]  # path relative to the folder, bytes, time of the last change in ns


def folder_digest(folder: Path) -> str:
    """The digest of names, sizes and times of all files below a folder, of links to files those of the file.

    A linked folder is not gone into, nor is one that this user may not list; sorted part by part of the path. Of
    folders with a million pictures the time matters: an entry is asked for no more than it takes."""
    found = sorted(_files(str(folder), ""), key=lambda state: state[0].split("/"))
    return digest_of_list([readable_name(name), size, time] for name, size, time in found)


def readable_name(name: str) -> str:
    """A name with marks in place of bytes that are no UTF-8, which no digest takes."""
    return name.encode(errors="backslashreplace").decode()


def _files(folder: str, below: str) -> Iterator[State]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path, f"{below}{entry.name}/")
                elif entry.is_file():
                    status = entry.stat()
                    yield below + entry.name, status.st_size, status.st_mtime_ns
    except PermissionError:
        return
