"""docs/format.md is what is on the disk: read by its own code, and compared table by table."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from cache import shards
from cache.episodes import SCHEMA as EPISODES
from cache.features import PART_NAME, FeatureCache, RowKind, finish, write_part
from cache.files import canonical, digest_bytes
from cache.manifest import SCHEMA as MANIFEST
from cache.mixtures import write_mixture
from cache.scores import HISTORY, QUERIES, SCORES
from cache.store import Ledger, LedgerKey, write_ledger
from tests.cache.build import begin_features, features_folder, small_part, write_features
from tests.cache.test_heads import ABOUT, TENSORS, write_head
from tests.cache.test_mixtures import small_mixture

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
TICKED = re.compile(r"`([^`]+)`")


def section(title: str) -> str:
    """The text under a heading of the page."""
    (text,) = re.findall(rf"^##+ {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return str(text)


def table(text: str, header: str) -> dict[str, list[str]]:
    """A table of the page by its first column, each name of which stands in ticks."""
    (body,) = re.findall(rf"^\| {header} \|[^\n]*\n\|[- |]+\|\n((?:\|[^\n]*\n)+)", text, re.M)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]
    return {name: cells for first, *cells in rows for name in TICKED.findall(first) or [first]}


KINDS: tuple[RowKind, ...] = ("image", "text", "name")
ALL_KINDS = pytest.mark.parametrize("rows", KINDS)
KEPT = pytest.mark.parametrize("tokens", ["float16", "float32", None])
SIZES = pytest.mark.parametrize("sizes", [(4, 3), (0, 3), (0,)], ids=str)


def made(store: Path, rows: RowKind, tokens: str | None, sizes: tuple[int, ...] = (4, 3)) -> Path:
    """A whole cache with parts of so many rows, its tokens in a dtype, or none kept."""
    folder = features_folder(store, rows)
    begin_features(folder, rows, len(sizes))
    for i, n in enumerate(sizes):
        part = small_part(rows, i, n, tokens is not None)
        if part.tokens is not None:
            part = replace(part, tokens=part.tokens.astype(tokens))
        finished = shards.temporary(folder)
        write_part(finished, part)
        shards.record(folder, finished, PART_NAME(i), n)
    finish(folder)
    return folder


@ALL_KINDS
@KEPT
@SIZES
def test_a_cache_is_read_by_the_code_of_the_page_with_h5py_pyarrow_and_numpy_alone(
    tmp_path: Path, rows: RowKind, tokens: str | None, sizes: tuple[int, ...]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert set(re.findall(r"^(?:import|from) (\w+)", code, re.M)) == {"json", "pathlib", "h5py", "numpy", "pyarrow"}
    folder = made(tmp_path, rows, tokens, sizes)
    names: dict[str, Any] = {}
    exec(code, names)
    about, index, read = names["read_cache"](folder)
    opened = FeatureCache.open(folder)
    assert about == opened.about
    assert index == opened.index.to_pylist()
    assert [item for item, _, _ in read] == opened.ids
    assert len(read) == sum(sizes)
    for i, (_, pooled, own) in enumerate(read):
        np.testing.assert_array_equal(pooled, opened.pooled()[i], strict=True)
        if tokens is None:
            assert own is None
        else:
            np.testing.assert_array_equal(own, opened.tokens([i])[0], strict=True)
            assert own.dtype == tokens


@pytest.mark.parametrize("rows", ["image", "text"])
def test_plain_reads_at_the_offsets_give_the_values_in_the_types_of_the_page(tmp_path: Path, rows: RowKind) -> None:
    """As a reader in another language would: a place, a number of bytes, little-endian, the last axis fastest."""
    folder = features_folder(tmp_path, rows)
    write_features(folder, rows)
    codes = {"float16": "e", "float32": "f", "int32": "i", "int64": "q", "bool": "?"}
    raw = (folder / "part-00000.h5").read_bytes()
    with h5py.File(folder / "part-00000.h5") as file:
        for data in file.values():
            start, size = data.id.get_offset(), data.size * data.dtype.itemsize
            if text := h5py.check_string_dtype(data.dtype):
                pieces = [raw[start + i * text.length :][: text.length].rstrip(b"\0") for i in range(len(data))]
                assert (text.encoding, pieces) == ("utf-8", data[()].tolist())
                assert data.id.get_type().get_strpad() == h5py.h5t.STR_NULLPAD
                continue
            values = struct.unpack(f"<{data.size}{codes[data.dtype.name]}", raw[start : start + size])
            assert list(values) == data[()].ravel().tolist()


def test_a_bool_is_an_enumeration_of_a_byte(tmp_path: Path) -> None:
    folder = features_folder(tmp_path, "image")
    write_features(folder, "image")
    with h5py.File(folder / "part-00000.h5") as file:
        kind = file["truncated"].id.get_type()
    assert (kind.get_size(), kind.enum_valueof(b"FALSE"), kind.enum_valueof(b"TRUE")) == (1, 0, 1)


def test_the_index_has_the_types_and_the_parts_of_the_page(tmp_path: Path) -> None:
    folder = features_folder(tmp_path, "image")
    write_features(folder, "image")
    file = pq.ParquetFile(folder / "index.parquet")
    types = {field.name: str(field.type) for field in file.schema_arrow}
    numbers = dict.fromkeys(["part", "row", "caption", "n_tokens"], "int32")
    assert types == {**numbers, "truncated": "bool", "id": "string"}
    assert {file.metadata.row_group(0).column(i).compression for i in range(len(types))} == {"ZSTD"}


def fits(shape: tuple[int, ...], form: str, known: dict[str, int]) -> dict[str, int] | None:
    """The lengths that the letters of a form such as `n+1,` have if a shape has it; None if it does not."""
    axes = [axis.strip() for axis in form.split(",") if axis.strip()]
    if len(axes) != len(shape):
        return None
    found = dict(known)
    for axis, length in zip(axes, shape, strict=True):
        letter, _, more = axis.partition("+")
        if found.setdefault(letter, length - int(more or 0)) != length - int(more or 0):
            return None
    return found


def compare(path: Path, promised: dict[str, list[str]], absent: set[str], known: dict[str, int]) -> dict[str, int]:
    """Hold every dataset of a file against the table; the lengths of the letters, which are one in all datasets."""
    with h5py.File(path) as file:
        assert set(file) == set(promised) - absent
        for name, data in file.items():
            shape, dtype = promised[name][:2]
            stored = "string" if h5py.check_string_dtype(data.dtype) else data.dtype.name
            assert stored in dtype.replace(",", " ").split()
            forms = [fits(data.shape, form, known) for form in re.findall(r"\(([^)]*)\)", shape)]
            found = next((form for form in forms if form is not None), None)
            assert found is not None, f"{name} {data.shape} is not {shape} where {known}"
            known = found
            assert data.size == 0 or data.id.get_offset() % 64 == 0
    return known


def test_a_letter_has_one_length_in_all_shapes() -> None:
    assert fits((4, 2, 3), "n, P, D", {"n": 4}) == {"n": 4, "P": 2, "D": 3}
    assert fits((5,), "n+1,", {"n": 4}) == {"n": 4}
    assert fits((4,), "n+1,", {"n": 4}) is None
    assert fits((5,), "n,", {"n": 4}) is None
    assert fits((4, 3), "n, P, D", {}) is None


@ALL_KINDS
@KEPT
@pytest.mark.parametrize("n", [4, 0])
def test_a_part_has_the_datasets_of_the_page(tmp_path: Path, rows: RowKind, tokens: str | None, n: int) -> None:
    folder = made(tmp_path, rows, tokens, (n,))
    absent = {"tokens", "offsets"} if tokens is None else {"offsets"} if rows == "image" else set()
    with h5py.File(folder / "part-00000.h5") as file:
        known = {"n": len(file["id"]), "sum T": int(file["n_tokens"][()].sum())}
    found = compare(folder / "part-00000.h5", table(section("Features"), "dataset"), absent, known)
    widths = {"d": 4, "D0": 5, "f": 1} | ({"D": 3} if tokens else {}) | ({"P": 2} if tokens and rows == "image" else {})
    assert found == {"n": n, **widths, "sum T": (2 * n if rows == "image" else n * (n + 1) // 2)}


def test_a_mixture_has_the_datasets_of_the_page(tmp_path: Path) -> None:
    write_mixture(tmp_path / "image.h5", small_mixture())
    found = compare(tmp_path / "image.h5", table(section("Mixtures"), "dataset"), set(), {"N": 2, "sum T": 7})
    assert found == {"N": 2, "K": 3, "D": 4, "sum T": 7, "iterations": 6}


def test_cache_json_and_shards_jsonl_have_the_fields_of_the_page(tmp_path: Path) -> None:
    folder = features_folder(tmp_path, "image")
    write_features(folder, "image")
    here = section("A folder of the store")
    about_part, line_part = here.split("`shards.jsonl`: one line")
    always = {name for first in table(about_part, "field") for name in TICKED.findall(f"`{first}`")}
    about = json.loads((folder / "cache.json").read_text())
    assert always == {"format", "kind", "version", "key", "files"}
    assert set(about) == always | {"content", "rows", "dims"}
    assert about["key"] == folder.name
    lines = [json.loads(line) for line in (folder / "shards.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == sorted(["cache.json", *about["files"]])
    assert {path.name for path in folder.iterdir()} == {"shards.jsonl", "cache.json", *about["files"]}
    for line in lines:
        assert set(line) == set(table(line_part, "field"))
        data = (folder / line["name"]).read_bytes()
        assert (line["bytes"], line["xxh3"]) == (len(data), digest_bytes(data))
        assert line["line"] == digest_bytes(canonical({k: v for k, v in line.items() if k != "line"}))


def test_a_key_is_the_digest_that_the_page_says(tmp_path: Path) -> None:
    folder = features_folder(tmp_path, "image")
    write_features(folder, "image")
    about = json.loads((folder / "cache.json").read_text())
    content = {**about["content"], "kind": about["kind"], "version": about["version"]}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert folder.name == digest_bytes(text)
    assert shards.folder_digest(folder) == digest_bytes((folder / "shards.jsonl").read_bytes())


def test_the_indexes_have_the_columns_of_the_page(tmp_path: Path) -> None:
    folder = features_folder(tmp_path, "image")
    write_features(folder, "image")
    opened = FeatureCache.open(folder)
    for name, columns in (("index", opened.index.column_names), ("failed", opened.failed.column_names)):
        (said,) = re.findall(rf"^`{name}\.parquet` has a row a [^:]*:([^.]*)\.", section("Features"), re.M)
        assert TICKED.findall(said) == columns


def test_the_tables_that_stages_hand_on_have_the_columns_of_the_page() -> None:
    promised = table(section("What stages hand each other"), "file")
    schemas = {"manifest": MANIFEST, "episodes": EPISODES, "scores": SCORES, "queries": QUERIES, "history": HISTORY}
    assert {name: TICKED.findall(cells[0]) for name, cells in promised.items()} == {
        name: schema.names for name, schema in schemas.items()
    }


def test_a_ledger_has_the_fields_of_the_page(tmp_path: Path) -> None:
    write_ledger(tmp_path / "l.json", Ledger("heads", "made", {}, (LedgerKey("heads", "k", "d", {}),)))
    ledger = json.loads((tmp_path / "l.json").read_text())
    promised = table(section("What stages hand each other"), "field")
    assert set(ledger) == set(promised)
    assert set(ledger["keys"][0]) == set(TICKED.findall(promised["keys"][0]))


def test_a_head_holds_what_it_is_about_under_one_entry(tmp_path: Path) -> None:
    write_head(tmp_path / "h", TENSORS, ABOUT)
    with safe_open(tmp_path / "h", framework="np") as file:
        assert file.metadata() == {"about": canonical(ABOUT).decode()}
