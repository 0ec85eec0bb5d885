"""A folder of class folders as a manifest: <class>/<picture>, each with a text beside it or in its name."""

from __future__ import annotations

import os
from pathlib import Path

from cache.errors import UserError
from cache.manifest import Manifest
from stages.ingest.places import confined

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


def load_folders(root: Path, name: str, where: str) -> Manifest:
    """The manifest of root, bytes and digests not yet read: sorted by path, id = `<class>/<picture>`, class = folder.

    The text is that of `<stem>.txt` beside the picture, blanks evened out, else the picture's stem as words.
    """
    pictures = [picture for folder in visible(root) if folder.is_dir() for picture in pictures_in(folder)]
    if not pictures:
        raise UserError(f"{where}: no pictures in its class folders; put them at {where}/<class>/<picture>.jpg")
    paths = [named(picture.relative_to(root), where) for picture in pictures]
    return Manifest(
        name=name,
        root=where,
        ids=paths,
        images=paths,
        texts=[[_caption(root, picture, where)] for picture in pictures],
        labels=[[picture.parent.name] for picture in pictures],
        splits=[None] * len(paths),
        bytes=[0] * len(paths),
        xxh3=[""] * len(paths),
    )


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
