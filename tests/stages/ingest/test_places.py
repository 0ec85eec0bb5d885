"""Where files lie, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import UserError
from stages.ingest.places import confined, dataset_folder, from_home
from tests.stages.ingest.given import params, write


def test_a_dataset_lies_under_root_in_home(tmp_path: Path) -> None:
    assert dataset_folder(params(tmp_path, "wikipedia")) == tmp_path / "data" / "raw" / "wikipedia"


def test_paths_inside_home_are_shown_relative_and_others_absolute(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert from_home(home / "data" / "raw" / "x", home) == "data/raw/x"
    assert from_home(home / ".." / "shared" / "pairs.csv", home) == (tmp_path / "shared" / "pairs.csv").as_posix()


def test_a_linked_dataset_folder_is_fine(tmp_path: Path) -> None:
    write(tmp_path / "large disk" / "a.jpg", b"")
    (tmp_path / "root").symlink_to(tmp_path / "large disk")
    assert confined("x", tmp_path / "root", "a.jpg").is_file()


@pytest.mark.parametrize("relative", ["../outside.jpg", "images/../../outside.jpg", "/etc/hostname", "link.jpg"])
def test_nothing_outside_the_root_is_reached(tmp_path: Path, relative: str) -> None:
    root = tmp_path / "root"
    write(tmp_path / "outside.jpg", b"")
    write(root / "images" / "a.jpg", b"")
    (root / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(UserError) as error:
        confined("mine", root, relative)
    assert str(error.value) == (
        f"mine: '{relative}' leads out of {root}; "
        "its files must lie under it, without '..', absolute paths or links to elsewhere"
    )
