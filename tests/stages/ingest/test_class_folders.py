"""A folder of class folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cache.errors import UserError
from stages.ingest.class_folders import load_folders
from tests.stages.ingest.given import write


def test_class_text_and_id_come_from_the_paths(tmp_path: Path) -> None:
    write(tmp_path / "dog" / "brown_dog-2.JPG", b"x")
    write(tmp_path / "cat" / "b.png", b"x")
    write(tmp_path / "cat" / "b.txt", "\ufeffA cat\n that   sleeps\n")
    manifest = load_folders(tmp_path, "pets", "data/pets")
    assert (manifest.name, manifest.root) == ("pets", "data/pets")
    assert manifest.ids == manifest.images == ["cat/b.png", "dog/brown_dog-2.JPG"]
    assert manifest.texts == [["A cat that sleeps"], ["brown dog 2"]]
    assert manifest.labels == [["cat"], ["dog"]]
    assert manifest.splits == [None, None]


def test_hidden_and_other_files_are_no_items(tmp_path: Path) -> None:
    for name in ("cat/a.jpg", "cat/._a.jpg", "cat/notes.md", ".git/a.jpg", "loose.jpg", "cat/deeper/b.jpg"):
        write(tmp_path / name, b"x")
    assert load_folders(tmp_path, "pets", "pets").ids == ["cat/a.jpg"]


def test_a_folder_without_pictures_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "loose.jpg", b"x")
    with pytest.raises(UserError) as error:
        load_folders(tmp_path, "pets", "data/pets")
    assert str(error.value) == (
        "data/pets: no pictures in its class folders; put them at data/pets/<class>/<picture>.jpg"
    )


@pytest.mark.parametrize("name", [b"cat/caf\xe9.jpg", b"caf\xe9/cat.jpg"])
def test_a_name_that_is_not_utf8_is_one_line_with_its_bytes(tmp_path: Path, name: bytes) -> None:
    write(tmp_path / "cat" / "a.jpg", b"x")
    write(tmp_path / os.fsdecode(name), b"x")
    with pytest.raises(UserError) as error:
        load_folders(tmp_path, "pets", "data/pets")
    said = name.decode(errors="backslashreplace")
    assert str(error.value) == f"data/pets: the file name '{said}' is not UTF-8; rename it"


def test_a_text_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.jpg", b"x")
    write(tmp_path / "cat" / "a.txt", b"caf\xe9")
    with pytest.raises(UserError, match=r"^data/pets: cat/a.txt is not UTF-8; save it as UTF-8 text$"):
        load_folders(tmp_path, "pets", "data/pets")


def test_a_text_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "pets" / "cat" / "a.jpg", b"x")
    (tmp_path / "pets" / "cat" / "a.txt").symlink_to(write(tmp_path / "secret", "hush"))
    with pytest.raises(UserError, match=r"^data/pets: 'cat/a.txt' leads out of "):
        load_folders(tmp_path / "pets", "pets", "data/pets")
