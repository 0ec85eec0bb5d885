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
from stages.columns import BLOCK, Columns, column_names, read_blocks, read_columns
from tests.stages.ingest.given import write

NUL = "holds a NUL byte, as files that are no text or UTF-16 do; save the table as UTF-8 text"
CELL = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def read_bytes(folder: Path, data: bytes, suffix: str = "csv") -> Columns:
    return read_columns(write(folder / f"x.{suffix}", data), f"x.{suffix}")


@given(st.lists(st.tuples(CELL, CELL), max_size=8), st.sampled_from([",", "\t"]), st.booleans())
def test_what_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str, mark: bool
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    data = (b"\xef\xbb\xbf" if mark else b"") + buffer.getvalue().encode()
    read = read_bytes(tmp_path_factory.mktemp("given"), data, {",": "csv", "\t": "tsv"}[delimiter])
    assert list(read) == ["a", "b"]
    assert list(zip(read["a"], read["b"], strict=True)) == rows


def test_an_article_longer_than_a_csv_field_may_be_is_read(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"a,b\n1," + b"x" * 200_000)["b"] == ["x" * 200_000]


def test_numbers_stay_what_was_written_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"id,n\r\n\r\n007,1e3\r\n") == {"id": ["007"], "n": ["1e3"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n1,\x00\n", f"x.csv: line 2 {NUL}"),
        ("a,b\n1,2\n".encode("utf-16-le"), f"x.csv: line 1 {NUL}"),
        ("a,b\n1,2\n".encode("utf-16"), "x.csv: is UTF-16; save the table as UTF-8 text, or name another file"),
        (
            b"PK\x03\x04x",
            "x.csv: is a spreadsheet or a zip archive; save the table as UTF-8 text, or name another file",
        ),
        (b"\x1f\x8bx", "x.csv: is gzipped; save the table as UTF-8 text, or name another file"),
        (b"\xff\xd8\xff\xe0", "x.csv: is a picture; save the table as UTF-8 text, or name another file"),
        (
            b"a;b\n1;2,3\n",
            "x.csv: the first line has no commas and semicolons instead; save it with commas between the fields",
        ),
        (
            b"a\tb\n1\t2\n",
            "x.csv: the first line has no commas and tabs instead; call it .tsv, or save it with commas between the "
            "fields",
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
def test_a_bad_file_is_one_line_that_names_the_place(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_bytes(tmp_path, data)
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
        "x.xlsx: is a spreadsheet, and a table is a .csv, .tsv, .jsonl or .parquet file; save it as CSV and name that "
        "file"
    )
    with pytest.raises(UserError, match=r"^x.txt: a table is a .csv, .* or a folder of class folders; rename it$"):
        read_columns(write(tmp_path / "x.txt", "a,b"), "x.txt")


@pytest.mark.parametrize("data", [b"", b"PAR1 and no more", b"PAR1" * 5])
def test_a_broken_parquet_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError, match=r"^x.parquet: cannot be read as Parquet \(.*\); write it again$") as error:
        read_columns(write(tmp_path / "x.parquet", data), "x.parquet")
    assert "\n" not in str(error.value)


def test_json_lines_are_columns_by_their_keys(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"id": 7, "text": ["a", "b"]}\n\n{"text": "c\\u00e9", "label": null}\r\n'
    columns = {"id": [7, None], "text": [["a", "b"], "c\u00e9"], "label": [None, None]}
    assert read_bytes(tmp_path, data, "jsonl") == columns
    assert read_bytes(tmp_path, data, "ndjson") == columns


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": 1', "is not JSON (character 10: Expecting ',' delimiter); mend it"),
        (b"id,text", "is not JSON (character 1: Expecting value); mend it"),
        (b"[1, 2]", "holds no object; write one {...} a line, with the columns as its keys"),
        (b'"id"', "holds no object; write one {...} a line, with the columns as its keys"),
        (b'{"id": "\\ud83d"}', "holds half a character (\\ud800 to \\udfff); write it whole"),
        (b'{"id": "\0"}', NUL),
        (b'{"id": "a\\u0000"}', "holds a NUL (\\u0000); take it out"),
        (b'{"text": ["a", ["\\u0000"]]}', "holds a NUL (\\u0000); take it out"),
        (b'{"\\u0000": 1}', "holds a NUL (\\u0000); take it out"),
        (b'{"id": "\xe9"}', "is not UTF-8; save the table as UTF-8 text"),
    ],
)
def test_a_bad_line_of_json_names_its_number(tmp_path: Path, line: bytes, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_bytes(tmp_path, b'{"id": 1}\n\n' + line + b"\n", "jsonl")
    assert str(error.value) == f"x.jsonl: line 3 {message}"


def test_what_only_looks_like_a_nul_is_text(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b'{"id": "\\\\u0000"}\n', "jsonl") == {"id": ["\\u0000"]}


def test_a_tsv_with_commas_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^x.tsv: the first line has no tabs and commas instead; call it .csv, or save"
    ):
        read_bytes(tmp_path, b"a,b\n1,2\n", "tsv")


def test_one_column_has_no_separator_to_miss(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"image\na;b.jpg\n") == {"image": ["a;b.jpg"]}


def test_a_folder_and_a_file_without_a_line_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(UserError, match=r"^x.csv: is a folder; name the table's file$"):
        read_columns(tmp_path / "x.csv", "x.csv")
    with pytest.raises(
        UserError, match=r"^x.jsonl: the file is empty; write one \{...\} a line, with the columns as its"
    ):
        read_bytes(tmp_path, b"\n \n", "jsonl")


def test_json_nested_without_end_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^x.jsonl: line 1 is not JSON that can be read \(.*\); mend it$"):
        read_bytes(tmp_path, b"[" * 100_000, "jsonl")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_long_file_comes_in_blocks_and_only_what_is_asked_for(tmp_path: Path, suffix: str) -> None:
    rows = [(f"{number}", "x" * (number % 3)) for number in range(2 * BLOCK + 5)]
    path = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        pq.write_table(
            pa.table({"id": [row[0] for row in rows], "text": [row[1] for row in rows], "n": range(len(rows))}), path
        )
    elif suffix == "jsonl":
        write(path, "".join(f'{{"id": "{one}", "n": 7, "text": "{text}"}}\n' for one, text in rows))
    else:
        between = {"csv": ",", "tsv": "\t"}[suffix]
        write(path, "".join(f"{one}{between}7{between}{text}\n" for one, text in [("id", "text"), *rows]))
    assert sorted(column_names(path, "x")) in (["7", "id", "text"], ["id", "n", "text"])
    blocks = list(read_blocks(path, "x", ["text", "id"]))
    assert [len(block["id"]) for block in blocks] == [BLOCK, BLOCK, 5]
    assert [row for block in blocks for row in zip(block["id"], block["text"], strict=True)] == rows
    assert {tuple(block) for block in blocks} == {("text", "id")}


def test_a_column_name_in_quotes_may_hold_the_separator(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b'id,"a, b"\n1,"x, y"\n') == {"id": ["1"], "a, b": ["x, y"]}
