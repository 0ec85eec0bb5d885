"""One cache: what of it is still to do, who extracts that, and what is recorded, told and kept of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from cache import features, shards, store
from cache.errors import MissingError, UserError, counted
from cache.features import FeatureCache, RowKind
from cache.store import LedgerKey
from stages.crew import lanes_of
from stages.extract.crew import extract_by_crew
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoder
from stages.extract.imported import Imported, copy_shards
from stages.extract.params import ExtractSection, Tokens
from stages.extract.plan import Row, plan_shards, shard_count
from stages.extract.shard import Finished, Piece, Task, Times, extract_shards
from stages.progress import reporter, working

LIBRARIES = ("torch", "open_clip_torch", "timm", "transformers", "pillow", "numpy")


@dataclass(frozen=True)
class Job:
    """One cache to fill: rows `kind` of a dataset, by an encoder or copied, into `folder`, named by `content`."""

    name: str
    kind: RowKind
    rows: Sequence[Row]
    root: Path | None
    encoder: Encoder | Imported
    choice: EncoderChoice
    section: ExtractSection
    tokens: Tokens
    content: dict[str, Any]
    store: Path
    key: str
    wait: bool

    @property
    def folder(self) -> Path:
        """Where the cache lies."""
        return store.folder_of(self.store, "features", self.key)


def fill(job: Job) -> LedgerKey:
    """Extract what a cache lacks; the ledger's entry for it."""
    if not shards.is_whole(job.folder):
        with store.lock(job.store, "features", job.key, job.wait, reporter().say), _plain_errors(job.folder):
            _fill_locked(job)
    cache = FeatureCache.open(job.folder)
    tell_losses(job, cache)
    counts = {"count": len(cache), "failed": cache.failed.num_rows}
    return LedgerKey("features", job.key, shards.folder_digest(job.folder), {"rows": job.kind, **counts})


def _fill_locked(job: Job) -> None:
    tasks = begin(job)
    if tasks:
        begun = time.monotonic()
        finished = extract(job, tasks)
        reporter().say(summary(job.name, finished, time.monotonic() - begun))
    if shards.unfinished(job.folder):
        shards.sweep(job.folder)  # workers that live have nothing more to do
        features.finish(job.folder)


@contextmanager
def _plain_errors(folder: Path) -> Iterator[None]:
    """A disk that refuses is no fault of the program: one line. (`cache` has a better one for a full disk.)"""
    try:
        yield
    except OSError as error:
        again = "mend that and run 'extract' again, which goes on from what is recorded"
        raise UserError(f"{store.shown(folder)}: {error.strerror or error}; {again}") from error


def begin(job: Job) -> list[Task]:
    """Begin the cache, or go on with the one that stands, in the parts and batches it was begun with; what is to do."""
    try:
        standing = shards.about_of(job.folder)
    except MissingError:
        standing = fresh(job)
    per_shard = standing["rows_per_shard"]
    parts = shard_count(len(job.rows), per_shard)
    shards.begin(job.folder, standing, features.file_names(parts))
    todo = set(shards.unfinished(job.folder))
    done = [i for i in range(parts) if features.PART_NAME(i) not in todo]
    planned = plan_shards(len(job.rows), per_shard, done)
    return [
        Task(
            index=shard.index,
            rows=job.rows[shard.start : shard.stop],
            root=job.root,
            folder=job.folder,
            batch=standing["batch"],
            tokens=job.tokens,
            storage=job.section.storage,
        )
        for shard in planned
    ]


def fresh(job: Job) -> dict[str, Any]:
    """What cache.json says of a cache begun now: what decides its numbers, how it is cut, what it was made by."""
    encoder, side = job.encoder, 0 if job.kind == "image" else 1
    width = encoder.image_shape[1] if job.kind == "image" else encoder.text_width
    dims = {
        "tokens": None if job.tokens == "none" else encoder.widths[side] if job.tokens == "joint" else width,
        "tokens_an_image": encoder.image_shape[0] if job.kind == "image" else None,
        "pooled": encoder.widths[side],
        "pooled_raw": encoder.raw_widths[side] if encoder.aligned else None,
    }
    return {
        "rows": job.kind,
        "content": job.content,
        "encoder": encoder.name,
        "dims": dims,
        "pooling": encoder.pooling["image" if job.kind == "image" else "text"],
        "rows_per_shard": job.section.rows_per_shard,
        "batch": job.section.batch,
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def extract(job: Job, tasks: list[Task]) -> list[Finished]:
    """Extract shards here or by a crew, and record each; what was done."""
    finished: list[Finished] = []

    def recorded(shard: Finished) -> None:
        begun = time.perf_counter()
        shards.record(job.folder, shard.file, features.PART_NAME(shard.index), shard.rows)
        finished.append(_with_record(shard, time.perf_counter() - begun))

    with working(job.name, len(job.rows), len(job.rows) - sum(len(task.rows) for task in tasks)):
        _extract(job, tasks, recorded)
    return finished


def _extract(job: Job, tasks: list[Task], recorded: Callable[[Finished], None]) -> None:

    def advance(done: Piece) -> None:
        rows = len(done.places) + len(done.failures)
        reporter().advance(job.name, rows, done.bytes / 1e6, len(done.failures))

    def record_and_advance(done: Finished) -> None:
        recorded(done)
        reporter().advance(job.name, done.rows + done.failed, done.bytes / 1e6, done.failed)

    if isinstance(job.encoder, Imported):
        return copy_shards(job.encoder, tasks, record_and_advance)
    section, device = job.section, job.encoder.device.type
    workers = min(section.workers, len(tasks))
    if workers > 1:
        extract_by_crew(job.choice, job.encoder.digest, tasks, workers, device, section.backend, record_and_advance)
        return
    with closing(extract_shards(job.encoder, tasks, lanes_of(device, 1), advance)) as stream:
        for shard in stream:
            recorded(shard)


def _with_record(shard: Finished, seconds: float) -> Finished:
    read, encode, write = shard.times
    times = Times(read, encode, write + seconds)
    return Finished(shard.index, shard.file, shard.rows, shard.failed, shard.bytes, times)


def summary(name: str, finished: list[Finished], seconds: float) -> str:
    """One line: rows, time, rate, and where the work went."""
    rows = sum(shard.rows + shard.failed for shard in finished)
    read, encode, write = (sum(shard.times[i] for shard in finished) for i in range(3))
    whole, seconds = max(read + encode + write, 1e-9), max(seconds, 1e-9)  # a clock may have been set back
    shares = f"read {read / whole:.0%}, encode {encode / whole:.0%}, write {write / whole:.0%}"
    return f"{name}: {counted(rows, 'row')} in {seconds:.1f} s, {rows / seconds:.1f} items/s ({shares})"


def tell_losses(job: Job, cache: FeatureCache) -> None:
    """Say what of the rows could not be used, and what was cut."""
    failed = cache.failed.num_rows
    if failed:
        are, they = ("is", "it is") if failed == 1 else ("are", "they are")
        reporter().warn(
            f"{failed} of {len(job.rows)} {job.kind}s could not be read and {are} left out; "
            f"{they} listed in {store.shown(job.folder / features.FAILED)}"
        )
    cut = pc.sum(cache.columns(["truncated"])["truncated"]).as_py() or 0
    if cut:
        exceed, was, them = ("exceeds", "was", "it") if cut == 1 else ("exceed", "were", "them")
        reporter().warn(
            f"{cut} of {len(job.rows)} {job.kind}s {exceed} {job.encoder.context} tokens and {was} cut; column "
            f"'truncated' marks {them}"
        )
