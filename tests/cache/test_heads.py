"""Heads: safetensors with what they are about in the header, the same bytes for the same head."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cache.errors import DamagedError, MissingError, UserError
from cache.heads import read_head, read_history, write_head, write_history
from tests.cache.build import some

TENSORS = {
    "w": some((3, 4), np.float32),
    "b": some((3,), np.float64),
    "n": np.arange(2),
    "t": some((4, 2), np.float32).T,
}
ABOUT = {"method": "gap", "params": {"lr": 1e-4, "name": "é"}, "episode": "0" * 32}


def test_a_head_comes_back_as_written(tmp_path: Path) -> None:
    write_head(tmp_path / "h", TENSORS, ABOUT)
    tensors, about = read_head(tmp_path / "h")
    assert about == ABOUT
    assert sorted(tensors) == sorted(TENSORS)
    for name, array in TENSORS.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array)


def test_any_reader_of_safetensors_reads_a_head(tmp_path: Path) -> None:
    write_head(tmp_path / "h", TENSORS, ABOUT)
    np.testing.assert_array_equal(load_file(tmp_path / "h")["t"], TENSORS["t"])


def test_the_same_head_has_the_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    write_head(tmp_path / "a", TENSORS, ABOUT)
    write_head(tmp_path / "b", dict(reversed(TENSORS.items())), dict(reversed(ABOUT.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_head_that_is_absent_or_cut_short_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="h: no such head; run 'verify --mend'"):
        read_head(tmp_path / "h")
    write_head(tmp_path / "h", TENSORS, ABOUT)
    whole = (tmp_path / "h").read_bytes()
    for length in (0, 4, 40, len(whole) - 1):
        (tmp_path / "h").write_bytes(whole[:length])
        with pytest.raises(DamagedError, match=r"h: not a head .*; run 'verify --repair', then 'train'"):
            read_head(tmp_path / "h")


def test_a_full_disk_leaves_no_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_some(path: Path, data: bytes) -> int:
        path.open("wb").write(data[:7])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(UserError, match="the disk is full; make room, then run"):
        write_head(tmp_path / "h", TENSORS, ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_a_history_comes_back_as_written(tmp_path: Path) -> None:
    rows = [(0, "loss", 1.5), (0, "L_GC", 0.25), (1, "loss", 1.25)]
    write_history(tmp_path / "c", rows)
    assert [tuple(row.values()) for row in read_history(tmp_path / "c").to_pylist()] == rows
    write_history(tmp_path / "c", [])
    assert read_history(tmp_path / "c").column_names == ["step", "name", "value"]
