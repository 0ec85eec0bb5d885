"""A folder of class folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cache.errors import UserError
from stages.ingest import blocks
from stages.ingest.class_folders import load_folders
from tests.stages.ingest.given import whole, write


def test_class_text_and_id_come_from_the_paths(tmp_path: Path) -> None:
    write(tmp_path / "dog" / "brown_dog-2.JPG", b"x")
    write(tmp_path / "cat" / "b.png", b"x")
    write(tmp_path / "cat" / "b.txt", "\ufeffA cat\n that   sleeps\n")
    manifest = whole(load_folders(tmp_path, "pets", "data/pets"))
    assert (manifest.name, manifest.root) == ("pets", "data/pets")
    assert manifest.ids == manifest.images == ["cat/b.png", "dog/brown_dog-2.JPG"]
    assert manifest.texts == [["A cat that sleeps"], ["brown dog 2"]]
    assert manifest.labels == [["cat"], ["dog"]]
    assert manifest.splits == [None, None]


def test_hidden_and_other_files_are_no_items(tmp_path: Path) -> None:
    for name in ("cat/a.jpg", "cat/._a.jpg", "cat/notes.md", ".git/a.jpg", "loose.jpg", "cat/deeper/b.jpg"):
        write(tmp_path / name, b"x")
    assert whole(load_folders(tmp_path, "pets", "pets")).ids == ["cat/a.jpg"]


def test_a_folder_with_a_table_in_it_says_how_to_name_that(tmp_path: Path) -> None:
    write(tmp_path / "images" / "deeper" / "a.jpg", b"x")
    write(tmp_path / "pairs.jsonl", "{}")
    with pytest.raises(UserError) as error:
        load_folders(tmp_path, "pets", "data/pets")
    assert str(error.value) == (
        "data/pets: no pictures in its class folders; put them at data/pets/<class>/<picture>.jpg, or name the table "
        "in it: -S ingest.table.path=data/pets/pairs.jsonl"
    )


def test_the_pictures_come_in_blocks_and_are_looked_for_a_folder_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 2)
    for path in ("a/0", "a/1", "b/0", "b/1", "b/2"):
        write(tmp_path / f"{path}.jpg", b"x")
    found = load_folders(tmp_path, "pets", "pets").blocks()
    assert next(found).ids == ["a/0.jpg", "a/1.jpg"]
    write(tmp_path / "b" / "3.jpg", b"x")  # which nobody has looked for yet
    assert [block.ids for block in found] == [["b/0.jpg", "b/1.jpg"], ["b/2.jpg", "b/3.jpg"]]


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
        whole(load_folders(tmp_path, "pets", "data/pets"))
    said = name.decode(errors="backslashreplace")
    assert str(error.value) == f"data/pets: the file name '{said}' is not UTF-8; rename it"


def test_a_text_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.jpg", b"x")
    write(tmp_path / "cat" / "a.txt", b"caf\xe9")
    with pytest.raises(UserError, match=r"^data/pets: cat/a.txt is not UTF-8; save it as UTF-8 text$"):
        whole(load_folders(tmp_path, "pets", "data/pets"))


def test_a_text_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "pets" / "cat" / "a.jpg", b"x")
    (tmp_path / "pets" / "cat" / "a.txt").symlink_to(write(tmp_path / "secret", "hush"))
    with pytest.raises(UserError, match=r"^data/pets: 'cat/a.txt' leads out of "):
        whole(load_folders(tmp_path / "pets", "pets", "data/pets"))
