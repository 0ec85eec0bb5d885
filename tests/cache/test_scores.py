"""Scores: one row a figure, every cell filled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cache import scores
from cache.errors import DamagedError, MissingError, UserError
from cache.files import read_about, write_table
from cache.scores import HISTORY, QUERIES, SCORES

GOLDEN = Path(__file__).parent / "golden" / "scores.parquet"
METHOD: dict[str, Any] = {
    "dataset": "tiny",
    "encoder": "lite0-minilm@heads",
    "features": "0" * 32,
    "method": "gcrdp",
    "variant": "default",
    "access": "inductive",
    "names": False,
}
DRAW: dict[str, Any] = {"protocol": "parity", "half": 0, "shots": 5, "seed": 1}
SCORE = {**METHOD, **DRAW, "gallery": "target", "direction": "i2t", "metric": "mAP", "value": 0.7556}
QUERY = {**METHOD, **DRAW, "gallery": "all", "direction": "t2i", "query": "a", "ap": 0.5, "top10": ["b", "a"]}
POINT = {
    "method": "gap",
    "variant": "default",
    "half": 0,
    "shots": 1,
    "seed": 2,
    "step": 3,
    "name": "loss",
    "value": 1.5,
}
Write = Callable[[Path, Any, str], None]
TABLES: list[tuple[Write, Callable[[Path], pa.Table], dict[str, Any], pa.Schema]] = [
    (scores.write_scores, scores.read_scores, SCORE, SCORES),
    (scores.write_queries, scores.read_queries, QUERY, QUERIES),
    (scores.write_history, scores.read_history, POINT, HISTORY),
]


@pytest.mark.parametrize(("write", "read", "row", "schema"), TABLES)
def test_rows_come_back_as_written_from_dicts_and_from_a_table(
    tmp_path: Path, write: Write, read: Callable[[Path], pa.Table], row: dict[str, Any], schema: pa.Schema
) -> None:
    rows = [row, {**row, "seed": 7}]
    write(tmp_path / "s", rows, "made")
    assert read(tmp_path / "s").to_pylist() == rows
    assert read(tmp_path / "s").schema.equals(schema)
    assert read_about(tmp_path / "s")["made_from"] == "made"
    write(tmp_path / "t", read(tmp_path / "s").select(schema.names[::-1]), "made")
    assert (tmp_path / "s").read_bytes() == (tmp_path / "t").read_bytes()
    write(tmp_path / "u", [], "made")
    assert read(tmp_path / "u").schema.equals(schema)


@pytest.mark.parametrize(("write", "row", "schema"), [(w, r, s) for w, _, r, s in TABLES])
def test_no_cell_is_null(tmp_path: Path, write: Write, row: dict[str, Any], schema: pa.Schema) -> None:
    for name in schema.names:
        with pytest.raises(UserError, match=f"s: 1 row has no usable '{name}', the first is "):
            write(tmp_path / "s", [row, {**row, "seed": 7, name: None}], "made")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_finite_number_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(UserError, match=r"1 row has no usable 'value', the first is dataset=tiny, .*, seed=1, .*"):
        scores.write_scores(tmp_path / "s", [{**SCORE, "value": value}], "made")
    with pytest.raises(UserError, match="no usable 'ap'"):
        scores.write_queries(tmp_path / "s", [{**QUERY, "ap": value}], "made")


def test_a_figure_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 figure stands more than once, the first is dataset=tiny, .*, metric=mAP$"):
        scores.write_scores(tmp_path / "s", [SCORE, {**SCORE, "value": 0.1}], "made")


@pytest.mark.parametrize("changed", [{"extra": 1}, {"value": ...}])
def test_a_row_with_other_columns_is_our_own_mistake(tmp_path: Path, changed: dict[str, Any]) -> None:
    row = {name: value for name, value in {**SCORE, **changed}.items() if value is not ...}
    with pytest.raises(ValueError, match="a row lacks, or should not have, the column"):
        scores.write_scores(tmp_path / "s", [row], "made")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="s: no such file"):
        scores.read_scores(tmp_path / "s")
    scores.write_history(tmp_path / "s", [POINT], "made")
    with pytest.raises(DamagedError, match="s: not of format 1; delete it and run the command that makes it"):
        scores.read_scores(tmp_path / "s")
    write_table(tmp_path / "s", pa.Table.from_pylist([SCORE], schema=SCORES), {})
    with pytest.raises(DamagedError, match="s: not of format 1"):
        scores.read_scores(tmp_path / "s")


def test_a_row_of_scores_written_long_ago_is_still_read() -> None:
    assert scores.read_scores(GOLDEN).to_pylist() == [SCORE]
    assert read_about(GOLDEN) == {"made_from": "made", "format": "1"}
