"""The state of a folder: any change of a file's name, size or time is another one."""

from __future__ import annotations

import os
from pathlib import Path

from cache.files import digest_of
from pipeline.folder_state import folder_digest
from tests.stages.ingest.given import unreadable, write


def plain(folder: Path) -> str:
    """The same by asking every path below."""
    stats = {str(p.relative_to(folder)): p.stat() for p in sorted(folder.rglob("*")) if p.is_file()}
    return digest_of([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()])


def some(folder: Path) -> Path:
    for name in ("a/1.jpg", "a.b/1.jpg", "a/b/c/2.jpg", "a b.txt", "caf\xe9/x", "z"):
        write(folder / name, name)
    (folder / "linked.txt").symlink_to(folder / "a" / "1.jpg")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "again").symlink_to(folder)
    return folder


def test_it_is_the_digest_of_every_file_below(tmp_path: Path) -> None:
    assert folder_digest(some(tmp_path)) == plain(tmp_path)


def test_every_change_of_a_file_is_another_state(tmp_path: Path) -> None:
    folder, seen = some(tmp_path), set()
    seen.add(folder_digest(folder))
    write(folder / "a" / "1.jpg", "longer than before")
    seen.add(folder_digest(folder))
    os.utime(folder / "z", ns=(0, 0))
    seen.add(folder_digest(folder))
    (folder / "z").rename(folder / "y")
    seen.add(folder_digest(folder))
    (folder / "y").unlink()
    seen.add(folder_digest(folder))
    assert len(seen) == 5


def test_the_order_in_which_the_disk_has_them_does_not_matter(tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    names = [f"{number % 7}/{number}" for number in range(50)]
    for folder, order in ((there, names), (back, names[::-1])):
        for name in order:
            os.utime(write(folder / name, name), ns=(1, 1))
    assert folder_digest(there) == folder_digest(back)


def test_a_folder_that_may_not_be_listed_has_no_files(tmp_path: Path) -> None:
    folder = some(tmp_path / "here")
    with unreadable(folder / "a"):
        shut = folder_digest(folder)
    assert shut != folder_digest(folder)


def test_a_name_that_is_no_utf8_is_taken(tmp_path: Path) -> None:
    odd = write(tmp_path / os.fsdecode(b"caf\xe9"), "x")
    before = folder_digest(tmp_path)
    odd.rename(tmp_path / os.fsdecode(b"caf\xe8"))
    assert folder_digest(tmp_path) != before
