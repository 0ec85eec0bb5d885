"""A user's file as columns."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from stages.ingest.columns import parse_delimited, read_columns
from tests.stages.ingest.given import write

CELL = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(CELL, CELL), max_size=8), st.sampled_from([",", "\t"]), st.booleans())
def test_what_csv_writes_is_read_back(rows: list[tuple[str, str]], delimiter: str, mark: bool) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    data = (b"\xef\xbb\xbf" if mark else b"") + buffer.getvalue().encode()
    read = parse_delimited(data, delimiter, "x")
    assert list(read) == ["a", "b"]
    assert list(zip(read["a"], read["b"], strict=True)) == rows


def test_an_article_longer_than_a_csv_field_may_be_is_read() -> None:
    assert parse_delimited(b"a,b\n1," + b"x" * 200_000, ",", "x")["b"] == ["x" * 200_000]


def test_numbers_stay_what_was_written_and_blank_lines_do_not_count() -> None:
    assert parse_delimited(b"id,n\r\n\r\n007,1e3\r\n", ",", "x") == {"id": ["007"], "n": ["1e3"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n1,\x00\n", "x.csv: line 2 holds a NUL byte; save the table as UTF-8 text (UTF-16 has such bytes)"),
        (
            "a,b\n1,2\n".encode("utf-16"),
            "x.csv: line 1 holds a NUL byte; save the table as UTF-8 text (UTF-16 has such bytes)",
        ),
        (b"a,b\n1,caf\xe9\n", "x.csv: line 2 is not UTF-8; save the table as UTF-8 text"),
        (b"", "x.csv: the file is empty; its first line must name the columns"),
        (b"a,b,a\n", "x.csv: column 'a' is there twice; rename one of them"),
        (
            b"a,b\n1,2\n3,4,5\n",
            "x.csv: line 3 has 3 fields, the first line 2; put fields that hold the delimiter in quotes",
        ),
        (b'a,b\n1,"2\n', "x.csv: line 2: unexpected end of data; close or double the quotes there"),
        (b'a,b\n1,"2"3\n', "x.csv: line 2: ',' expected after '\"'; close or double the quotes there"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_place(data: bytes, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_delimited(data, ",", "x.csv")
    assert str(error.value) == message


def test_the_suffix_says_how_to_read(tmp_path: Path) -> None:
    table = pa.table({"a": ["1"], "b": [["x", "y"]]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert read_columns(write(tmp_path / "x.CSV", "a,b\n1,2"), "x") == {"a": ["1"], "b": ["2"]}
    assert read_columns(write(tmp_path / "x.tsv", "a\tb\n1,\t2"), "x") == {"a": ["1,"], "b": ["2"]}
    assert read_columns(tmp_path / "x.parquet", "x") == {"a": ["1"], "b": [["x", "y"]]}


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_columns(write(tmp_path / "x.xlsx", "PK"), "x.xlsx")
    assert str(error.value) == (
        "x.xlsx: a table is a .csv, .tsv or .parquet file, or a folder of class folders; rename it"
    )


@pytest.mark.parametrize("data", [b"", b"PAR1 and no more", b"PAR1" * 5])
def test_a_broken_parquet_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError, match=r"^x.parquet: cannot be read as Parquet \(.*\); write it again$") as error:
        read_columns(write(tmp_path / "x.parquet", data), "x.parquet")
    assert "\n" not in str(error.value)
