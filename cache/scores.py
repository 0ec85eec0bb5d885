"""Scores, queries and training curves: one row a figure, no cell without a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from cache.errors import DamagedError, UserError, counted
from cache.files import read_about, read_table, write_table
from cache.store import shown

FORMAT = "1"
_METHOD = [
    ("dataset", pa.string()),
    ("encoder", pa.string()),
    ("features", pa.string()),
    ("method", pa.string()),
    ("variant", pa.string()),
    ("access", pa.string()),
    ("names", pa.bool_()),
]
_DRAW = [("protocol", pa.string()), ("half", pa.int32()), ("shots", pa.int32()), ("seed", pa.int32())]
_RANKED = [("gallery", pa.string()), ("direction", pa.string())]

SCORES = pa.schema([*_METHOD, *_DRAW, *_RANKED, ("metric", pa.string()), ("value", pa.float64())])
"""One row a figure, a fraction; `features` is the image cache's key; `seed` and `half` are 0 where none matters."""

QUERIES = pa.schema(
    [*_METHOD, *_DRAW, *_RANKED, ("query", pa.string()), ("ap", pa.float64()), ("top10", pa.list_(pa.string()))]
)
"""One row a query: its average precision, and the ids of the ten first in the gallery."""

HISTORY = pa.schema(
    [
        ("method", pa.string()),
        ("variant", pa.string()),
        *_DRAW[1:],
        ("step", pa.int32()),
        ("name", pa.string()),
        ("value", pa.float64()),
    ]
)
"""One row a point of a training curve."""

Rows: TypeAlias = Sequence[Mapping[str, Any]] | pa.Table


def write_scores(path: Path, rows: Rows, made_from: str) -> None:
    """Write scores whole; UserError for a null, a value that is no finite number, or a figure that stands twice."""
    _write(path, rows, SCORES, made_from, unique=SCORES.names[:-1])


def read_scores(path: Path) -> pa.Table:
    """The scores, in the order written; MissingError or DamagedError."""
    return _read(path, SCORES)


def write_queries(path: Path, rows: Rows, made_from: str) -> None:
    """Write queries whole; UserError for a null, an ap that is no finite number, or a query that stands twice."""
    _write(path, rows, QUERIES, made_from, unique=QUERIES.names[:-2])


def read_queries(path: Path) -> pa.Table:
    """The queries, in the order written; MissingError or DamagedError."""
    return _read(path, QUERIES)


def write_history(path: Path, rows: Rows, made_from: str) -> None:
    """Write training curves whole; UserError for a null, a value not finite, or a point that stands twice."""
    _write(path, rows, HISTORY, made_from, unique=HISTORY.names[:-1])


def read_history(path: Path) -> pa.Table:
    """The training curves, in the order written; MissingError or DamagedError."""
    return _read(path, HISTORY)


def _write(path: Path, rows: Rows, schema: pa.Schema, made_from: str, unique: list[str]) -> None:
    table = _table(rows, schema)
    _refuse_gaps(path, table)
    _refuse_twins(path, table, unique)
    write_table(path, table, {"made_from": made_from, "format": FORMAT})


def _table(rows: Rows, schema: pa.Schema) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows.select(schema.names).cast(schema)
    if strange := {name for row in rows for name in row.keys() ^ set(schema.names)}:
        raise ValueError(f"a row lacks, or should not have, the column '{min(strange)}'")
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def _refuse_gaps(path: Path, table: pa.Table) -> None:
    for field in table.schema:
        column = table[field.name]
        gaps = pc.is_null(column)
        if pa.types.is_floating(field.type):
            gaps = pc.or_(gaps, pc.invert(pc.fill_null(pc.is_finite(column), False)))
        if count := pc.sum(gaps).as_py():
            first = table.filter(gaps).slice(0, 1).to_pylist()[0]
            many = counted(count, "row has", "rows have")
            raise UserError(f"{shown(path)}: {many} no usable '{field.name}', the first is {_told(first)}")


def _refuse_twins(path: Path, table: pa.Table, unique: list[str]) -> None:
    counts = table.group_by(unique).aggregate([([], "count_all")])
    twins = counts.filter(pc.greater(counts["count_all"], 1))
    if twins.num_rows:
        first = twins.drop_columns(["count_all"]).slice(0, 1).to_pylist()[0]
        many = counted(twins.num_rows, "figure stands", "figures stand")
        raise UserError(f"{shown(path)}: {many} more than once, the first is {_told(first)}")


def _told(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in row.items())


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    about = read_about(path)
    table = read_table(path)
    if about.get("format") != FORMAT or table.column_names != schema.names:
        raise DamagedError(f"{shown(path)}: not of format {FORMAT}; delete it and run the command that makes it")
    return table
