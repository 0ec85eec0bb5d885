"""Features that others computed, copied into the caches that an encoder would fill: same parts, same record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache import shards
from cache.errors import UserError
from cache.features import Part, RowKind, write_part
from cache.manifest import Manifest
from stages.extract.encoders.registry import IMPORTED
from stages.extract.params import ExtractParams, Storage, Tokens
from stages.extract.plan import Row
from stages.extract.shard import Finished, Task, Times
from stages.imported.arrays import Ragged
from stages.imported.bundle import open_bundle
from stages.imported.vectors import Block, Vectors, stored


@dataclass(frozen=True)
class Imported:
    """The vectors of one kind of rows in the place of an encoder: what an Encoder says of itself, as far as a cache
    asks, and where each id has its first row. Pictures and texts have the same figures at both places of a pair."""

    vectors: Vectors
    places: dict[str, int]
    aligned: bool
    name: str = IMPORTED
    context: int = 0

    @property
    def widths(self) -> tuple[int, int]:
        """d of pooled vectors."""
        return self.vectors.width, self.vectors.width

    @property
    def raw_widths(self) -> tuple[int | None, int | None]:
        """D0 of raw vectors, None where there are none."""
        return self.vectors.raw_width, self.vectors.raw_width

    @property
    def image_shape(self) -> tuple[int | None, int]:
        """(P, D) of tokens; P is None where their number varies."""
        return self.vectors.tokens_a_row, self.vectors.token_width

    @property
    def text_width(self) -> int:
        """D of tokens."""
        return self.vectors.token_width

    @property
    def pooling(self) -> dict[str, str]:
        """By which rule tokens make a pooled vector: nobody knows it here."""
        return dict.fromkeys(("image", "text"), "own")

    def kind_of(self, tokens: Tokens) -> Tokens:
        """The tokens that are kept: those there are, in the joint space where they are as wide as its vectors."""
        if tokens == "none" or self.vectors.tokens is None:
            return "none"
        return "joint" if self.aligned and self.vectors.token_width == self.vectors.width else "raw"

    def rows_of(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows that have a vector: of class names one a class, whatever the templates, and none without any."""
        if self.vectors.what != "name":
            return rows
        return [row for row in rows if row.caption == 0 and row.id in self.places]

    def about(self, tokens: Tokens, storage: Storage) -> dict[str, Any]:
        """What beside the rows decides the numbers: the vectors themselves, whatever file they came in."""
        return {
            "encoder": self.name,
            "weights": self.vectors.digest(None if tokens == "none" else storage),
            "aligned": self.aligned,
            "precision": "fp32",
            "device": "cpu",
        }


def open_imported(params: ExtractParams, manifest: Manifest) -> dict[RowKind, Imported]:
    """The vectors of the three kinds of rows; UserError where they are not those that the manifest was made of."""
    assert params.features is not None
    bundle = open_bundle(params.features, params.home)
    rows, image = bundle.rows, bundle.vectors["image"]
    if (rows.ids, rows.texts) != (manifest.ids, manifest.texts) or image.row_digests() != manifest.xxh3:
        raise UserError(f"{bundle.where}: {_CHANGED}")
    return {kind: Imported(own, _places(bundle.ids_of(kind)), bundle.aligned) for kind, own in bundle.vectors.items()}


_CHANGED = "changed since 'ingest' saw it; run 'ingest' again, then 'extract'"


def _places(ids: Sequence[str]) -> dict[str, int]:
    """Where each id stands first."""
    return {name: row for row, name in reversed([*enumerate(ids)])}


def copy_shards(own: Imported, tasks: Sequence[Task], recorded: Callable[[Finished], None]) -> None:
    """Write the parts that are missing, one after the other."""
    for task in tasks:
        recorded(_copy(own, task))


def _copy(own: Imported, task: Task) -> Finished:
    begun = time.perf_counter()
    block = _read(own, task)
    read = time.perf_counter() - begun
    file = shards.temporary(task.folder)
    write_part(file, _part(own, task, block))
    size = sum(values.nbytes for values in block if values is not None)
    times = Times(read, 0.0, time.perf_counter() - begun - read)
    return Finished(task.index, file, len(task.rows), 0, size, times)


def _read(own: Imported, task: Task) -> Block:
    """The vectors of a task's rows, which stand side by side in the source, tokens as they are stored; UserError where
    one is no finite number, as all were when they were digested."""
    first = own.places[task.rows[0].id] + task.rows[0].caption
    block = own.vectors.block(slice(first, first + len(task.rows)), task.tokens != "none")
    kept = block if block.tokens is None else block._replace(tokens=stored(block.tokens, task.storage))
    if not all(np.isfinite(values).all() for values in kept if values is not None):
        raise UserError(f"{own.vectors.where}: {_CHANGED}")
    return kept


def _part(own: Imported, task: Task, block: Block) -> Part:
    dense = own.vectors.what == "image" and not isinstance(own.vectors.tokens, Ragged)
    tokens, offsets = block.tokens, None
    if tokens is not None and not dense:
        tokens = tokens.reshape(-1, tokens.shape[-1])
        offsets = np.cumsum([0, *block.n_tokens], dtype=np.int64)
    return Part(
        ids=[row.id for row in task.rows],
        captions=np.array([row.caption for row in task.rows], np.int32),
        n_tokens=block.n_tokens,
        truncated=np.zeros(len(task.rows), np.bool_),
        tokens=tokens,
        offsets=offsets,
        pooled=block.pooled,
        pooled_raw=block.raw,
    )
