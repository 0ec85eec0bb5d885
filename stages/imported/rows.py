"""Who the rows of imported features are: ids, labels, texts and splits, from columns, or from lists beside them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import ParamsError, UserError, nearest
from stages.imported.arrays import Ragged, Source
from stages.imported.params import FeaturesSection, MatSection

SPLITS = {"train": "train", "val": "val", "dev": "val", "test": "test"}
EMPTY = ("", "none", "null", "nan")


@dataclass(frozen=True)
class Rows:
    """Each row's id, classes, text ("" where there is none) and split (train, val, test or None)."""

    ids: list[str]
    labels: list[list[str]]
    texts: list[str]
    splits: list[str | None]


def read_rows(table: Source, section: FeaturesSection) -> Rows:
    """The rows of a source's columns; ParamsError naming what there is where a column is not."""
    ids = safe_ids(_words(table, _id_column(table, section)))
    count = len(ids)
    labels = _labels(table, section) if section.label else [[] for _ in ids]
    known = section.caption is not None and section.caption in table.held
    texts = _words(table, str(section.caption)) if known else [""] * count
    splits = [_split(table.where, cell) for cell in _words(table, _column(table, section.split, "split"))]
    found = Rows(ids, labels, texts, splits if section.split else [None] * count)
    for what, column in (("labels", found.labels), ("texts", found.texts), ("splits", found.splits)):
        if len(column) != count:
            raise UserError(f"{table.where}: {count} ids and {len(column)} {what}; a row has one of each")
    return found


def _id_column(table: Source, section: FeaturesSection) -> str:
    named = [section.id] if isinstance(section.id, str) else section.id
    return next((name for name in named if name in table.held), None) or _column(table, named[0], "id")


def _column(table: Source, name: str | None, key: str) -> str:
    """The name of a column that is there; "" for none asked for."""
    if not name or name in table.held:
        return name or ""
    without = f", or do without: -S ingest.features.{key}=null" if key in ("label", "split") else ""
    raise ParamsError(
        f"{table.where}: nothing is called '{name}'; set ingest.features.{key} to one of: {table.told()}{without}"
    )


def _words(table: Source, name: str) -> list[str]:
    """A column as words, whole numbers by their digits; nothing for no name."""
    return [] if not name else [_word(cell, table.where, name) for cell in _cells(table, name)]


def _cells(table: Source, name: str) -> list[Any]:
    column = table.read(name)
    if isinstance(column, list):
        return column
    array = None if isinstance(column, Ragged) else np.asarray(column)
    if array is None or array.size != len(array):
        raise UserError(f"{table.where}: '{name}' has several values a row; it must have one")
    return list(array.ravel().tolist())


def _word(cell: Any, where: str, name: str) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # MATLAB has no other numbers
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    if isinstance(cell, str | int) and not isinstance(cell, bool):
        return str(cell).strip()
    raise UserError(f"{where}: '{name}' holds {type(cell).__name__}; it must hold text or whole numbers")


def _labels(table: Source, section: FeaturesSection) -> list[list[str]]:
    """The classes of each row, each once: a list of words as it is, text cut at the separator."""
    name = _column(table, section.label, "label")
    words = [cell if isinstance(cell, list) else [cell] for cell in _cells(table, name)]
    cut = [[part for cell in row for part in _cut(_word(cell, table.where, name), section.separator)] for row in words]
    return [list(dict.fromkeys(label for label in row if label)) for row in cut]


def _cut(word: str, separator: str | None) -> list[str]:
    return [part.strip() for part in word.split(separator)] if separator else [word]


def _split(where: str, word: str) -> str | None:
    if word.lower() in EMPTY:
        return None
    if word.lower() not in SPLITS:
        raise UserError(f"{where}: a row has split '{word}'; it must be train, val, dev, test or empty")
    return SPLITS[word.lower()]


def safe_ids(ids: list[str]) -> list[str]:
    """The ids; where some are paths that are absolute or lead upwards, all of them from their common folder on."""
    if not any(re.match(r"[\\/]|[A-Za-z]:[\\/]|\.\.?[\\/]", name) for name in ids) or not all(ids):
        return ids
    try:
        folder = os.path.commonpath([os.path.dirname(name) for name in ids])  # noqa: PTH120 - of another machine, perhaps
    except ValueError:
        return ids
    return [os.path.relpath(name, folder or ".") for name in ids]


# --- lists beside the features --------------------------------------------------------------------------------------


def read_lists(folder: Path, where: str, section: MatSection, counts: Sequence[int]) -> Rows:
    """The rows of published lists: a line `text id, image id, class number` a row, the split by the list's name.

    `counts` are the rows of each part of the features. UserError where a list has another number of lines."""
    categories = _lines(folder / section.categories, where)
    ids: list[str] = []
    labels: list[list[str]] = []
    splits: list[str | None] = []
    if len(section.lists) != len(counts):
        raise ParamsError(
            f"{where}: {len(section.lists)} lists in ingest.features.mat.lists for {len(counts)} parts; name one a part"
        )
    for name, count in zip(section.lists, counts, strict=True):
        lines = _lines(folder / name, where)
        if len(lines) != count:
            raise UserError(f"{where}: {count} rows of features and {len(lines)} lines in {name}; they belong together")
        found = [_listed(line, categories, f"{where}: {name} line {i}") for i, line in enumerate(lines, 1)]
        ids += [first for first, _ in found]
        labels += [[label] for _, label in found]
        splits += [split_of(name, where)] * count
    return Rows(ids, labels, [""] * len(ids), splits)


def _listed(line: str, categories: list[str], where: str) -> tuple[str, str]:
    fields = line.split()
    known = {str(number): name for number, name in enumerate(categories, start=1)}
    if len(fields) < 2 or fields[-1] not in known:
        raise UserError(f"{where} is '{line[:100]}'; it must be an id and, last, a class from 1 to {len(categories)}")
    return fields[0], known[fields[-1]]


def _lines(path: Path, where: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(f"{where}: {path.name} beside it cannot be read ({error.strerror}); put it there") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def split_of(name: str, where: str) -> str:
    """The split that a list's name begins with; ParamsError for one that begins with none."""
    beginning = next((own for own in SPLITS if Path(name).name.lower().startswith(own)), None)
    if beginning is None:
        raise ParamsError(f"{where}: the list '{name}' names no split; let its name begin with train, val or test")
    return SPLITS[beginning]


def with_split_lists(rows: Rows, lists: Sequence[Path], where: str) -> Rows:
    """The rows with the splits of lists: an id a line, the first word of it. Rows in no list have none.

    UserError for an id that is not among the rows, or that stands in two lists."""
    place = {name: row for row, name in enumerate(rows.ids)}
    splits: list[str | None] = [None] * len(rows.ids)
    for path in lists:
        split, own = split_of(path.name, where), [_first(line, place) for line in _lines(path, where)]
        if lost := [name for name in own if name not in place]:
            hint = nearest(lost[0], list(place)[:1000]) if len(place) else ""
            more = hint if hint.startswith("; did") else "; mend the list"
            raise UserError(
                f"{path.name}: {len(lost)} of {len(own)} ids are not in {where}, the first is '{lost[0]}'{more}"
            )
        twice = [name for name, count in Counter(own).items() if count > 1 or splits[place[name]]]
        if twice:
            raise UserError(
                f"{path.name}: {len(twice)} ids stand twice in the lists, the first is '{twice[0]}'; mend it"
            )
        for name in own:
            splits[place[name]] = split
    return Rows(rows.ids, rows.labels, rows.texts, splits)


def _first(line: str, known: dict[str, int]) -> str:
    """The id that a line names: the whole line, or its first field."""
    return line if line in known else re.split(r"[\s,;]", line)[0]
