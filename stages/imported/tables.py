"""A table beside imported features: a CSV, TSV or Parquet file with a row a pair, in the order of the vectors."""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path

from cache.errors import MissingError, UsageError, UserError
from stages.imported.arrays import Source, plainly
from stages.imported.formats import FORMATS

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


def open_table(path: Path, where: str) -> Source:
    """The columns of a table by name."""
    if not path.is_file():
        raise MissingError(f"{where}: missing; set ingest.features.table to the table of the rows, or to null")
    with plainly(where):
        suffix = path.suffix.lower()
        if suffix in DELIMITERS:
            return _delimited(path.read_bytes().decode("utf-8-sig"), DELIMITERS[suffix], where)
        if suffix in (".parquet", ".pq"):
            return FORMATS[suffix](path, where)
    raise UsageError(f"{where}: a table is a .csv, .tsv or .parquet file; rename it")


def _delimited(text: str, delimiter: str, where: str) -> Source:
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(rows[0])), None)
    if not rows or wrong is not None:
        raise UserError(f"{where}: row {(wrong or 0) + 1} has another number of fields than the first; mend it")
    columns = {name.strip(): [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}
    return Source(where, {name: partial(list, column) for name, column in columns.items()})
