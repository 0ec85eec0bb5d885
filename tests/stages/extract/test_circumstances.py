"""Extraction where others are at work, where nothing may be written, under a clock that jumps, and at any size."""

from __future__ import annotations

import io
import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import shards
from cache.errors import BusyError, MissingError, UserError
from cache.features import FAILED, INDEX, FeatureCache
from cache.files import write_table
from cache.manifest import read_manifest, write_manifest
from cache.store import folder_of, read_ledger
from cache.verify import keys_in, repair_store, verify_store
from pipeline.console import ConsoleReporter
from proof.conditions import child_of, may_mount, obeying_modes, without_waiting_for_the_disk
from proof.toys import bytes_of, make_toys
from stages.extract import run as stage
from stages.extract.encoders.encoder import Encoder
from stages.extract.fill import fill
from stages.extract.params import ExtractParams
from stages.extract.plan import Row
from stages.extract.run import run
from stages.progress import report_to
from tests.listener import Listener
from tests.stages.extract import slow
from tests.stages.extract.conftest import Toys

IN_THE_TEXTS = 8 + 9 * 5 + 8 + 9 + 4  # a step of the commit of the texts' second part; those of the pictures are over


@pytest.fixture(autouse=True)
def one_encoder(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stage, "load_encoder", lambda choice: tiny)  # noqa: ARG005
    with without_waiting_for_the_disk():
        yield


def folders_of(params: ExtractParams) -> dict[str, Path]:
    """The folders of the three caches, by their rows."""
    return {key.about["rows"]: folder_of(params.store, key.kind, key.key) for key in read_ledger(params.ledger).keys}


# --- others at work -------------------------------------------------------------------------------------------------


@dataclass
class Other:
    """Another process that extracts the same, standing still amid the texts until `go_on`."""

    process: Any
    go: Path
    clean: ExtractParams
    folders: dict[str, Path] = field(default_factory=dict)

    def go_on(self) -> None:
        self.go.touch()


@pytest.fixture
def other(toys: Toys) -> Iterator[Other]:
    clean = toys.into("clean")
    run(clean)
    ours, theirs = get_context("forkserver").Pipe()
    process = child_of(slow.stand_still, toys.params, IN_THE_TEXTS, toys.base / "go", theirs)
    assert ours.poll(120)
    folders = {rows: toys.params.store / "features" / folder.name for rows, folder in folders_of(clean).items()}
    yield Other(process, toys.base / "go", clean, folders)
    process.kill()
    process.join()


def test_a_second_writer_is_refused_at_once_by_the_name_of_the_first(toys: Toys, other: Other) -> None:
    with pytest.raises(BusyError, match=rf"pid {other.process.pid} on .* is writing here since .*; wait for it"):
        run(toys.params)
    other.go_on()
    other.process.join()
    assert other.process.exitcode == 0
    assert bytes_of(toys.params.store) == bytes_of(other.clean.store)


def test_a_second_writer_under_dvc_waits_says_for_whom_and_finds_the_work_done(
    toys: Toys, other: Other, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(message: str) -> None:
        listener.said.append(message)
        if message.startswith("waiting"):
            other.go_on()

    monkeypatch.setattr(listener, "say", say)
    run(replace(toys.params, wait_for_lock=True))
    assert {line for line in listener.said if "waiting" in line} == {
        f"waiting for pid {other.process.pid} on {os.uname().nodename}"
    }
    assert "toys texts" not in listener.advanced  # all that was to do was done by the other
    assert bytes_of(toys.params.store) == bytes_of(other.clean.store)


def test_a_reader_beside_a_writer_reads_what_is_whole_and_is_told_what_is_not(toys: Toys, other: Other) -> None:
    images = FeatureCache.open(other.folders["image"])
    assert np.array_equal(images.pooled(), FeatureCache.open(folders_of(other.clean)["image"]).pooled())
    unfinished = r"unfinished, part-0000\d\.h5 and \d+ more to come; run 'extract', which goes on$"
    with pytest.raises(MissingError, match=unfinished):
        FeatureCache.open(other.folders["text"])
    with pytest.raises(MissingError, match="not there; run "):
        FeatureCache.open(other.folders["name"])
    assert verify_store(toys.params.store, hashes=True) == []


def test_who_opened_a_cache_before_a_repair_reads_on_and_who_opens_it_after_reads_the_new_part(toys: Toys) -> None:
    run(toys.params)
    folder = folders_of(toys.params)["image"]
    reader, sound = FeatureCache.open(folder), FeatureCache.open(folder).pooled()
    assert np.array_equal(reader.pooled(), sound)
    part = folder / "part-00001.h5"
    inode = part.stat().st_ino
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    damaged = reader.pooled()
    repair_store(toys.params.store)
    assert np.array_equal(reader.pooled(), damaged)  # the part is gone from the folder, not from under the mapping
    run(toys.params)
    assert part.stat().st_ino != inode
    assert np.array_equal(reader.pooled(), damaged)
    assert np.array_equal(FeatureCache.open(folder).pooled(), sound)


# --- where nothing may be written -----------------------------------------------------------------------------------


def test_a_cache_whose_folders_may_not_be_written_is_read_and_not_extended(toys: Toys) -> None:
    run(toys.params)
    folders = [path for path in [toys.params.store, *toys.params.store.rglob("*")] if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        with obeying_modes():
            read = [FeatureCache.open(folder).pooled() for folder in folders_of(toys.params).values()]
            assert [len(vectors) for vectors in read] == [10, 20, 4]
            run(toys.params)  # nothing is to be done, so nothing need be written
            with pytest.raises(UserError, match=r"Permission denied.*; mend that and run 'extract' again") as caught:
                run(toys.with_(tokens="raw"))
            assert "\n" not in str(caught.value)
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_cache_on_a_read_only_file_system_is_read_and_not_extended(toys: Toys) -> None:
    if reason := may_mount():
        pytest.skip(f"no disk can be mounted here: {reason}")
    run(toys.params)
    sums = [float(FeatureCache.open(folder).pooled().sum()) for folder in keys_in(toys.params.store)]
    ours, theirs = get_context("forkserver").Pipe()
    child = child_of(slow.on_a_read_only_disk, toys.into("closed"), theirs)
    child.join()
    assert ours.recv() == sums
    assert ours.recv() == (0, "")
    code, line = ours.recv()
    assert code == 1
    assert re.fullmatch(r".*Read-only file system.*; mend that and run 'extract' again\n", line)


@pytest.mark.parametrize("name", [INDEX, FAILED])
def test_a_disk_that_is_full_when_the_index_is_written_keeps_every_part(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clean = toys.into("clean")
    run(clean)

    def write(target: Path, table: Any, about: dict[str, str]) -> None:
        if ("failed" in name) == ("error" in table.column_names):
            target.write_bytes(b"half a")
            raise OSError(28, os.strerror(28))
        original(target, table, about)

    original = write_table
    with monkeypatch.context() as full:
        full.setattr("cache.features.write_table", write)
        with pytest.raises(UserError, match="the disk is full; make room, then run 'extract' again"):
            run(toys.params)
    [folder] = keys_in(toys.params.store)
    parts = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    assert len(parts) == 3
    assert shards.unfinished(folder)[0] == name
    run(toys.params)
    assert parts == {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    assert bytes_of(toys.params.store) == bytes_of(clean.store)


# --- a clock that jumps ---------------------------------------------------------------------------------------------


def jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every clock that a program may ask steps forth, and back."""
    for name in ("time", "monotonic"):
        leaps = itertools.cycle([0.0, 86_400.0, -86_400.0 * 365, 11.0, 25.0, -3.0])
        real = getattr(time, name)
        monkeypatch.setattr(time, name, lambda real=real, leaps=leaps: real() + next(leaps))


def test_a_clock_that_jumps_changes_no_key_and_no_byte(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    steady, jumpy = toys.into("steady"), toys.into("jumpy")
    run(steady)
    jump(monkeypatch)
    run(jumpy)
    assert bytes_of(jumpy.store) == bytes_of(steady.store)
    assert jumpy.ledger.read_bytes() == steady.ledger.read_bytes()


def test_progress_under_a_clock_that_jumps_never_speaks_of_less_than_nothing(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.console.LOG_EVERY", 0.001)
    jump(monkeypatch)
    with redirect_stderr(io.StringIO()) as log:
        before = report_to(ConsoleReporter())
        try:
            run(toys.params)
        finally:
            report_to(before)
    lines = log.getvalue().splitlines()
    assert [line for line in lines if re.match(r"toys images: \d+/10,", line)]
    assert not [line for line in lines if re.search(r"-\d", line)]


# --- names and sizes ------------------------------------------------------------------------------------------------


def test_a_folder_whose_name_has_blanks_and_other_letters_makes_the_same_caches(toys: Toys, tiny_folder: Path) -> None:
    odd = make_toys(toys.base / 'мои данные · 写真 \'n "more"', tiny_folder, 10)
    manifest = read_manifest(toys.params.manifest)
    images = ["ein Bild.jpg", *manifest.images[1:]]
    (odd.root / "000.jpg").rename(odd.root / "ein Bild.jpg")
    write_manifest(odd.params.manifest, replace(manifest, root=str(odd.root), images=images), "test")
    run(odd.params)
    run(toys.params)
    ours, theirs = folders_of(odd.params), folders_of(toys.params)
    for rows in ("image", "text", "name"):
        assert np.array_equal(FeatureCache.open(ours[rows]).pooled(), FeatureCache.open(theirs[rows]).pooled())
    assert verify_store(odd.params.store, hashes=True) == []


@pytest.mark.parametrize("items", [0, 1])
def test_no_row_and_one_row_are_whole_caches(tmp_path: Path, tiny_folder: Path, items: int) -> None:
    params = make_toys(tmp_path, tiny_folder, items).params
    run(params)
    run(params)
    caches = {rows: FeatureCache.open(folder, verify=True) for rows, folder in folders_of(params).items()}
    counts = {rows: len(cache) for rows, cache in caches.items()}
    assert counts == {"image": items, "text": 2 * items, "name": 2 * items}
    assert caches["image"].columns(["id"])["id"].to_pylist() == ["id0"][:items]
    assert [cache.failed.num_rows for cache in caches.values()] == [0, 0, 0]
    assert {rows: cache.pooled().shape for rows, cache in caches.items()} == {r: (n, 16) for r, n in counts.items()}
    assert np.shape(caches["image"].pooled_raw()) == (items, 32)
    assert np.shape(caches["image"].tokens(range(items))) == (items, 4, 16)
    values, offsets = caches["text"].tokens(range(2 * items))
    assert (values.shape, values.dtype, len(offsets)) == ((int(offsets[-1]), 16), np.float16, 2 * items + 1)
    assert verify_store(params.store, hashes=True) == []


def test_a_hundred_thousand_texts_of_one_token(toys: Toys, tiny: Encoder) -> None:
    count = 100_000
    params = toys.with_(rows_per_shard=20_000, batch=1024, tokens="raw")
    rows = [Row(f"id{i}", 0, "a", "") for i in range(count)]
    job = stage.plan(params, read_manifest(params.manifest), stage.choose(params), tiny, "text", rows)
    entry = fill(job)
    assert entry.about == {"rows": "text", "count": count, "failed": 0}
    cache = FeatureCache.open(job.folder)
    lengths = np.asarray(cache.columns(["n_tokens"])["n_tokens"])
    wanted = np.random.default_rng(0).integers(0, count, 1000)
    values, offsets = cache.tokens(wanted)
    assert (np.diff(offsets) == lengths[wanted]).all()
    assert len(set(lengths.tolist())) == 1
    assert cache.columns(["part"])["part"].to_pylist()[::20_000] == [0, 1, 2, 3, 4]
    assert np.array_equal(values[: lengths[0]], cache.tokens([count - 1])[0])
