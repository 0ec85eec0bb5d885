"""Imported vectors of one kind of rows, read a block at a time, checked and digested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from cache.errors import UserError
from cache.files import digest_bytes, digest_of
from stages.imported.arrays import Array, Ragged, blocks, plainly

Rows = NDArray[np.int64]


class Block(NamedTuple):
    """Some rows: pooled (b, d) and raw (b, D0) float32; tokens (b, P, D), or (sum T, D) where lengths vary, as given;
    n_tokens (b,) int32, 0 where there are none."""

    pooled: Array
    raw: Array | None
    tokens: Array | None
    n_tokens: NDArray[np.int32]


@dataclass(frozen=True)
class Vectors:
    """The features of n rows: pooled (n, d), raw (n, D0) or None, tokens (n, P, D), Ragged or None, as the source holds
    them. `what` is how messages call them."""

    where: str
    what: str
    pooled: Any
    raw: Any | None
    tokens: Any | None

    def __len__(self) -> int:
        return len(self.pooled)

    @property
    def width(self) -> int:
        """d."""
        return int(self.pooled.shape[1])

    @property
    def raw_width(self) -> int | None:
        """D0, None where there are no raw vectors."""
        return None if self.raw is None else int(self.raw.shape[1])

    @property
    def token_width(self) -> int:
        """D, 0 where there are no tokens."""
        if self.tokens is None:
            return 0
        return int((self.tokens.values if isinstance(self.tokens, Ragged) else self.tokens).shape[-1])

    @property
    def tokens_a_row(self) -> int | None:
        """P, None where there are no tokens or their number varies."""
        dense = self.tokens is not None and not isinstance(self.tokens, Ragged)
        return int(self.tokens.shape[1]) if dense else None  # type: ignore[union-attr]

    def take(self, rows: Rows) -> Vectors:
        """Some rows of vectors without tokens, in that order."""
        raw = None if self.raw is None else np.asarray(self.raw)[rows]
        return Vectors(self.where, self.what, np.asarray(self.pooled)[rows], raw, None)

    def block(self, rows: slice, tokens: bool) -> Block:
        """Some rows, read now; their tokens where these are wanted."""
        with plainly(self.where):
            pooled = _floats(self.pooled[rows])
            raw = None if self.raw is None else _floats(self.raw[rows])
            found, lengths = self._tokens(rows) if tokens else (None, np.zeros(len(pooled), np.int32))
        return Block(pooled, raw, found, lengths)

    def _tokens(self, rows: slice) -> tuple[Array | None, NDArray[np.int32]]:
        count = rows.stop - rows.start
        if isinstance(self.tokens, Ragged):
            offsets = self.tokens.offsets[rows.start : rows.stop + 1]
            values = np.asarray(self.tokens.values[offsets[0] : offsets[-1]])
            return values, np.diff(offsets).astype(np.int32)
        found = None if self.tokens is None else np.asarray(self.tokens[rows])
        return found, np.full(count, self.tokens_a_row or 0, np.int32)

    def read(self, tokens: bool) -> Iterator[Block]:
        """All rows."""
        return (self.block(rows, tokens) for rows in blocks(len(self)))

    def digest(self, storage: str | None) -> str:
        """xxh3-128 of all numbers, tokens in the type they are stored in (None: without them), 32 hex digits: the same
        whatever file they came in."""
        hashers = {name: xxhash.xxh3_128() for name in Block._fields}
        for block in self.read(storage is not None):
            for name, values in block._asdict().items():
                if values is not None:
                    kept = _stored(values, storage) if name == "tokens" else values
                    hashers[name].update(np.ascontiguousarray(kept).data)
        widths = [self.width, self.raw_width, self.token_width if storage else None]
        return digest_of([widths, {name: hasher.hexdigest() for name, hasher in hashers.items()}])

    def row_digests(self) -> list[str]:
        """xxh3-128 of each row's pooled and raw vectors, 32 hex digits."""
        found = []
        for block in self.read(tokens=False):
            joined = block.pooled if block.raw is None else np.hstack([block.pooled, block.raw])
            found += [digest_bytes(row.tobytes()) for row in np.ascontiguousarray(joined)]
        return found


def _stored(tokens: Array, storage: str | None) -> Array:
    with np.errstate(over="ignore"):
        return tokens.astype(storage)


def _floats(values: Any) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)


def require_usable(vectors: Vectors, ids: list[str], allow_zero: bool) -> None:
    """UserError, with how many and the first id, for vectors or tokens that are no finite numbers in float32, and for
    zero vectors unless these are allowed."""
    bad, zero = [], []
    for number, block in enumerate(vectors.read(tokens=True)):
        start = number * _step(vectors)
        finite = np.isfinite(block.pooled).all(axis=1) & _finite_rows(block)
        bad += (np.flatnonzero(~finite) + start).tolist()
        zero += (np.flatnonzero(~block.pooled.any(axis=1)) + start).tolist()
    told = f"{vectors.where}: {{}} of {len(vectors)} {vectors.what} vectors {{}}, the first is of '{{}}'; {{}}"
    if bad:
        what, do = "or tokens are no finite numbers", "mend them or take their rows out"
        raise UserError(told.format(len(bad), what, ids[bad[0]], do))
    if zero and not allow_zero:
        do = "take their rows out, or let them through, unlike everything: -S ingest.features.allow_zero=true"
        raise UserError(told.format(len(zero), "are zero", ids[zero[0]], do))


def _step(vectors: Vectors) -> int:
    return next((rows.stop for rows in blocks(len(vectors))), 0)


def _finite_rows(block: Block) -> NDArray[np.bool_]:
    """(b,) whether raw vectors and tokens of each row are finite."""
    finite = np.ones(len(block.pooled), np.bool_)
    if block.raw is not None:
        finite &= np.isfinite(block.raw).all(axis=1)
    if block.tokens is not None:
        owner = np.repeat(np.arange(len(finite)), block.n_tokens)
        wrong = ~np.isfinite(block.tokens).reshape(len(owner), -1).all(axis=1)
        finite[owner[wrong]] = False
    return finite
