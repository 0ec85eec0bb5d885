"""Published archives, whole and hostile."""

from __future__ import annotations

import fcntl
import gzip
import io
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from cache.errors import BusyError, DamagedError, UserError
from stages.ingest import archives
from stages.ingest.archives import DONE, unpack_archives
from tests.stages.ingest.given import jpeg, write

FILES = {"images/a.jpg": jpeg((9, 9, 9)), "images/b.jpg": jpeg((8, 8, 8)), "labels.txt": b"a cat\nb dog\n"}
PARTS = ("images", "labels.txt")
SUFFIXES = ("tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "zip")


def packed(suffix: str, files: dict[str, bytes], top: str = "") -> bytes:
    """An archive of these files, below a folder of its own where `top` names one."""
    buffer = io.BytesIO()
    if suffix == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
            for path, data in files.items():
                opened.writestr(top + path, data)
    else:
        how = {"tar": "w", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
        with tarfile.open(fileobj=buffer, mode=how.get(suffix, "w:gz")) as opened_tar:  # type: ignore[call-overload]
            for path, data in files.items():
                add(opened_tar, top + path, data)
    return buffer.getvalue()


def add(tar: tarfile.TarFile, path: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> None:
    info = tarfile.TarInfo(path)
    info.size, info.type, info.linkname = len(data), kind, target
    tar.addfile(info, io.BytesIO(data))


def tar_of(*members: tuple[str, bytes, bytes, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, data, kind, target in members:
            add(tar, path, data, kind, target)
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    """What lies in a folder but archives and the record: path -> bytes."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.parent != folder]
    paths += [path for path in folder.iterdir() if path.is_file() and path.suffix == ".txt"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("top", ["", "set-1.0/", "set-1.0/data/", "./"])
def test_an_archive_is_laid_where_the_dataset_is_read(tmp_path: Path, suffix: str, top: str) -> None:
    write(tmp_path / f"set.{suffix}", packed(suffix, FILES, top))
    unpack_archives("set", tmp_path, PARTS)
    assert tree(tmp_path) == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([DONE, f"set.{suffix}", *PARTS])


def test_several_archives_fill_one_folder_and_an_own_file_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "1.zip", packed("zip", {"images/a.jpg": b"a", "labels.txt": b"theirs"}))
    write(tmp_path / "2.tar.gz", packed("tar.gz", {"images/b.jpg": b"b", "more.txt": b"m"}))
    write(tmp_path / "labels.txt", b"mine")
    unpack_archives("set", tmp_path, (*PARTS, "more.txt"))
    expected = {"images/a.jpg": b"a", "images/b.jpg": b"b", "labels.txt": b"mine", "more.txt": b"m"}
    assert tree(tmp_path) == expected


def test_an_archive_in_an_archive_is_found_by_the_part_that_it_is_called_like(tmp_path: Path) -> None:
    inner = packed("tar.gz", {"images/a.jpg": b"a"})
    write(tmp_path / "outer.zip", packed("zip", {"__MACOSX/x": b"", "set/images.tar.gz": inner}))
    unpack_archives("set", tmp_path, ("images",))
    assert (tmp_path / "images" / "a.jpg").read_bytes() == b"a"
    assert not (tmp_path / "__MACOSX").exists()


def test_what_is_there_is_not_unpacked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "set.zip", packed("zip", {"images/a.jpg": b"a"}))
    unpack_archives("set", tmp_path, PARTS)  # labels.txt is nowhere
    monkeypatch.setattr(archives, "_unpack", lambda *_: pytest.fail("unpacked again"))
    unpack_archives("set", tmp_path, PARTS)
    write(tmp_path / "more.zip", b"not even an archive")
    write(tmp_path / "labels.txt", b"x")
    unpack_archives("set", tmp_path, PARTS)


def test_no_folder_and_no_archive_are_no_fault(tmp_path: Path) -> None:
    unpack_archives("set", tmp_path / "nowhere", PARTS)
    unpack_archives("set", tmp_path, PARTS)
    assert list(tmp_path.iterdir()) == []


def refused(folder: Path, name: str, data: bytes, error: type[UserError] = UserError) -> str:
    """What is said of an archive, of which, and beside which, nothing may be left."""
    root = folder / "raw" / "set"
    write(root / name, data)
    with pytest.raises(error) as raised:
        unpack_archives("set", root, PARTS)
    assert [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))] == [
        "raw",
        "raw/set",
        f"raw/set/{name}",
    ]
    assert "\n" not in str(raised.value)
    return str(raised.value)


OUT = "leads out of the dataset's folder; nothing was unpacked: get it from its publisher"


@pytest.mark.parametrize("path", ["../x", "images/../../x", "/tmp/x", "C:\\x", "images\\..\\..\\x", "a\\..\\x"])
@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_a_member_that_leads_out_is_refused(tmp_path: Path, path: str, suffix: str) -> None:
    said = refused(tmp_path, f"set.{suffix}", packed(suffix, {"images/a.jpg": b"a", path: b"x"}))
    shown = path.replace("\\", "/") if suffix == "zip" else path
    assert said == f"set: set.{suffix} holds {shown!r}, which {OUT}"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["../../x", "/etc/hostname", "images/../../x"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, kind: bytes, target: str) -> None:
    members = [("images/a.jpg", b"a", tarfile.REGTYPE, ""), ("link", b"", kind, target)]
    said = refused(tmp_path, "set.tar.gz", tar_of(*members))
    assert said == f"set: set.tar.gz holds a link 'link' to '{target}', which {OUT}"


def test_links_that_lead_out_together_are_refused(tmp_path: Path) -> None:
    members = [
        ("images/deep/er/x", b"", tarfile.REGTYPE, ""),
        ("a", b"", tarfile.SYMTYPE, "images/deep/er"),
        ("images/deep/er/up", b"", tarfile.SYMTYPE, "../../.."),
        ("images/b", b"", tarfile.SYMTYPE, "../a/up/.."),
    ]
    assert refused(tmp_path, "set.tar.gz", tar_of(*members)).endswith(OUT)


def test_no_link_is_made_beside_what_is_unpacked(tmp_path: Path) -> None:
    members = [
        ("images/a.jpg", b"a", tarfile.REGTYPE, ""),
        ("a", b"", tarfile.SYMTYPE, "b/.."),  # within, until b is there
        ("b", b"", tarfile.SYMTYPE, "."),
        ("a/evil", b"", tarfile.SYMTYPE, "tmp-set.tar.gz/images/a.jpg"),
    ]
    assert refused(tmp_path, "set.tar.gz", tar_of(*members)).endswith(OUT)


def test_a_link_out_of_what_is_kept_is_refused(tmp_path: Path) -> None:
    members = [("top/images/a.jpg", b"a", tarfile.REGTYPE, ""), ("top/x", b"", tarfile.SYMTYPE, "../other")]
    assert refused(tmp_path, "set.tar.gz", tar_of(*members)).endswith(f"a link 'x' to '../other', which {OUT}")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    members = [
        ("images", b"", tarfile.SYMTYPE, "other"),
        ("images/a.jpg", b"a", tarfile.REGTYPE, ""),
        ("other/b.jpg", b"b", tarfile.REGTYPE, ""),
    ]
    said = refused(tmp_path, "set.tar.gz", tar_of(*members))
    assert said.startswith("set: set.tar.gz cannot be unpacked in ")


def test_links_within_are_laid_as_they_are(tmp_path: Path) -> None:
    members = [
        ("same.txt", b"", tarfile.LNKTYPE, "images/a.jpg"),
        ("soft", b"", tarfile.SYMTYPE, "images/a.jpg"),
        ("images/a.jpg", b"a", tarfile.REGTYPE, ""),
    ]
    write(tmp_path / "set.tar.gz", tar_of(*members))
    unpack_archives("set", tmp_path, PARTS)
    assert (tmp_path / "same.txt").read_bytes() == (tmp_path / "soft").read_bytes() == b"a"
    assert (tmp_path / "soft").readlink() == Path("images/a.jpg")


def test_a_link_in_a_zip_is_a_link(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        info = zipfile.ZipInfo("images/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(info, "../../../../etc/hostname")
    said = refused(tmp_path, "set.zip", buffer.getvalue())
    assert said == f"set: set.zip holds a link 'images/link' to '../../../../etc/hostname', which {OUT}"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(tmp_path: Path, kind: bytes) -> None:
    said = refused(tmp_path, "set.tar.gz", tar_of(("images/a.jpg", b"a", tarfile.REGTYPE, ""), ("dev", b"", kind, "")))
    assert said == (
        "set: set.tar.gz holds 'dev', which is neither a file, a folder nor a link; nothing was unpacked: get it from "
        "its publisher"
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_cut_short_is_refused_wherever_it_is_cut(tmp_path: Path, suffix: str) -> None:
    whole = packed(suffix, FILES)
    needed = len(whole) if suffix != "tar" else whole.rstrip(b"\0").__len__() + 512  # blocks of zeros fill a tar up
    for length in range(1, needed, max(1, needed // 60)):
        folder = tmp_path / str(length)
        said = refused(folder, f"set.{suffix}", whole[:length], DamagedError)
        assert said.startswith(f"set: set.{suffix} is ")
        assert said.endswith("; get it again")


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_a_flipped_byte_is_seen(tmp_path: Path, suffix: str) -> None:
    whole = packed(suffix, {"images/a.jpg": bytes(range(256)) * 40})
    for place in (len(whole) // 2, len(whole) // 3):
        data = bytearray(whole)
        data[place] ^= 1
        refused(tmp_path / str(place), f"set.{suffix}", bytes(data), DamagedError)


def test_a_broken_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    data = bytearray(packed("tar", FILES))
    data[data.index(b"images/b.jpg")] ^= 1
    assert refused(tmp_path, "set.tar", bytes(data), DamagedError).startswith("set: set.tar is not a whole archive (")


@pytest.mark.parametrize("name", ["set.tar.gz", "set.zip", "set.tar", "set.tar.bz2", "set.tar.xz"])
def test_a_page_saved_as_an_archive_is_one_line(tmp_path: Path, name: str) -> None:
    said = refused(tmp_path, name, b"<html>please log in</html>" * 40, DamagedError)
    assert said.startswith(f"set: {name} is not a whole archive (")


def test_an_encrypted_zip_is_one_line(tmp_path: Path) -> None:
    data = bytearray(packed("zip", {"images/a.jpg": b"a"}))
    for magic, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        data[data.index(magic) + at] |= 1
    assert refused(tmp_path, "set.zip", bytes(data)) == "set: set.zip is encrypted; unpack it by hand"


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_a_bomb_is_refused_by_its_own_size(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREELY", 1 << 20)
    said = refused(tmp_path, f"set.{suffix}", packed(suffix, {"images/a.jpg": bytes(5 << 20)}))
    assert said == (
        f"set: set.{suffix} becomes more than 0.00105 GB, which no published archive of its size does; nothing was "
        "unpacked: get it from its publisher, or unpack it by hand if you trust it"
    )


def test_a_million_empty_files_are_a_bomb_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREELY", 1 << 20)
    data = packed("tar.gz", {f"images/{number}": b"" for number in range(2000)})
    assert "becomes more than" in refused(tmp_path, "set.tar.gz", data)


def test_an_archive_that_the_disk_cannot_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_allowance", lambda *_: (1 << 30, 10_000))
    said = refused(tmp_path, "set.zip", packed("zip", {"images/a.jpg": bytes(20_000)}))
    assert said.startswith("set: set.zip needs more than the 1e-05 GB that are free in ")
    assert said.endswith("; nothing was unpacked: make room, or link the folder to another disk")


def test_two_processes_do_not_unpack_the_same_archive(tmp_path: Path) -> None:
    archive = write(tmp_path / "set.zip", packed("zip", FILES))
    with archive.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError) as error:
            unpack_archives("set", tmp_path, PARTS)
    assert str(error.value) == "set: set.zip is being unpacked by another process; wait for it"


KILLED = """
import sys; from pathlib import Path; from stages.ingest import {module} as module
before, seen = module.{function}, []
def slow(*given):
    seen.append(1)
    if len(seen) > 2:
        print("now", flush=True); import time; time.sleep(60)
    return before(*given)
module.{function} = slow
from stages.ingest.archives import unpack_archives
unpack_archives("set", Path(sys.argv[1]), {parts})
"""


def killed(folder: Path, function: str, parts: Iterable[str]) -> None:
    """Unpack in another process, and kill it at the third call of a function."""
    code = KILLED.format(module="archives", function=function, parts=tuple(parts))
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"now\n"
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("function", ["_write", "_move"])
def test_a_killed_run_leaves_nothing_that_looks_whole_and_the_next_one_ends_it(tmp_path: Path, function: str) -> None:
    files = {**FILES, "images/deep/c.jpg": b"c", "a.txt": b"moved first"}
    write(tmp_path / "set.tar.gz", packed("tar.gz", files))
    if function == "_move":  # folders that are there are filled up one by one
        write(tmp_path / "images" / "deep" / "own.jpg", b"mine")
    parts = PARTS if function == "_write" else ("a.txt",)  # which is there by then: the parts alone do not tell
    killed(tmp_path, function, parts)
    assert (tmp_path / "tmp-set.tar.gz").is_dir()
    assert (tmp_path / "images" / "a.jpg").exists() == (function == "_move")
    unpack_archives("set", tmp_path, parts)
    own = {"images/deep/own.jpg": b"mine"} if function == "_move" else {}
    assert tree(tmp_path) == {**files, **own}
    assert not (tmp_path / "tmp-set.tar.gz").exists()


def test_a_folder_without_rights_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    (tmp_path / "set.zip").write_bytes(packed("zip", FILES))
    with pytest.raises(UserError) as error:
        unpack_archives("set", tmp_path, PARTS)
    assert str(error.value) == (
        f"set: set.zip cannot be unpacked in {tmp_path} (Permission denied); mend that, or unpack it by hand"
    )


def test_a_gzip_of_what_is_no_tar_is_one_line(tmp_path: Path) -> None:
    assert refused(tmp_path, "set.tgz", gzip.compress(b"hello" * 1000), DamagedError).endswith("; get it again")
