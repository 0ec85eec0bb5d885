"""Sizes and digests of pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import MissingError, UserError
from cache.files import digest_bytes
from stages.ingest.pictures import BLOCK, measure
from tests.stages.ingest.given import write


def test_every_picture_has_its_own_size_and_digest_in_order(tmp_path: Path) -> None:
    images = [f"{number}.jpg" for number in range(BLOCK + 3)]  # more than one block
    for number, image in enumerate(images):
        write(tmp_path / image, b"x" * number)
    sizes, digests = measure("mine", tmp_path, images)
    assert sizes == list(range(len(images)))
    assert digests == [digest_bytes(b"x" * number) for number in range(len(images))]


def test_an_empty_or_broken_picture_is_measured_and_not_refused(tmp_path: Path) -> None:
    write(tmp_path / "empty.jpg", b"")
    write(tmp_path / "broken.jpg", b"\xff\xd8\xff")
    assert measure("mine", tmp_path, ["empty.jpg", "broken.jpg"])[0] == [0, 3]


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", b"x")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(MissingError) as error:
        measure("mine", tmp_path, ["a.jpg", "b.jpg", "folder.jpg", "dangling.jpg"])
    assert str(error.value) == (
        f"mine: 3 of 4 pictures are missing, the first is 'b.jpg'; put them under {tmp_path}, or take their rows out"
    )


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.jpg").symlink_to(write(tmp_path / "secret", b"x"))
    with pytest.raises(UserError, match=r"^mine: 'a.jpg' leads out of "):
        measure("mine", tmp_path / "root", ["a.jpg"])


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^mine: picture 'x{100}' cannot be read \(File name too long\); mend it$"):
        measure("mine", tmp_path, ["x" * 5000])
