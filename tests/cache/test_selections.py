"""Selections: what was chosen, and by which figures, as JSON that comes back as written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cache import shards
from cache.errors import DamagedError, MissingError, UserError
from cache.selections import FILES, SELECTION, read_selection, write_selection
from cache.store import folder_of, make_key

FOUND = {
    "values": {"tau": 0.1, "covariance": "total", "names": True},
    "tried": [
        {"values": {"tau": 0.1, "covariance": "total", "names": True}, "mAP": [0.123457, 1.0]},
        {"values": {"tau": 0.05, "covariance": "within", "names": True}, "mAP": [0.0, 0.25]},
    ],
}


def written(store: Path, found: dict[str, object] = FOUND) -> Path:
    content = {"method": "scm"}
    folder = folder_of(store, "selections", make_key("selections", content))
    shards.begin(folder, {"content": content}, FILES)
    finished = shards.temporary(folder)
    write_selection(finished, found)
    shards.record(folder, finished, SELECTION, 2)
    return folder


def test_a_selection_comes_back_as_written(tmp_path: Path) -> None:
    assert read_selection(written(tmp_path)) == FOUND


def test_equal_selections_give_equal_bytes_whatever_the_order_of_keys(tmp_path: Path) -> None:
    other = {"tried": FOUND["tried"], "values": dict(reversed(FOUND["values"].items()))}  # type: ignore[attr-defined]
    first, second = written(tmp_path / "a"), written(tmp_path / "b", other)
    assert (first / SELECTION).read_bytes() == (second / SELECTION).read_bytes()


def test_a_selection_that_was_never_made_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"0{32}: not there; run 'verify --mend'$"):
        read_selection(folder_of(tmp_path, "selections", "0" * 32))


def test_a_selection_cut_short_says_what_to_do(tmp_path: Path) -> None:
    folder = written(tmp_path)
    whole = (folder / SELECTION).read_bytes()
    (folder / SELECTION).write_bytes(whole[:-2])
    with pytest.raises(DamagedError, match=r"selection.json: .*run 'verify --repair', then 'train'") as caught:
        read_selection(folder)
    assert "\n" not in str(caught.value)


def test_a_digit_that_turned_into_another_is_no_value(tmp_path: Path) -> None:
    folder = written(tmp_path)
    whole = (folder / SELECTION).read_bytes()
    (folder / SELECTION).write_bytes(whole.replace(b"0.1\n", b"0.3\n", 1))
    with pytest.raises(DamagedError, match=r"selection.json: .*run 'verify --repair', then 'train'"):
        read_selection(folder)


def test_a_full_disk_is_said_and_leaves_nothing_that_passes_for_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_some(path: Path, text: str, encoding: str) -> int:  # noqa: ARG001
        path.open("wb").write(text[:7].encode())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    content = {"method": "scm"}
    folder = folder_of(tmp_path, "selections", make_key("selections", content))
    shards.begin(folder, {"content": content}, FILES)
    monkeypatch.setattr(Path, "write_text", write_some)
    with pytest.raises(UserError, match="the disk is full; make room, then run"):
        write_selection(shards.temporary(folder), FOUND)
    assert shards.unfinished(folder) == [SELECTION]
