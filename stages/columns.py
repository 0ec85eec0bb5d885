"""A user's CSV, TSV, JSON lines or Parquet file as columns, in blocks of rows, with every complaint on one line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import UsageError, UserError, one_line

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
SPREADSHEETS = {".xlsx", ".xls", ".xlsm", ".ods", ".numbers"}
JSON_LINES = {".jsonl", ".ndjson"}
PARQUET = {".parquet", ".pq"}
TABLES = {*DELIMITERS, *JSON_LINES, *PARQUET}  # the suffixes of files that are read here
BLOCK = 8192  # rows in memory at a time

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
MARKS = {  # what files begin with that people take for text
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a spreadsheet or a zip archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"\x1f\x8b": "gzipped",
    b"PAR1": "a Parquet file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
LONGEST_MARK = max(map(len, MARKS))

Columns = dict[str, list[Any]]


def column_names(path: Path, where: str) -> list[str]:
    """What the columns of a file are called; `where` names it in messages.

    Of a text file every byte is looked at: UserError names the line of one that is not UTF-8, and of a NUL. The columns
    of JSON lines are the keys of all objects, in the order in which they first stand there.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        raise UserError(f"{where}: is a folder; name the table's file")
    if suffix in DELIMITERS:
        _check_text(path, where)
        return _header(path, DELIMITERS[suffix], where)
    if suffix in JSON_LINES:
        _check_text(path, where)
        names = list(dict.fromkeys(key for row in _objects(path, where) for key in row))
        if not names:
            raise UserError(f"{where}: the file is empty; write one {{...}} a line, with the columns as its keys")
        return names
    if suffix in PARQUET:
        with _parquet(path, where) as file:
            return list(file.schema_arrow.names)
    if suffix in SPREADSHEETS:
        raise UsageError(
            f"{where}: is a spreadsheet, and a table is a .csv, .tsv, .jsonl or .parquet file; save it as CSV and name "
            "that file"
        )
    raise UsageError(
        f"{where}: a table is a .csv, .tsv, .jsonl or .parquet file, or a folder of class folders; rename it"
    )


def read_blocks(path: Path, where: str, names: Sequence[str]) -> Iterator[Columns]:
    """These columns of a file that column_names has seen, some thousand rows at a time: strings from CSV and TSV, from
    JSON lines and Parquet what stands there; a key that an object of JSON lines lacks is None."""
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        return _delimited_blocks(path, DELIMITERS[suffix], where, names)
    return (_json_blocks if suffix in JSON_LINES else _parquet_blocks)(path, where, names)


def read_columns(path: Path, where: str) -> Columns:
    """All columns of a file, whole."""
    names = column_names(path, where)
    columns: Columns = {name: [] for name in names}
    for block in read_blocks(path, where, names):
        for name, values in block.items():
            columns[name] += values
    return columns


# --- text -------------------------------------------------------------------------------------------------------------


def _check_text(path: Path, where: str) -> None:
    """UserError where the file begins as one that is no UTF-8 text does, a line holds a NUL byte or is not UTF-8."""
    with path.open("rb") as file:
        first = file.read(LONGEST_MARK)
        kind = next((kind for mark, kind in MARKS.items() if first.startswith(mark)), None)
        if kind:
            raise UserError(f"{where}: is {kind}; save the table as UTF-8 text, or name another file")
        file.seek(0)
        for number, line in enumerate(file, start=1):
            if b"\0" in line:
                raise UserError(
                    f"{where}: line {number} holds a NUL byte, as files that are no text or UTF-16 do; save the table "
                    "as UTF-8 text"
                )
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise UserError(f"{where}: line {number} is not UTF-8; save the table as UTF-8 text") from error


# --- CSV and TSV ------------------------------------------------------------------------------------------------------


def _rows(path: Path, delimiter: str, where: str) -> Iterator[list[str]]:
    """The rows, all as long as the first, quoted as RFC 4180 says; blank lines do not count."""
    csv.field_size_limit(max(csv.field_size_limit(), path.stat().st_size))  # an article is longer than csv's 128 KiB
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        width = 0
        try:
            for fields in reader:
                if len(fields) != width and fields:
                    width = width or len(fields)
                    _check_length(reader.line_num, fields, width, where)
                if fields:
                    yield fields
        except csv.Error as error:
            raise UserError(f"{where}: line {reader.line_num}: {error}; close or double the quotes there") from error


def _check_length(line: int, fields: list[str], width: int, where: str) -> None:
    if len(fields) != width:
        raise UserError(
            f"{where}: line {line} has {len(fields)} fields, the first line {width}; "
            "put fields that hold the delimiter in quotes"
        )


def _header(path: Path, delimiter: str, where: str) -> list[str]:
    fields = next(_rows(path, delimiter, where), None)
    if fields is None:
        raise UserError(f"{where}: the file is empty; its first line must name the columns")
    names = [name.strip() for name in fields]
    _check_separator(names, delimiter, where)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{where}: column '{twice[0]}' is there twice; rename one of them")
    return names


def _check_separator(names: list[str], delimiter: str, where: str) -> None:
    """UserError where the first line is one field, which another separator would cut."""
    seen = [other for other in SEPARATORS if other in names[0]] if len(names) == 1 else []
    if seen:
        suffixes = [suffix for suffix, own in DELIMITERS.items() if own == seen[0]]
        rename = f"call it {suffixes[0]}, or " if suffixes else ""
        raise UserError(
            f"{where}: the first line has no {SEPARATORS[delimiter]} and {SEPARATORS[seen[0]]} instead; {rename}save "
            f"it with {SEPARATORS[delimiter]} between the fields"
        )


def _delimited_blocks(path: Path, delimiter: str, where: str, names: Sequence[str]) -> Iterator[Columns]:
    rows = _rows(path, delimiter, where)
    header = [name.strip() for name in next(rows)]
    while block := list(islice(rows, BLOCK)):
        columns = list(zip(*block, strict=True))
        yield {name: list(columns[header.index(name)]) for name in names}


# --- JSON lines -------------------------------------------------------------------------------------------------------


def _objects(path: Path, where: str) -> Iterator[dict[str, Any]]:
    """The objects, one a line; blank lines do not count, nor does a byte order mark."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _object(line, f"{where}: line {number}")


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
        if b"\\u" in line:
            json.dumps(found, ensure_ascii=False).encode()
        if b"\\u0000" in line and _holds_nul(found):
            raise UserError(f"{where} holds a NUL (\\u0000); take it out")
    except UnicodeEncodeError as error:
        raise UserError(f"{where} holds half a character (\\ud800 to \\udfff); write it whole") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON (character {error.pos + 1}: {error.msg}); mend it") from error
    except (ValueError, RecursionError) as error:  # a number, or a nesting, without end
        raise UserError(f"{where} is not JSON that can be read ({one_line(error)[:100]}); mend it") from error
    if not isinstance(found, dict):
        raise UserError(f"{where} holds no object; write one {{...}} a line, with the columns as its keys")
    return found


def _holds_nul(value: Any) -> bool:
    """Whether there is a NUL in any text of a value, or in a key."""
    if isinstance(value, dict):
        return any(map(_holds_nul, chain(value, value.values())))
    return any(map(_holds_nul, value)) if isinstance(value, list) else isinstance(value, str) and "\0" in value


def _json_blocks(path: Path, where: str, names: Sequence[str]) -> Iterator[Columns]:
    objects = _objects(path, where)
    while block := list(islice(objects, BLOCK)):
        yield {name: [row.get(name) for row in block] for name in names}


# --- Parquet ----------------------------------------------------------------------------------------------------------


def _parquet(path: Path, where: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(where, error) from error


def _parquet_blocks(path: Path, where: str, names: Sequence[str]) -> Iterator[Columns]:
    with _parquet(path, where) as file:
        batches = file.iter_batches(BLOCK, columns=list(names))
        try:
            for batch in batches:
                yield {name: batch.column(name).to_pylist() for name in names}
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(where, error) from error


def _unreadable(where: str, error: Exception) -> UserError:
    return UserError(f"{where}: cannot be read as Parquet ({str(error).splitlines()[0]}); write it again")
