"""A user's CSV, TSV or Parquet file as columns, with every complaint on one line."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import UsageError, UserError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
PARQUET = {".parquet", ".pq"}

Columns = dict[str, list[Any]]


def read_columns(path: Path, where: str) -> Columns:
    """All columns of a file: strings from CSV and TSV, what the schema says from Parquet; `where` names it."""
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        return parse_delimited(path.read_bytes(), DELIMITERS[suffix], where)
    if suffix in PARQUET:
        return _read_parquet(path, where)
    raise UsageError(f"{where}: a table is a .csv, .tsv or .parquet file, or a folder of class folders; rename it")


def parse_delimited(data: bytes, delimiter: str, where: str) -> Columns:
    """The columns of a CSV or TSV file, UTF-8 with or without a byte order mark, quoted as RFC 4180 says."""
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise UserError(f"{where}: line {line} holds a NUL byte; save the table as UTF-8 text (UTF-16 has such bytes)")
    rows = _rows(_decoded(data, where), delimiter, where)
    if not rows:
        raise UserError(f"{where}: the file is empty; its first line must name the columns")
    names = [name.strip() for name in rows[0][1]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{where}: column '{twice[0]}' is there twice; rename one of them")
    _check_lengths(rows, where)
    return {name: [fields[i] for _, fields in rows[1:]] for i, name in enumerate(names)}


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{where}: line {line} is not UTF-8; save the table as UTF-8 text") from error


def _rows(text: str, delimiter: str, where: str) -> list[tuple[int, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # an article is longer than csv's 128 KiB
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise UserError(f"{where}: line {reader.line_num}: {error}; close or double the quotes there") from error


def _check_lengths(rows: list[tuple[int, list[str]]], where: str) -> None:
    width = len(rows[0][1])
    for line, fields in rows:
        if len(fields) != width:
            raise UserError(
                f"{where}: line {line} has {len(fields)} fields, the first line {width}; "
                "put fields that hold the delimiter in quotes"
            )


def _read_parquet(path: Path, where: str) -> Columns:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{where}: cannot be read as Parquet ({str(error).splitlines()[0]}); write it again") from error
    return {name: table.column(i).to_pylist() for i, name in enumerate(table.column_names)}
