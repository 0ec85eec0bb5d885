"""Shards: rows are read, encoded and written while the next ones are already being read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
from torch import Tensor

from cache import shards
from cache.errors import UserError
from cache.features import Failure, Part, write_part
from stages.extract import images
from stages.extract.encoders.encoder import Encoded, Encoder, Tokenized
from stages.extract.params import Storage, Tokens
from stages.extract.plan import Places, Row, batches, batches_by_length


@dataclass(frozen=True)
class Task:
    """One shard to extract, with all that a process elsewhere needs for it: `root` of the pictures, None for texts."""

    index: int
    rows: Sequence[Row]
    root: Path | None
    folder: Path
    batch: int
    tokens: Tokens
    storage: Storage


class Times(NamedTuple):
    """Seconds at work, added up over threads: reading (with decoding), encoding, writing.

    Encoding on a GPU is measured up to the copy of its results, which waits for the device.
    """

    read: float
    encode: float
    write: float


@dataclass(frozen=True)
class Finished:
    """A shard whose file is whole and still temporary: the leader names and records it."""

    index: int
    file: Path
    rows: int
    failed: int
    bytes: int
    times: Times


@dataclass(frozen=True)
class Loaded:
    """A batch that is ready for the encoder: of `task`, the rows at `places`; `bytes` were read from disk."""

    task: Task
    places: Places
    content: list[Tensor] | Tokenized
    failures: list[Failure]
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Piece:
    """An encoded batch: `places` are those of the rows that could be read."""

    task: Task
    places: Places
    encoded: Encoded | None
    truncated: Any
    failures: list[Failure]
    bytes: int
    times: Times


def extract_shards(
    encoder: Encoder, tasks: Iterable[Task], lanes: int, on_piece: Callable[[Piece], None]
) -> Generator[Finished, None, None]:
    """Extract shards one after the other, reading ahead across their borders; each is yielded once its file is whole.

    `lanes` batches are encoded side by side; `on_piece` hears of each batch. A batch never holds rows of two shards,
    and a lane is one core, so that the bits depend neither on `lanes` nor on what was done before.

    A shard's batches wait in memory until its last one is encoded, and are put together there: what is held is three
    times the shard at most (rows_per_shard x tokens x width) and a few batches, whatever the size of the dataset.
    """
    on_cpu = encoder.device.type == "cpu"
    jobs = (job if on_cpu else partial(_unpacked, job) for task in tasks for job in _jobs(encoder, task))
    ahead = ahead_of(encoder.device.type, lanes)
    with _single_cores(on_cpu):
        for task, pieces in groupby(_overlapped(jobs, partial(encode, encoder), lanes, ahead), key=lambda p: p.task):
            yield _write(encoder, task, list(_heard(pieces, on_piece)))


def ahead_of(device: str, lanes: int) -> int:
    """How many batches are under way at once: some more than lanes, or on a GPU than cores.

    There every core reads, and what is ready keeps the GPU busy while a shard is written.
    """
    return lanes + max(2, lanes // 2) if device == "cpu" else joblib.cpu_count() + 2


def _heard(pieces: Iterable[Piece], on_piece: Callable[[Piece], None]) -> Iterator[Piece]:
    for piece in pieces:
        on_piece(piece)
        yield piece


@contextmanager
def _single_cores(wanted: bool) -> Iterator[None]:
    """The threads started inside compute on one core each: many small crews wait for each other less than a large
    one (on two busy cores half the time), and sums are added up in one order."""
    before = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


Fetched = Callable[[], Loaded]  # what was read, to be called where its tensors are made
Job = Callable[[], Fetched]


def _unpacked(job: Job) -> Fetched:
    """A job that makes the tensors as well: beside a GPU the readers have the cores.

    On a CPU the lane that encodes a batch makes its tensors: readers that do so compete with the lanes for the cores
    (0.92 against 0.97 of a ViT-B/32's limit on two cores, bench `extraction`); what they read ahead is bytes.
    """
    loaded = job()()
    return lambda: loaded


def _overlapped(jobs: Iterator[Job], encode: Callable[[Fetched], Piece], lanes: int, ahead: int) -> Iterator[Piece]:
    """Run jobs (reading) and `encode` in threads; the results in order, `ahead` batches before who asks for them."""
    readers = ThreadPoolExecutor(
        max(lanes, min(ahead, joblib.cpu_count())), initializer=torch.set_num_threads, initargs=(1,)
    )
    workers = ThreadPoolExecutor(lanes, initializer=_begin_lane, initargs=(torch.get_num_threads(),))
    waiting: deque[Future[Piece]] = deque()
    try:
        for job in jobs:
            fetched = readers.submit(job)
            waiting.append(workers.submit(lambda future: encode(future.result()), fetched))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        readers.shutdown(cancel_futures=True)
        workers.shutdown(cancel_futures=True)


def _begin_lane(threads: int) -> None:
    torch.set_num_threads(threads)


def _jobs(encoder: Encoder, task: Task) -> Iterator[Job]:
    """The reading of a task's batches."""
    if task.root is not None:
        for places in batches(len(task.rows), task.batch):
            yield partial(_fetch_images, encoder, task, task.root, places)
        return
    begin = time.perf_counter()
    texts = encoder.tokenize([row.content for row in task.rows])
    spent = (time.perf_counter() - begin) / len(task.rows)
    for places in batches_by_length(texts.lengths.tolist(), task.batch):
        yield partial(_fetch_texts, task, texts, places, spent)


def _fetch_images(encoder: Encoder, task: Task, root: Path, places: Places) -> Fetched:
    begin = time.perf_counter()
    files = [images.fetch(root, task.rows[place]) for place in places]
    return partial(_load_images, encoder, task, places, files, time.perf_counter() - begin)


def _fetch_texts(task: Task, texts: Tokenized, places: Places, spent: float) -> Fetched:
    """Nothing is to be read: texts come with the manifest."""
    return partial(_load_texts, task, texts, places, spent)


def _load_images(encoder: Encoder, task: Task, places: Places, files: list[bytes | Failure], spent: float) -> Loaded:
    """A batch of pictures whose files were read in `spent` seconds."""
    begin = time.perf_counter()
    pixels, kept, failures, size = [], [], [], 0
    for place, file in zip(places, files, strict=True):
        image, failure, read = images.unpack(task.rows[place], file)
        size += read
        if image is not None:
            pixels.append(encoder.preprocess(image))
            kept.append(place)
        if failure is not None:
            failures.append(failure)
    seconds = spent + time.perf_counter() - begin
    return Loaded(task, np.array(kept, np.int64), pixels, failures, size, seconds)


def _load_texts(task: Task, texts: Tokenized, places: Places, spent: float) -> Loaded:
    """A batch of texts that are tokenised already, at `spent` seconds each."""
    size = sum(len(task.rows[place].content) for place in places)
    return Loaded(task, places, texts.take(places), [], size, spent * len(places))


def encode(encoder: Encoder, fetched: Fetched) -> Piece:
    """Encode a batch that was read; errors as of Encoder, and UserError for what the storage cannot hold."""
    loaded = fetched()
    begin = time.perf_counter()
    content, task = loaded.content, loaded.task
    truncated = content.truncated if isinstance(content, Tokenized) else np.zeros(len(content), np.bool_)
    encoded = _stored(encoder, task, content) if len(loaded.places) else None
    times = Times(loaded.seconds, time.perf_counter() - begin, 0.0)
    return Piece(task, loaded.places, encoded, truncated, loaded.failures, loaded.bytes, times)


def _stored(encoder: Encoder, task: Task, content: list[Tensor] | Tokenized) -> Encoded:
    """Encode, with tokens at the precision they are stored in; UserError for what it cannot hold."""
    if isinstance(content, Tokenized):
        encoded = encoder.encode_ids(content, task.tokens)
    else:
        encoded = encoder.encode_images(content, task.tokens)
    if not np.isfinite(encoded.pooled).all():
        raise UserError(f"{encoder.name}: gave values that are no numbers at {encoder.precision}; use precision fp32")
    if encoded.tokens is None:
        return encoded
    with np.errstate(over="ignore"):
        tokens = encoded.tokens.astype(task.storage)
    if not np.isfinite(tokens).all():
        raise UserError(f"{encoder.name}: has tokens too large for {task.storage}; set extract.storage to float32")
    return Encoded(tokens, encoded.n_tokens, encoded.pooled, encoded.pooled_raw)


def _write(encoder: Encoder, task: Task, pieces: list[Piece]) -> Finished:
    """Write a shard's batches to a temporary file, in the order of its rows."""
    begin = time.perf_counter()
    part = assemble(encoder, task, pieces)
    file = shards.temporary(task.folder)
    write_part(file, part)
    read, encode = (sum(piece.times[i] for piece in pieces) for i in range(2))
    times = Times(read, encode, time.perf_counter() - begin)
    size = sum(piece.bytes for piece in pieces)
    return Finished(task.index, file, len(part.ids), len(part.failures), size, times)


def assemble(encoder: Encoder, task: Task, pieces: list[Piece]) -> Part:
    """The part of a shard's encoded batches, rows and failures in their first order."""
    good = [(piece, piece.encoded) for piece in pieces if piece.encoded is not None]
    places = np.concatenate([np.empty(0, np.int64), *(piece.places for piece, _ in good)])
    order = np.argsort(places)
    modality = 0 if task.root is not None else 1
    n_tokens = _joined([e.n_tokens for _, e in good], (0,), np.int32)[order]
    ragged = task.root is None and task.tokens != "none"
    raw = (0, encoder.raw_widths[modality])
    return Part(
        ids=[task.rows[place].id for place in places[order]],
        captions=np.array([task.rows[place].caption for place in places[order]], np.int32),
        n_tokens=n_tokens,
        truncated=_joined([p.truncated for p, _ in good], (0,), np.bool_)[order],
        tokens=_tokens(encoder, task, good, order),
        offsets=np.cumsum([0, *n_tokens], dtype=np.int64) if ragged else None,
        pooled=_joined([e.pooled for _, e in good], (0, encoder.widths[modality]), np.float32)[order],
        pooled_raw=_joined([e.pooled_raw for _, e in good], raw, np.float32)[order] if encoder.aligned else None,
        failures=[failure for piece in pieces for failure in piece.failures],
    )


def _joined(arrays: Sequence[Any], empty: tuple[int, ...], dtype: Any) -> Any:
    """Arrays one behind the other, of the right shape where there is none."""
    return np.concatenate([np.empty(empty, dtype), *arrays])


def _tokens(encoder: Encoder, task: Task, good: Sequence[tuple[Piece, Encoded]], order: Places) -> Any:
    """All tokens, rows in `order`: (n, P, D) of pictures, (sum T, D) of texts; None where none are kept."""
    if task.tokens == "none":
        return None
    joint = task.tokens == "joint"
    if task.root is not None:
        shape = (0, encoder.image_shape[0], encoder.widths[0] if joint else encoder.image_shape[1])
        return _joined([e.tokens for _, e in good], shape, task.storage)[order]
    values = _joined([e.tokens for _, e in good], (0, encoder.widths[1] if joint else encoder.text_width), task.storage)
    lengths = _joined([e.n_tokens for _, e in good], (0,), np.int64)
    ends = np.cumsum(lengths)
    spans = [np.arange(ends[i] - lengths[i], ends[i]) for i in order]
    return values[np.concatenate([np.empty(0, np.int64), *spans])]
