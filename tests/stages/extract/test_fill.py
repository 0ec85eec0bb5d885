from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cache import shards, store
from cache.errors import BusyError, DamagedError, UserError
from cache.shards import ABOUT, RECORD
from cache.store import folder_of, read_ledger
from proof.toys import bytes_of
from stages.extract import fill as filling
from stages.extract.run import run
from tests.listener import Listener
from tests.stages.extract.conftest import Toys, caches_of, counted_parts, keys_of, save_pictures

pytestmark = pytest.mark.usefixtures("one_encoder")


def test_the_last_line_says_rate_and_shares(toys: Toys, listener: Listener) -> None:
    run(toys.params)
    line = next(line for line in listener.said if line.startswith("toys images"))
    assert "10 rows in " in line
    assert " items/s (read " in line
    shares = [int(word.strip(",)%")) for word in line.split() if "%" in word]
    assert len(shares) == 3
    assert abs(sum(shares) - 100) <= 2


class DiskFullError(OSError):
    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "No space left on device")


def full_at(monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """The disk is full when the n-th part is written."""
    count = 0

    def write(path: Path, arrays: Any) -> None:
        nonlocal count
        count += 1
        if count == nth:
            raise DiskFullError
        original(path, arrays)

    from cache import features

    original = features.write_arrays
    monkeypatch.setattr(features, "write_arrays", write)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_full_disk_loses_nothing_and_shows_nothing_half(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    clean = toys.into("clean")
    run(clean)
    with monkeypatch.context() as broken:
        full_at(broken, nth)
        with pytest.raises(UserError, match="the disk is full; make room, then run 'extract' again"):
            run(toys.params)
    [folder] = (toys.params.store / "features").iterdir()
    assert not toys.params.ledger.exists()
    names = {path.name for path in folder.iterdir()}
    assert names == {ABOUT, RECORD, *(f"part-{i:05}.h5" for i in range(nth - 1))}
    done = counted_parts(monkeypatch)
    run(toys.params)
    assert done[: 4 - nth] == list(range(nth - 1, 3))
    assert bytes_of(toys.params.store) == bytes_of(clean.store)


@pytest.mark.parametrize("at", ["write", "fsync", "replace", "folder", "record"])
def test_a_full_disk_at_any_step_of_the_commit_is_one_line(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    clean = toys.into("clean")
    run(clean)
    passed = 0

    def step(name: str) -> None:
        nonlocal passed
        passed += name == at
        if name == at and passed == 4:
            raise DiskFullError

    with monkeypatch.context() as broken:
        broken.setattr(shards, "step", step)
        with pytest.raises(UserError) as caught:
            run(toys.params)
    assert "\n" not in str(caught.value)
    run(toys.params)
    assert bytes_of(toys.params.store) == bytes_of(clean.store)


def test_a_disk_that_refuses_is_one_line(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shards, "begin", refuses)
    with pytest.raises(UserError, match="Permission denied; mend that and run 'extract' again"):
        run(toys.params)


def test_a_cache_is_finished_in_the_parts_it_was_begun_with(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = toys.into("clean")
    run(clean)
    with monkeypatch.context() as broken:
        full_at(broken, 2)
        with pytest.raises(UserError):
            run(toys.params)
    sizes: set[int] = set()
    original = filling.extract_shards

    def watched(encoder: Any, tasks: Any, *rest: Any) -> Any:
        sizes.update(task.batch for task in tasks if task.root)
        return original(encoder, tasks, *rest)

    monkeypatch.setattr(filling, "extract_shards", watched)
    run(toys.with_(rows_per_shard=3, batch=2))
    assert sizes == {3}
    images = "features/" + read_ledger(toys.params.ledger).keys[0].key
    ours, theirs = bytes_of(toys.params.store / images), bytes_of(clean.store / images)
    assert ours == theirs


def test_a_second_extract_is_refused_at_once_and_names_the_first(toys: Toys) -> None:
    keys = keys_of(toys.into("elsewhere"))
    with (
        store.lock(toys.params.store, "features", keys[0], False, lambda _: None),
        pytest.raises(BusyError, match=rf"pid {os.getpid()} on .* is writing here since .*; wait for it or stop it"),
    ):
        run(toys.params)
    assert not toys.params.ledger.exists()


def test_whoever_waited_finds_the_work_done(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run finishes between our look and our lock."""
    run(toys.params)
    before = bytes_of(toys.params.store)
    monkeypatch.setattr(shards, "is_whole", lambda folder: False)  # noqa: ARG005
    done = counted_parts(monkeypatch)
    run(toys.params)
    assert done == []
    assert bytes_of(toys.params.store) == before


def test_what_a_dead_worker_left_is_no_part_of_the_cache(toys: Toys, listener: Listener) -> None:
    def die(_what: str) -> None:
        for folder in (toys.params.store / "features").iterdir():
            if not shards.is_whole(folder):
                (folder / "tmp-1-dead").write_bytes(b"half a shard")

    clean = toys.into("clean")
    run(clean)
    listener.on_advance = die
    run(toys.params)
    assert bytes_of(toys.params.store) == bytes_of(clean.store)


def test_damage_is_named_and_never_written_over(toys: Toys) -> None:
    run(toys.params)
    part = folder_of(toys.params.store, "features", read_ledger(toys.params.ledger).keys[0].key) / "part-00001.h5"
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(DamagedError, match=r"part-00001\.h5: \d+ bytes, shards\.jsonl says \d+; run 'verify --repair'"):
        run(toys.params)


def test_a_repaired_cache_is_made_whole_by_that_part_alone(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    run(toys.params)
    before = bytes_of(toys.params.store)
    folder = folder_of(toys.params.store, "features", read_ledger(toys.params.ledger).keys[0].key)
    data = bytearray((folder / "part-00001.h5").read_bytes())
    data[-100] ^= 1
    (folder / "part-00001.h5").write_bytes(data)
    assert shards.repair(folder) == ["part-00001.h5"]
    done = counted_parts(monkeypatch)
    run(toys.params)
    assert done == [1]
    assert bytes_of(toys.params.store) == before


def bad_pictures(root: Path) -> list[str]:
    """Nine good pictures, and one of each kind of bad ones."""
    names = save_pictures(root, 9)
    out = io.BytesIO()
    Image.effect_noise((300, 300), 80).save(out, "JPEG")
    (root / "cut.jpg").write_bytes(out.getvalue()[:3000])
    (root / "empty.jpg").write_bytes(b"")
    (root / "text.jpg").write_bytes(b"hello")
    Image.new("1", (20_000, 15_000)).save(root / "bomb.png")
    (root.parent / "outside.jpg").write_bytes((root / names[0]).read_bytes())
    (root / "link.jpg").symlink_to(root.parent / "outside.jpg")
    return [*names, "cut.jpg", "empty.jpg", "text.jpg", "bomb.png", "link.jpg"]


def test_pictures_that_cannot_be_read_are_listed_and_the_run_goes_on(toys: Toys, listener: Listener) -> None:
    toys.remake(bad_pictures(toys.root))
    run(toys.params)
    cache = caches_of(toys.params)["image"]
    assert cache.ids == [f"id{i}" for i in range(9)]
    assert dict(zip(cache.failed["path"].to_pylist(), cache.failed["error"].to_pylist(), strict=True)) == {
        "cut.jpg": "OSError",
        "empty.jpg": "ValueError",
        "text.jpg": "UnidentifiedImageError",
        "bomb.png": "DecompressionBombError",
        "link.jpg": "OutsideRootError",
    }
    listed = cache.path / "failed.parquet"
    assert listed.is_file()
    assert listener.warned == [f"5 of 14 images could not be read and are left out; they are listed in {listed}"]
    assert read_ledger(toys.params.ledger).find(rows="image").about == {"rows": "image", "count": 9, "failed": 5}


def test_failures_are_told_again_and_never_tried_again(
    toys: Toys, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.remake(["002.jpg", "no.jpg", "nor.jpg"])
    for name in ("no.jpg", "nor.jpg"):
        (toys.root / name).write_bytes(b"")
    toys.remake(["002.jpg", "no.jpg", "nor.jpg"])
    run(toys.with_(rows_per_shard=1))  # two shards whose every row failed
    done = counted_parts(monkeypatch)
    run(toys.params)
    assert done == []
    assert [line[:4] for line in listener.warned] == ["2 of", "2 of"]


def test_texts_that_were_cut_are_counted(toys: Toys, listener: Listener) -> None:
    run(toys.with_(templates=["{}" + " and on" * 20, "{}"]))
    assert listener.warned == ["2 of 4 names exceed 12 tokens and were cut; column 'truncated' marks them"]
    assert caches_of(toys.params)["name"].index["truncated"].to_pylist() == [True, False] * 2


def test_pooled_vectors_alone_are_a_cache_too(toys: Toys) -> None:
    run(toys.with_(tokens="none"))
    made = caches_of(toys.params)
    assert not made["image"].has_tokens
    assert made["image"].pooled().shape == (10, 16)


def test_cache_json_holds_all_of_it_in_the_open(toys: Toys) -> None:
    run(toys.params)
    about = caches_of(toys.params)["text"].about
    assert about["rows"] == "text"
    assert about["dims"] == {"tokens": 16, "tokens_an_image": None, "pooled": 16, "pooled_raw": 24}
    assert about["content"].keys() >= {
        "rows_digest",
        "weights",
        "tokenizer",
        "precision",
        "device",
        "storage",
        "tokens",
    }
    assert (about["batch"], about["rows_per_shard"], about["pooling"]) == (3, 4, "last")
    assert store.make_key("features", about["content"]) == caches_of(toys.params)["text"].path.name
