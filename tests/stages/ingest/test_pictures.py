"""Sizes and digests of pictures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cache.errors import UserError
from cache.files import digest_bytes
from stages.ingest.pictures import SHARE, measure
from tests.stages.ingest.given import write


def test_every_picture_has_its_own_size_and_digest_in_order(tmp_path: Path) -> None:
    images = [f"{number}.jpg" for number in range(SHARE + 3)]  # more than one share
    for number, image in enumerate(images):
        write(tmp_path / image, b"x" * number)
    assert measure("mine", tmp_path, images) == [(n, digest_bytes(b"x" * n)) for n in range(len(images))]


def test_an_empty_or_broken_picture_is_measured_and_not_refused(tmp_path: Path) -> None:
    write(tmp_path / "empty.jpg", b"")
    write(tmp_path / "broken.jpg", b"\xff\xd8\xff")
    assert [found and found[0] for found in measure("mine", tmp_path, ["empty.jpg", "broken.jpg"])] == [0, 3]


def test_what_is_no_file_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", b"x")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = measure("mine", tmp_path, ["a.jpg", "b.jpg", "folder.jpg", "dangling.jpg"])
    assert found == [(1, digest_bytes(b"x")), None, None, None]


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.jpg").symlink_to(write(tmp_path / "secret", b"x"))
    with pytest.raises(UserError, match=r"^mine: 'a.jpg' leads out of "):
        measure("mine", tmp_path / "root", ["a.jpg"])


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^mine: picture 'x{100}' cannot be read \(File name too long\); mend it$"):
        measure("mine", tmp_path, ["x" * 5000])


def test_a_picture_may_be_a_link_within_the_root_and_a_folder_need_not_be_spelt_shortly(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "a.jpg", b"xy")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "deep" / "a.jpg")
    (tmp_path / "folder").symlink_to("deep")
    there = (2, digest_bytes(b"xy"))
    assert measure("mine", tmp_path, ["link.jpg", "folder/a.jpg", "deep/../deep/a.jpg", "deep/.."]) == [there] * 3 + [
        None
    ]


def test_a_folder_linked_from_elsewhere_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "secret" / "a.jpg", b"x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match=r"^mine: 'folder' leads out of "):
        measure("mine", tmp_path / "root", ["folder/a.jpg"])
    with pytest.raises(UserError, match=r"^mine: '\.\.' leads out of "):
        measure("mine", tmp_path / "root", [".."])


def test_a_pipe_is_no_picture_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UserError, match=r"^mine: 'pipe.jpg' is a pipe or a device and must be a file; put the file "):
        measure("mine", tmp_path, ["pipe.jpg"])


def test_no_handle_is_left_open(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    measure("mine", tmp_path, ["0.jpg", "1.jpg", "2.jpg", "3.jpg"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
