"""A folder of class folders as a manifest: <class>/<picture>, each with a text beside it or in its name."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from cache.errors import UserError, counted, meant
from stages.columns import TABLES
from stages.ingest.blocks import Listed, in_blocks
from stages.ingest.pairs import Pair
from stages.ingest.places import confined

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


def load_folders(root: Path, name: str, where: str) -> Listed:
    """The pairs of root, bytes and digests not yet read: sorted by path, id = `<class>/<picture>`, class = folder.

    The text is that of `<stem>.txt` beside the picture, blanks evened out, else the picture's stem as words.
    """
    if not any(pictures_in(folder) for folder in _folders(root)):
        tables = [path.name for path in visible(root) if path.suffix.lower() in TABLES and path.is_file()]
        hint = f", or name the table in it: -S ingest.table.path={where}/{tables[0]}" if tables else ""
        raise UserError(f"{where}: no pictures in its class folders; put them at {where}/<class>/<picture>.jpg{hint}")
    return in_blocks(name, where, lambda: _pairs(root, where))


def _pairs(root: Path, where: str) -> Iterator[Pair]:
    for folder in _folders(root):
        for picture in pictures_in(folder):
            path = named(picture.relative_to(root), where)
            yield Pair(path, path, [_caption(root, picture, where)], [folder.name], None)


def _folders(root: Path) -> list[Path]:
    return [path for path in visible(root) if path.is_dir()]


def disagreement(classes: Collection[str], root: Path, written: str, place: str) -> str | None:
    """One line's worth of what is amiss between a list of classes and the folders of root: a class without a folder, or
    a folder with pictures that is no class; None where they agree. written: the list; place: root, for people."""
    folders = [path.name for path in _folders(root)]
    lost = sorted(set(classes) - set(folders))
    if lost:
        are = counted(len(lost), f"category of {written} is", f"categories of {written} are")
        return f"{are} no folder in {place}, the first is '{lost[0]}'{meant(lost[0], folders)}"
    odd = [folder for folder in folders if folder not in classes and pictures_in(root / folder)]
    if odd:
        are = counted(len(odd), "folder of pictures", "folders of pictures")
        return f"{are} in {place} and not in {written}, the first is '{odd[0]}'{meant(odd[0], classes)}"
    return None


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, but for what a dot hides."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by their suffixes, sorted."""
    return [path for path in visible(folder) if path.suffix.lower() in SUFFIXES]


def named(picture: Path, where: str) -> str:
    """A picture's path as text; UserError where its bytes are not UTF-8: neither Parquet nor JSON can say it then."""
    written = os.fsencode(picture.as_posix())
    try:
        return written.decode()
    except UnicodeDecodeError as error:
        escaped = written.decode(errors="backslashreplace")
        raise UserError(f"{where}: the file name '{escaped}' is not UTF-8; rename it") from error


def _caption(root: Path, picture: Path, where: str) -> str:
    sidecar = confined(where, root, picture.with_suffix(".txt").relative_to(root).as_posix())
    if not sidecar.is_file():
        return " ".join(picture.stem.replace("_", " ").replace("-", " ").split())
    try:
        return " ".join(sidecar.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: {sidecar.relative_to(root)} is not UTF-8; save it as UTF-8 text") from error
