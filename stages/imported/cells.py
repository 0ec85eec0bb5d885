"""Columns of words beside vectors: what stands in their rows, and which of them may be meant by a key."""

from __future__ import annotations

import math
import shlex
from typing import Any

import numpy as np

from cache.errors import ParamsError, UserError
from stages.imported.arrays import MOST, RAW, TOKENS, Ragged, Source
from stages.imported.params import FeaturesSection

SPLITS = {"train": "train", "val": "val", "dev": "val", "test": "test"}
EMPTY = ("", "none", "null", "nan")


def named(table: Source, section: FeaturesSection, name: str | None, key: str) -> str:
    """The name of a column that is there; "" for none asked for. ParamsError for one that is not there, with those that
    may be meant by the key."""
    if not name or name in table.held:
        return name or ""
    maybe = plausible(table, section, key)
    way = _nowhere(key)
    if maybe:
        way = f"; by what stands there it may be {' or '.join(maybe[:MOST])}: {flag(key, maybe[0])}"
    without = "" if key == "id" else f", or do without: -S ingest.features.{key}=null"
    raise ParamsError(f"{table.where}: nothing is called '{name}'{way}{without}")


def flag(key: str, value: str) -> str:
    """The flag that sets a key of ingest.features, as it is typed."""
    return f"-S {shlex.quote(f'ingest.features.{key}={value}')}"


def _nowhere(key: str) -> str:
    looks = {"id": "ids, a word or whole number each", "label": "classes", "split": "splits"}[key]
    return f", and nothing there looks like {looks}; name a table that has them: -S ingest.features.table=FILE"


def plausible(table: Source, section: FeaturesSection, key: str) -> list[str]:
    """The columns that might be meant by a key, by what stands in them: `id` all different, `split` those of SPLITS,
    `label` what comes again (half as many values as rows, or fewer). Vectors are not looked at."""
    known = {name + suffix for name in (section.image, section.text, section.names) for suffix in ("", RAW, TOKENS)}
    return [name for name in sorted({*table.held} - known - {section.caption}) if _looks(table, name, key)]


def _looks(table: Source, name: str, key: str) -> bool:
    try:
        found = [word for own in lists(table, name) for word in own] if key == "label" else words(table, name)
    except UserError:
        return False
    kinds = set(found)
    if key == "id":
        return len(kinds) == len(found)
    splits = {word.lower() for word in kinds} <= {*SPLITS, *EMPTY}
    return splits if key == "split" else not splits and 1 < len(kinds) <= len(found) / 2


def words(table: Source, name: str) -> list[str]:
    """A column as words, whole numbers by their digits."""
    return [_word(cell, table.where, name) for cell in _cells(table, name)]


def _cells(table: Source, name: str) -> list[Any]:
    column = table.read(name)
    if isinstance(column, list):
        return column
    if isinstance(column, Ragged) or math.prod(column.shape) != max(column.shape, default=0):  # (n,), (n, 1) or (1, n)
        raise UserError(f"{table.where}: '{name}' has several values a row; it must have one")
    return list(np.asarray(column).ravel().tolist())


def lists(table: Source, name: str) -> list[list[str]]:
    """A column whose cells are words or lists of words, or an array (n, T) of text, as lists of words; "" for an empty
    one."""
    column = table.read(name)
    rows = column.tolist() if _is_text(column) else _cells(table, name)
    cells = (cell if isinstance(cell, list) else [cell] for cell in rows)
    return [[_word(part, table.where, name) for part in cell or [None]] for cell in cells]


def _is_text(column: Any) -> bool:
    """Whether a column has several words a row, side by side."""
    return isinstance(column, np.ndarray) and column.dtype.kind in "US" and column.ndim == 2 and min(column.shape) > 1


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
