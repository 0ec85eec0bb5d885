from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache.errors import UserError
from cache.hdf5 import map_arrays, strings_of
from stages.extract import shard
from stages.extract.encoders.encoder import Encoded, Encoder
from stages.extract.plan import Row, image_rows, text_rows
from stages.extract.shard import Finished, Piece, Task, extract_shards
from tests.stages.extract.conftest import manifest_of, save_pictures


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Ten pictures in batches of three, the fifth of them damaged."""
    root = tmp_path / "pictures"
    names = save_pictures(root, 10)
    (root / names[4]).write_bytes(b"damaged")
    (tmp_path / "out").mkdir()
    return Task(0, image_rows(manifest_of(root, names)), root, tmp_path / "out", 3, "joint", "float16")


@pytest.fixture
def texts(task: Task) -> Task:
    assert task.root is not None
    rows = text_rows(manifest_of(task.root, [f"{i:03}.jpg" for i in range(10)]))
    return replace(task, rows=rows, root=None)


def extracted(encoder: Encoder, *tasks: Task, lanes: int = 2) -> list[Finished]:
    return list(extract_shards(encoder, tasks, lanes, lambda _: None))


def test_rows_keep_their_order_and_failures_are_listed(tiny: Encoder, task: Task) -> None:
    [done] = extracted(tiny, task)
    part = map_arrays(done.file)
    good = [row for i, row in enumerate(task.rows) if i != 4]
    assert strings_of(part["id"]) == [row.id for row in good]
    assert (done.rows, done.failed) == (9, 1)
    assert strings_of(part["failed_id"]) == ["id4"]
    assert strings_of(part["failed_path"]) == ["004.jpg"]
    assert task.root is not None
    for i, row in enumerate(good):
        picture = shard.images.load(task.root, row).image
        assert picture is not None
        alone = tiny.encode_images([picture], "joint")
        assert np.allclose(part["pooled"][i], alone.pooled[0], atol=1e-5)
        assert alone.tokens is not None
        assert np.allclose(part["tokens"][i], alone.tokens[0], atol=2e-3)
    assert part["tokens"].dtype == np.float16
    assert part["n_tokens"].tolist() == [4] * 9


def test_texts_come_back_in_their_order_though_encoded_by_length(tiny: Encoder, texts: Task) -> None:
    [done] = extracted(tiny, texts)
    part = map_arrays(done.file)
    assert strings_of(part["id"]) == [row.id for row in texts.rows]
    assert part["caption"].tolist() == [row.caption for row in texts.rows]
    assert len(set(part["n_tokens"].tolist())) > 1
    for i, row in enumerate(texts.rows):
        alone = tiny.encode_texts([row.content], "joint")
        begin, end = part["offsets"][i : i + 2].tolist()
        assert alone.tokens is not None
        assert np.allclose(part["tokens"][begin:end], alone.tokens, atol=2e-3)
        assert np.allclose(part["pooled"][i], alone.pooled[0], atol=1e-5)


def test_the_bytes_depend_neither_on_lanes_nor_on_other_shards(tiny: Encoder, task: Task, texts: Task) -> None:
    alone = [extracted(tiny, one, lanes=1)[0].file.read_bytes() for one in (task, texts)]
    together = extracted(tiny, task, replace(texts, index=1), lanes=5)
    assert [done.file.read_bytes() for done in together] == alone


@pytest.mark.parametrize("tokens", ["none", "raw", "joint"])
@pytest.mark.parametrize("aligned", [True, False])
def test_a_shard_whose_rows_all_failed_is_a_whole_file(tiny: Encoder, task: Task, tokens: Any, aligned: bool) -> None:
    encoder = tiny if aligned else replace(tiny, aligned=False)
    tokens = encoder.kind_of(tokens)
    [whole] = extracted(encoder, replace(task, tokens=tokens))
    [none] = extracted(encoder, replace(task, rows=task.rows[4:5], tokens=tokens))
    assert (none.rows, none.failed) == (0, 1)
    usual, empty = map_arrays(whole.file), map_arrays(none.file)
    assert usual.keys() == empty.keys()
    for name in usual.keys() - {"failed_id"}:
        assert empty[name].shape[1:] == usual[name].shape[1:]
    assert ("tokens" in usual) == (tokens != "none")
    assert ("pooled_raw" in usual) == aligned


def test_texts_without_tokens_have_no_offsets(tiny: Encoder, texts: Task) -> None:
    part = map_arrays(extracted(tiny, replace(texts, tokens="none"))[0].file)
    assert not {"tokens", "offsets"} & part.keys()
    assert part["n_tokens"].min() > 2


def scaled(encoder: Encoder, factor: float) -> Encoder:
    project = encoder.image.project
    return replace(encoder, image=replace(encoder.image, project=lambda x: project(x) * factor))


def test_tokens_that_float16_cannot_hold_are_refused(tiny: Encoder, task: Task) -> None:
    with pytest.raises(UserError, match=r"has tokens too large for float16; set extract\.storage to float32"):
        extracted(scaled(tiny, 1e6), task)
    assert not list(task.folder.iterdir())
    assert extracted(scaled(tiny, 1e6), replace(task, storage="float32"))


def test_values_that_are_no_numbers_are_refused(tiny: Encoder, task: Task) -> None:
    with pytest.raises(UserError, match="gave values that are no numbers at fp32; use precision fp32"):
        extracted(scaled(tiny, float("nan")), task)


def test_reading_goes_on_while_the_model_runs() -> None:
    """The first batch waits inside the model until the second one has been read."""
    second_read = threading.Event()
    seen: list[bool] = []

    def jobs() -> Iterator[Any]:
        yield lambda: "first"
        yield lambda: second_read.set() or "second"

    def encode(loaded: Any) -> Any:
        seen.append(second_read.wait(10))
        return loaded

    assert list(shard._overlapped(jobs(), encode, 1, 3)) == ["first", "second"]
    assert seen == [True, True]


def test_reading_never_runs_far_ahead() -> None:
    asked = 0

    def jobs() -> Iterator[Any]:
        nonlocal asked
        for i in range(100):
            asked += 1
            yield lambda i=i: i

    for given in shard._overlapped(jobs(), lambda loaded: loaded, 2, 4):
        assert asked - given <= 6


def test_every_core_reads_for_one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is read only once three more are being read beside it."""
    monkeypatch.setattr(shard.joblib, "cpu_count", lambda: 4)
    together = threading.Barrier(4)

    def jobs() -> Iterator[Any]:
        for i in range(8):
            yield lambda i=i: (together.wait(10), i)[1]

    assert list(shard._overlapped(jobs(), lambda loaded: loaded, 1, shard.ahead_of("cuda", 1))) == list(range(8))


def test_tensors_are_made_in_the_lanes_of_a_cpu_and_by_the_readers_of_a_gpu(tiny: Encoder, task: Task) -> None:
    def made_in(job: shard.Job) -> list[str]:
        with ThreadPoolExecutor(1, "reader") as readers, ThreadPoolExecutor(1, "lane") as lanes:
            threads.clear()
            lanes.submit(readers.submit(job).result()).result()
        return [name.partition("_")[0] for name in threads]

    threads: list[str] = []

    def noted(image: Any) -> Any:
        threads.append(threading.current_thread().name)
        return tiny.preprocess(image)

    job = next(shard._jobs(replace(tiny, preprocess=noted), task))
    assert made_in(job) == ["lane"] * 3
    assert made_in(partial(shard._unpacked, job)) == ["reader"] * 3


def test_so_many_batches_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard.joblib, "cpu_count", lambda: 16)
    assert [shard.ahead_of("cpu", lanes) for lanes in (1, 2, 16)] == [3, 4, 24]
    assert shard.ahead_of("cuda", 1) == 18


def test_every_batch_is_heard_of(tiny: Encoder, task: Task, texts: Task) -> None:
    heard: list[Piece] = []
    list(extract_shards(tiny, [task, replace(texts, index=1)], 2, heard.append))
    assert sum(len(piece.places) + len(piece.failures) for piece in heard) == 10 + 20
    assert all(piece.bytes > 0 for piece in heard)
    assert all(piece.times.read >= 0 and piece.times.encode > 0 for piece in heard)


def test_the_number_of_threads_is_given_back(tiny: Encoder, task: Task) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        stream = extract_shards(tiny, [task], 1, lambda _: None)
        next(stream)
        assert torch.get_num_threads() == 1
        stream.close()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_reader_ends_the_run(tiny: Encoder, task: Task) -> None:
    rows = [*task.rows, Row("x", 0, "gone.jpg", "00")]
    with pytest.raises(UserError, match="gone since 'ingest' saw it"):
        extracted(tiny, replace(task, rows=rows))


def test_truncation_marks_follow_their_rows(tiny: Encoder, texts: Task) -> None:
    long = " ".join(["dog"] * 30)
    rows = [Row("a", 0, long, ""), Row("b", 0, "a dog", ""), Row("c", 0, long, "")]
    part = map_arrays(extracted(tiny, replace(texts, rows=rows, batch=1))[0].file)
    assert part["truncated"].tolist() == [True, False, True]


def test_an_encoded_batch_is_what_it_was_but_for_storage(tiny: Encoder, task: Task) -> None:
    pixels = [torch.zeros(3, 32, 32)]
    stored: Encoded = shard._stored(tiny, task, pixels)
    plain = tiny.encode_images(pixels, "joint")
    assert stored.tokens is not None
    assert plain.tokens is not None
    assert np.array_equal(stored.tokens, plain.tokens.astype(np.float16))
    assert np.array_equal(stored.pooled, plain.pooled)
