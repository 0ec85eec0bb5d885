"""Whole files: seen complete or not at all, on the disk before they are named."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import files
from cache.errors import DamagedError, MissingError
from tests.cache.build import flip_bit

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
TABLE = pa.table({"id": ["a", "b", "ä"] * 50, "value": [0.5, 1.5, 2.5] * 50})


def _name_of(handle: int) -> str:
    return Path(f"/proc/self/fd/{handle}").resolve().name


def test_bytes_are_on_the_disk_before_they_get_their_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(("fsync", _name_of(handle)[:4])))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("replace", a.name[:4])), replace(a, b)))
    (tmp_path / "here").mkdir()
    files.write_bytes(tmp_path / "here" / "a", b"x")
    assert done == [("fsync", "tmp-"), ("replace", "tmp-"), ("fsync", "here")]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a", b"old")

    def fail(part: Path) -> None:
        part.write_bytes(b"ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_through(tmp_path / "a", fail)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"old"}


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 64))
def test_a_file_has_the_digest_of_its_bytes_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, block: int
) -> None:
    path = tmp_path_factory.mktemp("d") / "a"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", block)
        assert files.digest_file(path) == files.digest_bytes(data) == xxhash.xxh3_128(data).hexdigest()


@settings(deadline=None)
@given(JSON)
def test_a_json_value_comes_back_and_has_one_digest(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("j") / "a.json"
    files.write_json(path, value)
    assert files.read_json(path) == value
    assert files.digest_of(files.read_json(path)) == files.digest_of(value)


def test_the_digest_of_a_value_is_pinned() -> None:
    assert files.digest_of({"b": [1, 0.5, None], "a": "é"}) == "64a92b109889ca35cc5acd08e965bc0f"


def test_a_table_carries_its_metadata_and_nothing_that_was_there_before(tmp_path: Path) -> None:
    files.write_table(tmp_path / "t", TABLE.replace_schema_metadata({"old": "x"}), {"made_from": "é"})
    assert files.read_about(tmp_path / "t") == {"made_from": "é"}
    assert files.read_table(tmp_path / "t").equals(TABLE)
    assert files.read_table(tmp_path / "t", ["value"]).column_names == ["value"]


@pytest.mark.parametrize("at", [0.02, 0.05, 0.1, 0.15])
def test_a_flipped_bit_in_the_pages_of_a_table_is_found_when_it_is_read(tmp_path: Path, at: float) -> None:
    files.write_table(tmp_path / "t", TABLE, {})
    flip_bit(tmp_path / "t", at)
    with pytest.raises(DamagedError, match=r"t: cannot be read .*; delete it and run the command that makes it"):
        files.read_table(tmp_path / "t")


@pytest.mark.parametrize("read", [files.read_json, files.read_table, files.read_about])
def test_a_missing_and_a_foreign_file_are_told_apart(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(MissingError, match="a: no such file"):
        read(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\xff\xfe no")
    with pytest.raises(DamagedError, match=r"a: .*; delete it and run the command that makes it"):
        read(tmp_path / "a")


def test_an_error_of_the_system_names_the_file_that_was_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error") as caught:
        files.write_bytes(tmp_path / "x.json", b"1")
    assert caught.value.filename == str(tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []
