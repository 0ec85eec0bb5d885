"""Commits that are whole or not there: deaths at every step, full disks, damage, repair."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cache import shards
from cache.errors import DamagedError, MissingError, UserError
from cache.features import PART_NAME, FeatureCache, write_part
from cache.files import digest_file
from cache.shards import ABOUT, RECORD
from cache.store import KINDS_VERSION
from tests.cache.build import begin_features, contents, features_folder, flip_bit, small_part, write_features

GOLDEN = Path(__file__).parent / "golden"
FILES = ["cache.json", "failed.parquet", "index.parquet", "part-00000.h5", "part-00001.h5"]
STEPS_A_FILE = ("write", "fsync", "replace", "folder", "write", "fsync", "replace", "folder")
ALL_STEPS = 8 + 9 * 4  # of cache.json, and of four files with the record step


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache goes, seen from the store's folder."""
    monkeypatch.chdir(tmp_path)
    return features_folder(tmp_path / "store", "text")


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, bytes]:
    """The files of a run that nothing disturbed."""
    undisturbed = features_folder(tmp_path / "clean", "text")
    write_features(undisturbed, "text")
    return contents(undisturbed)


def test_a_run_goes_through_the_named_steps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(shards, "step", steps.append)
    write_features(folder, "text")
    assert tuple(steps) == STEPS_A_FILE + (*STEPS_A_FILE, "record") * 4


def test_bytes_are_on_the_disk_before_their_name_and_both_before_the_record_that_vouches(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_features(folder, "text", 1)
    finished = shards.temporary(folder)
    write_part(finished, small_part("text", 0))
    done: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(f"sync {name_of(handle)}"))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(f"name {b.name}"), replace(a, b)))
    shards.record(folder, finished, PART_NAME(0), 4)
    both = [["sync tmp-", f"name {name}", f"sync {folder.name}"] for name in (PART_NAME(0), RECORD)]
    assert done == both[0] + both[1]


def name_of(handle: int) -> str:
    """What an open file is called; a temporary by its first letters."""
    name = Path(f"/proc/self/fd/{handle}").readlink().name
    return "tmp-" if name.startswith("tmp-") else name


def die_at(number: int) -> Callable[[str], None]:
    """A step that ends the process without any cleaning up, the `number`-th time it is called."""
    left = number

    def step(_: str) -> None:
        nonlocal left
        if left == 0:
            os._exit(9)
        left -= 1

    return step


def in_child(run: Callable[[], object]) -> int:
    """Run something in a forked child; its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        run()
    finally:
        os._exit(0)


@pytest.mark.parametrize("number", range(ALL_STEPS))
def test_a_run_killed_at_any_step_resumes_to_the_same_bytes(
    folder: Path, clean: dict[str, bytes], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shards, "step", die_at(number))
        assert in_child(lambda: write_features(folder, "text")) == 9
    assert shards.check(folder, hashes=True) == []  # a death is no damage
    assert shards.is_whole(folder) == (number >= ALL_STEPS - 3)  # the last replace of shards.jsonl decides
    write_features(folder, "text")
    assert contents(folder) == clean
    assert shards.is_whole(folder)


def test_what_a_killed_run_had_recorded_is_not_written_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shards, "step", die_at(8 + 9))
        assert in_child(lambda: write_features(folder, "text")) == 9
    assert write_features(folder, "text") == ["part-00001.h5"]


def test_a_file_that_is_there_but_not_recorded_does_not_count(folder: Path, clean: dict[str, bytes]) -> None:
    begin_features(folder, "text", 2)
    (folder / PART_NAME(0)).write_bytes(clean[PART_NAME(0)])
    assert PART_NAME(0) in shards.unfinished(folder)


def test_leavings_of_a_dead_worker_are_removed_and_an_orphan_does_no_harm(
    folder: Path, clean: dict[str, bytes]
) -> None:
    begin_features(folder, "text", 2)
    shards.temporary(folder).write_bytes(b"half a par")
    assert write_features(folder, "text") == [PART_NAME(0), PART_NAME(1)]
    assert contents(folder) == clean
    orphan = shards.temporary(folder)
    orphan.write_bytes(b"an orphan goes on")
    assert shards.is_whole(folder)
    assert shards.check(folder, hashes=False) == [f"{orphan.name}: not a file of this folder"]
    assert shards.repair(folder) == []
    assert contents(folder) == clean


def test_the_order_in_which_parts_are_finished_leaves_no_trace(folder: Path, clean: dict[str, bytes]) -> None:
    begin_features(folder, "text", 2)
    for i in (1, 0):
        finished = shards.temporary(folder)
        write_part(finished, small_part("text", i, 4 - i))
        shards.record(folder, finished, PART_NAME(i), 4 - i)
    write_features(folder, "text")
    assert contents(folder) == clean


def test_a_record_is_what_the_file_is(folder: Path, clean: dict[str, bytes]) -> None:
    write_features(folder, "text")
    lines = shards.recorded(folder)
    assert sorted(lines) == FILES
    assert {n: line.bytes for n, line in lines.items()} == {n: len(clean[n]) for n in FILES}
    assert {n: line.rows for n, line in lines.items()} == dict(zip(FILES, (0, 2, 7, 4, 3), strict=True))


def test_a_name_that_cache_json_does_not_list_is_refused(folder: Path) -> None:
    begin_features(folder, "text", 1)
    finished = shards.temporary(folder)
    finished.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"part-00001\.h5 is not among the files that cache\.json lists"):
        shards.record(folder, finished, PART_NAME(1), 0)


def test_a_folder_whose_name_is_not_the_key_of_its_content_is_not_begun(folder: Path) -> None:
    with pytest.raises(ValueError, match="is not the key of its content"):
        shards.begin(folder, {"content": {"rows": "image"}}, [])


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["cache.hdf5._lay_out", "cache.files.sync_file", "cache.features.write_table"])
def test_a_full_disk_says_so_leaves_nothing_half_visible_and_resumes(
    folder: Path, clean: dict[str, bytes], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_features(folder, "text", 2)
    with monkeypatch.context() as patch:
        patch.setattr(where, full_disk)
        with pytest.raises(UserError) as caught:
            write_features(folder, "text")
    rest = "the disk is full; make room, then run 'extract' again, which goes on from what is recorded"
    assert str(caught.value) == f"store/features/{folder.name}: {rest}"
    assert not list(folder.glob("tmp-*"))
    assert shards.check(folder, hashes=True) == []
    assert sorted(p.name for p in folder.iterdir()) == sorted({*shards.recorded(folder), RECORD})
    write_features(folder, "text")
    assert contents(folder) == clean


def test_another_error_of_the_system_is_not_taken_for_a_full_disk(folder: Path) -> None:
    with pytest.raises(PermissionError), shards.room(folder):
        raise PermissionError(errno.EACCES, "denied")


@pytest.mark.parametrize("name", FILES)
def test_what_is_about_to_be_computed_with_is_read_byte_by_byte(folder: Path, name: str) -> None:
    write_features(folder, "text")
    shards.require_sound(folder)
    flip_bit(folder / name)
    with pytest.raises(DamagedError) as caught:
        shards.require_sound(folder)
    what = {ABOUT: "the folder"}.get(name, "this part" if name.startswith("part-") else "this file")
    assert str(caught.value).startswith(f"store/features/{folder.name}/{name}: its content has digest ")
    assert str(caught.value).endswith(f"; run 'verify --repair', then 'extract' writes only {what} again")


@pytest.mark.parametrize("name", FILES[1:])
def test_a_flipped_bit_is_found_by_its_hash_and_only_that_file_is_made_again(
    folder: Path, clean: dict[str, bytes], name: str
) -> None:
    write_features(folder, "text")
    flip_bit(folder / name)
    assert shards.check(folder, hashes=False) == []
    (problem,) = shards.check(folder, hashes=True)
    assert problem.startswith(f"{name}: its content has digest ")
    assert shards.repair(folder) == [name]
    assert shards.check(folder, hashes=True) == []
    assert shards.unfinished(folder) == [name]
    assert write_features(folder, "text") == [n for n in [name] if n.startswith("part-")]
    assert contents(folder) == clean


@pytest.mark.parametrize("at", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("name", [ABOUT, RECORD])
def test_a_flipped_bit_in_what_vouches_is_found_and_nothing_of_the_folder_is_trusted(
    folder: Path, clean: dict[str, bytes], name: str, at: float
) -> None:
    write_features(folder, "text")
    flip_bit(folder / name, at)
    assert len(shards.check(folder, hashes=True)) == 1
    assert not shards.is_whole(folder)
    assert shards.repair(folder) == [name]
    assert not folder.exists()
    write_features(folder, "text")
    assert contents(folder) == clean


def test_a_lost_record_is_found(folder: Path) -> None:
    write_features(folder, "text")
    (folder / RECORD).unlink()
    assert shards.check(folder, hashes=False) == ["shards.jsonl: missing, and nothing vouches for failed.parquet"]
    assert shards.repair(folder) == [RECORD]
    assert not folder.exists()


def test_a_part_cut_short_is_told_with_what_to_do(folder: Path) -> None:
    write_features(folder, "text")
    part = folder / PART_NAME(1)
    size = part.stat().st_size
    part.write_bytes(part.read_bytes()[:-64])
    said = f"part-00001.h5: {size - 64} bytes, shards.jsonl says {size}"
    renew = "run 'verify --repair', then 'extract' writes only this part again"
    assert shards.check(folder, hashes=False) == [said]
    for reader in (shards.unfinished, FeatureCache.open):
        with pytest.raises(DamagedError) as caught:
            reader(folder)
        assert str(caught.value) == f"store/features/{folder.name}/{said}; {renew}"


def test_a_recorded_part_that_is_gone_is_damage_not_unfinished_work(folder: Path) -> None:
    write_features(folder, "text")
    (folder / PART_NAME(0)).unlink()
    with pytest.raises(DamagedError, match=r"part-00000\.h5: missing, shards\.jsonl says \d+ bytes; run 'verify"):
        shards.unfinished(folder)
    assert shards.repair(folder) == [PART_NAME(0)]
    assert shards.unfinished(folder) == [PART_NAME(0)]


def test_a_line_of_the_record_that_was_edited_is_refused(folder: Path) -> None:
    write_features(folder, "text")
    text = (folder / RECORD).read_text()
    (folder / RECORD).write_text(text.replace('"rows":4', '"rows":5'))
    with pytest.raises(DamagedError) as caught:
        shards.recorded(folder)
    renew = "line 4 is damaged; run 'verify --repair', then 'extract' makes it again"
    assert str(caught.value) == f"store/features/{folder.name}/shards.jsonl: {renew}"


def test_a_record_cannot_point_out_of_its_folder(folder: Path) -> None:
    line = {"name": "../../victim", "rows": 0, "bytes": 0, "xxh3": ""}
    begin_features(folder, "text", 1)
    sealed = {**line, "line": shards.digest_of(line)}
    (folder / RECORD).write_bytes(shards.canonical(sealed) + b"\n")
    with pytest.raises(DamagedError, match="line 1 is damaged"):
        shards.recorded(folder)


def test_what_is_begun_is_finished_with_what_it_was_begun_with(folder: Path) -> None:
    begin_features(folder, "text", 2)
    begin_features(folder, "text", 2)
    with pytest.raises(DamagedError) as caught:
        begin_features(folder, "text", 3)
    where = f"store/features/{folder.name}/cache.json"
    assert str(caught.value) == f"{where}: begun with another files; finish it with that, or remove the folder"
    about = shards.about_of(folder)
    shards.begin(folder, about, about["files"])


def test_a_folder_of_a_later_format_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shards, "FORMAT", 2)
        write_features(folder, "text")
    said = "has format 2, this release reads format 1"
    with pytest.raises(DamagedError, match=f"{said}; remove the folder and run 'extract'"):
        FeatureCache.open(folder)
    assert shards.check(folder, hashes=False) == [said]


def test_a_folder_under_another_key_is_refused(folder: Path) -> None:
    begin_features(folder, "text", 1)
    text = (folder / ABOUT).read_text().replace('"joint"', '"raw"')
    (folder / ABOUT).write_text(text)
    line = shards.ShardLine(ABOUT, 0, len(text.encode()), shards.digest_file(folder / ABOUT))
    shards._write_record(folder, {ABOUT: line})
    assert shards.check(folder, hashes=True) == ["cache.json holds the content of another key"]


def test_a_folder_of_another_version_of_its_kind_is_no_damage_and_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_features(folder, "text")
    monkeypatch.setitem(KINDS_VERSION, "features", 2)
    with pytest.raises(MissingError) as caught:
        FeatureCache.open(folder)
    assert str(caught.value) == f"store/features/{folder.name}: of another version; run 'extract' again"
    assert shards.check(folder, hashes=True) == []


def test_wholeness_is_asked_for_with_one_line(folder: Path) -> None:
    where = f"store/features/{folder.name}"
    with pytest.raises(MissingError) as caught:
        shards.require_whole(folder, "extract")
    assert str(caught.value) == f"{where}: not there; run 'extract'"
    begin_features(folder, "text", 2)
    with pytest.raises(MissingError) as caught:
        shards.require_whole(folder, "extract")
    unfinished = "unfinished, part-00000.h5 and 3 more to come; run 'extract', which goes on"
    assert str(caught.value) == f"{where}: {unfinished}"
    write_features(folder, "text")
    shards.require_whole(folder, "extract")


def test_no_file_of_a_folder_tells_when_or_where_it_was_made(folder: Path) -> None:
    write_features(folder, "text")
    everything = b"".join(contents(folder).values())
    for trace in (os.uname().nodename.encode(), str(folder.parent).encode(), f"tmp-{os.getpid()}".encode()):
        assert trace not in everything


def test_a_folder_digest_is_that_of_its_files(folder: Path, tmp_path: Path) -> None:
    other = features_folder(tmp_path / "other", "text")
    write_features(folder, "text")
    write_features(other, "text")
    assert shards.folder_digest(folder) == shards.folder_digest(other)
    write_features(features_folder(tmp_path / "third", "text"), "text", (4, 2))
    assert shards.folder_digest(features_folder(tmp_path / "third", "text")) != shards.folder_digest(folder)


def test_cache_json_says_all_that_decides_the_key_in_the_open(folder: Path) -> None:
    begin_features(folder, "text", 2)
    assert (folder / ABOUT).read_text() == (GOLDEN / "cache.json").read_text()


@pytest.mark.parametrize("instead", ["folder", "dangling link", "loop"])
def test_what_stands_in_a_files_place_is_named_dropped_and_made_again(
    folder: Path, clean: dict[str, bytes], instead: str
) -> None:
    write_features(folder, "text")
    part = folder / PART_NAME(1)
    part.unlink()
    if instead == "folder":
        part.mkdir()
        (part / "x").touch()
    else:
        part.symlink_to(part if instead == "loop" else folder / "nowhere")
    (problem,) = shards.check(folder, hashes=True)
    said = {"folder": "no file, ", "dangling link": "missing, ", "loop": "cannot be read (Too many levels of symbolic"}
    assert problem.startswith(f"{part.name}: {said[instead]}")
    assert not shards.is_whole(folder)
    assert shards.repair(folder) == [part.name]
    assert write_features(folder, "text") == [part.name]
    assert contents(folder) == clean


def test_a_part_moved_away_behind_a_link_is_read_there_and_a_repair_leaves_the_target(
    folder: Path, tmp_path: Path
) -> None:
    write_features(folder, "text")
    part, away = folder / PART_NAME(1), tmp_path / "away.h5"
    part.rename(away)
    part.symlink_to(away)
    assert shards.check(folder, hashes=True) == []
    flip_bit(away)
    assert shards.repair(folder) == [part.name]
    assert away.exists()
    assert not part.is_symlink()


def test_a_store_behind_a_link_is_the_same_store(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "elsewhere")
    write_features(folder, "text")
    assert len(FeatureCache.open(folder)) == 7
    assert shards.check(folder, hashes=True) == []


def failing_to_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A disk that cannot read one file any more."""

    def read(path: Path) -> str:
        if path.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return digest_file(path)

    monkeypatch.setattr("cache.shards.digest_file", read)


@pytest.mark.parametrize("name", [PART_NAME(0), "index.parquet", ABOUT])
def test_a_disk_that_cannot_read_a_file_is_a_finding_and_one_line(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_features(folder, "text")
    failing_to_read(monkeypatch, name)
    assert shards.check(folder, hashes=True) == [f"{name}: cannot be read (Input/output error)"]
    with pytest.raises(DamagedError, match=r"cannot be read \(Input/output error\); run 'verify --repair'"):
        shards.require_sound(folder)


def test_a_record_that_cannot_be_read_is_told_and_nothing_is_dropped_for_it(
    folder: Path, clean: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    write_features(folder, "text")
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", read)
        assert shards.check(folder, hashes=True) == [f"{RECORD}: cannot be read (Input/output error)"]
        with pytest.raises(UserError, match="mend that and run the same command again") as caught:
            shards.repair(folder)
        assert "\n" not in str(caught.value)
        assert not shards.is_whole(folder)
    assert contents(folder) == clean


def test_a_second_line_for_a_file_is_damage(folder: Path) -> None:
    write_features(folder, "text")
    text = (folder / RECORD).read_bytes()
    (folder / RECORD).write_bytes(text + text.splitlines(keepends=True)[3])
    with pytest.raises(DamagedError, match="line 6 is damaged"):
        shards.recorded(folder)


def test_other_bytes_under_a_recorded_name_are_never_vouched_for_by_the_old_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_features(folder, "text")
    for number in range(13):
        finished = shards.temporary(folder)
        write_part(finished, small_part("text", number + 1))
        with monkeypatch.context() as patch:
            patch.setattr(shards, "step", die_at(number))
            in_child(lambda finished=finished: shards.record(folder, finished, PART_NAME(0), 4))  # type: ignore[misc]
        assert [p for p in shards.check(folder, hashes=True) if not p.startswith("tmp-")] == []


def test_the_same_bytes_under_a_recorded_name_are_not_written_again(folder: Path) -> None:
    write_features(folder, "text")
    before = (folder / PART_NAME(0)).stat().st_ino
    finished = shards.temporary(folder)
    write_part(finished, small_part("text", 0))
    shards.record(folder, finished, PART_NAME(0), 4)
    assert (folder / PART_NAME(0)).stat().st_ino == before
    assert not finished.exists()
