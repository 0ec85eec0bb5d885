"""A user's own pairs: a CSV, TSV, JSON lines or Parquet file with columns of any name, or a folder of class folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from cache.errors import MissingError, ParamsError, UserError, counted
from cache.manifest import Manifest, repeated
from stages.columns import Columns, column_names, read_blocks
from stages.ingest.blocks import Listed
from stages.ingest.class_folders import load_folders
from stages.ingest.params import IngestParams, TableSection
from stages.ingest.places import from_home

FORMATS = "CSV, TSV, JSON lines or Parquet"
OPTIONAL = ("id", "label", "split")  # the columns that a table may do without
SPLITS = {"train": "train", "val": "val", "dev": "val", "test": "test", "": None, "none": None, "null": None}


def load(params: IngestParams) -> Listed:
    """The pairs, bytes and digests not yet read, rows in the table's order; pictures are relative to its file."""
    section = params.section.table
    if section.path is None:
        raise ParamsError(
            f"table: ingest.table.path is null; set it to a {FORMATS} file or a folder of class folders, "
            "as in -S ingest.table.path=pairs.csv"
        )
    path = params.home / section.path
    where = from_home(path, params.home)
    if not path.exists():
        raise MissingError(
            f"table: {os.path.normpath(path)} is missing; set ingest.table.path to your {FORMATS} file "
            "or folder of class folders, or use --dataset openmoji"
        )
    if path.is_dir():
        return load_folders(path, section.name, where)
    return _listed(path, section, from_home(path.parent, params.home), where)


def _listed(path: Path, section: TableSection, root: str, where: str) -> Listed:
    captions = [section.text] if isinstance(section.text, str) else section.text
    _require_columns(column_names(path, where), section, captions, where)
    named = [section.id, section.image, *captions, section.label, section.split]
    names = list(dict.fromkeys(name for name in named if name))
    if not section.id:
        _check_images(path, section.image, where)

    def blocks() -> Iterator[Manifest]:
        return (_manifest(block, section, captions, root, where) for block in read_blocks(path, where, names))

    return Listed(section.name, root, blocks)


def _manifest(columns: Columns, section: TableSection, captions: Sequence[str], root: str, where: str) -> Manifest:
    images = _words(columns[section.image], section.image, where)
    ids = _words(columns[section.id], section.id, where) if section.id else images
    texts = [_lists(columns[name], None, name, where) for name in captions]
    splits = zip(columns[section.split], ids, strict=True) if section.split else ()
    return Manifest(
        name=section.name,
        root=root,
        ids=ids,
        images=images,
        texts=texts[0] if len(texts) == 1 else [list(chain(*item)) for item in zip(*texts, strict=True)],
        labels=_labels(columns, section, where, len(ids)),
        splits=[_split(value, one, where) for value, one in splits] or [None] * len(ids),
        bytes=[0] * len(ids),
        xxh3=[""] * len(ids),
    )


def _require_columns(columns: Sequence[str], section: TableSection, captions: Sequence[str], where: str) -> None:
    """ParamsError naming the columns there are, and how to do without, where some that the parameters name are not."""
    named = [("id", section.id), ("image", section.image), ("label", section.label)]
    named += [*(("text", name) for name in captions), ("split", section.split or None)]
    lost = [(key, name) for key, name in named if name is not None and name not in columns]
    if lost:
        names = " nor ".join(f"'{name}'" for _, name in lost)
        keys = " and ".join(dict.fromkeys(f"ingest.table.{key}" for key, _ in lost))
        without = " ".join(f"-S ingest.table.{key}=null" for key, _ in lost if key in OPTIONAL)
        there = ", ".join(map(str, columns)) + (f"; or do without: {without}" if without else "")
        raise ParamsError(f"{where}: no column {names}; set {keys} to one of: {there}")
    if not captions:
        raise ParamsError(f"{where}: ingest.table.text is an empty list; name at least one column")


def _check_images(path: Path, image: str, where: str) -> None:
    """UserError where a picture stands in several rows of a table without ids: its path is the row's id."""
    twice = repeated(lambda: (_words(block[image], image, where) for block in read_blocks(path, where, [image])))
    if twice:
        raise UserError(
            f"{where}: {counted(len(twice), 'picture stands', 'pictures stand')} in several rows, the first is "
            f"'{twice[0]}'; put its captions into columns of one row (ingest.table.text), or name a column of ids "
            "(ingest.table.id)"
        )


def _labels(columns: Columns, section: TableSection, where: str, count: int) -> list[list[str]]:
    """The classes of each row, each once; none of any row where no column holds them."""
    if not section.label:
        return [[] for _ in range(count)]
    labels = _lists(columns[section.label], section.separator, section.label, where)
    return [list(dict.fromkeys(label)) if len(label) > 1 else label for label in labels]


def _words(values: Sequence[Any], column: str, where: str) -> list[str]:
    words = [value.strip() if isinstance(value, str) else _word(value, column, where) for value in values]
    if nul := next((word for word in words if "\0" in word), None):
        raise UserError(f"{where}: column '{column}' holds a NUL byte, first in {nul[:100]!r}; take it out")
    return words


def _word(value: Any, column: str, where: str) -> str:
    """A cell that is no text as text: null is empty; a whole number may stand for its digits."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ParamsError(f"{where}: column '{column}' holds {type(value).__name__}; it must hold text or whole numbers")


def _lists(values: Sequence[Any], separator: str | None, column: str, where: str) -> list[list[str]]:
    """Each cell as a list of words: a list as it is, text cut at the separator; empty ones are dropped."""
    if any(isinstance(value, list) for value in values):
        words = [_words(value if isinstance(value, list) else [value], column, where) for value in values]
    else:
        words = [[word] for word in _words(values, column, where)]
    if separator:
        words = [[part.strip() for word in item for part in word.split(separator)] for item in words]
    return [item if all(item) else [word for word in item if word] for item in words]


def _split(value: Any, one: str, where: str) -> str | None:
    name = str("" if value is None else value).strip().lower()
    if name not in SPLITS:
        raise UserError(
            f"{where}: the row with id '{one}' has split '{value}'; it must be train, val, dev, test or empty"
        )
    return SPLITS[name]
