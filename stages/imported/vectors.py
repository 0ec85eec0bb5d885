"""Imported vectors of one kind of rows, read a block at a time, checked and digested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        whatever file they came in. UserError where that type does not hold a token."""
        hashers = {name: xxhash.xxh3_128() for name in Block._fields}
        for block in self.read(storage is not None):
            for name, values in block._asdict().items():
                if values is not None:
                    kept = self._kept(values, storage) if name == "tokens" else values
                    hashers[name].update(np.ascontiguousarray(kept).data)
        widths = [self.width, self.raw_width, self.token_width if storage else None]
        return digest_of([widths, {name: hasher.hexdigest() for name, hasher in hashers.items()}])

    def _kept(self, tokens: Array, storage: str | None) -> Array:
        kept = stored(tokens, storage)
        if not np.isfinite(kept).all():
            raise UserError(f"{self.where}: {self.what} tokens are no finite numbers in {storage}; {_room(storage)}")
        return kept

    def row_digests(self) -> list[str]:
        """xxh3-128 of each row's pooled and raw vectors, 32 hex digits."""
        found = []
        for block in self.read(tokens=False):
            joined = block.pooled if block.raw is None else np.hstack([block.pooled, block.raw])
            found += [digest_bytes(row.tobytes()) for row in np.ascontiguousarray(joined)]
        return found


def stored(tokens: Array, storage: str | None) -> Array:
    """Tokens in the type they are stored in; what it cannot hold is infinite."""
    with np.errstate(over="ignore"):
        return tokens.astype(storage)


def _floats(values: Any) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)


_FAULTS = {  # in the order in which they are told of: what is wrong, with what, and what to do about it
    "lost": ("no finite numbers in {} vector", "mend the source, or take such rows out"),
    "tokens": ("no finite numbers in the tokens of {}", "mend the source, or leave tokens out: --tokens none"),
    "large": ("numbers too large for {storage} in the tokens of {}", "{room}"),
    "zero": (
        "nothing but zeros in {} vector",
        "take such rows out, or let them through, unlike everything: -S ingest.features.allow_zero=true",
    ),
}


def require_usable(vectors: Vectors, ids: Sequence[str], allow_zero: bool, storage: str | None) -> None:
    """UserError, with how many and the first id, for vectors that are no finite numbers in float32, for tokens that are
    none in the type they are to be stored in (None: they are left out), and for zero vectors unless these are allowed.
    """
    rows: dict[str, list[int]] = {fault: [] for fault in _FAULTS}
    start = 0
    for block in vectors.read(tokens=storage is not None):
        for fault, found in _faults(block, storage).items():
            rows[fault] += (np.flatnonzero(found) + start).tolist()
        start += len(block.pooled)
    for fault, (what, do) in _FAULTS.items():
        if rows[fault] and not (fault == "zero" and allow_zero):
            many = f"{len(rows[fault])} of {len(vectors)} {vectors.what}"
            told = what.format(many, storage=storage) + "s" * (len(vectors) != 1)
            first = f"the first is that of '{ids[rows[fault][0]]}'"
            raise UserError(f"{vectors.where}: {told}, {first}; {do.format(room=_room(storage))}")


def _room(storage: str | None) -> str:
    """What to do about tokens that the type they are to be stored in does not hold."""
    full = "" if storage == "float32" else "keep tokens in full: --storage float32, or "
    return f"{full}leave {'them' if full else 'tokens'} out: --tokens none"


def _faults(block: Block, storage: str | None) -> dict[str, NDArray[np.bool_]]:
    """(b,) of each fault: which rows have it."""
    raw = np.zeros((len(block.pooled), 0), np.float32) if block.raw is None else block.raw
    found = {"lost": ~_finite(np.hstack([block.pooled, raw])), "zero": _all_zero(block.pooled)}
    if block.tokens is None or np.isfinite(stored(block.tokens, storage)).all():
        return found
    owner = np.repeat(np.arange(len(raw)), block.n_tokens)
    given, kept = (_finite(rows.reshape(len(owner), -1)) for rows in (block.tokens, stored(block.tokens, storage)))
    return found | {"tokens": _owned(owner, ~given, len(raw)), "large": _owned(owner, given & ~kept, len(raw))}


def _finite(rows: Array) -> NDArray[np.bool_]:
    """(n,) whether all numbers of a row are finite."""
    return np.asarray(np.isfinite(rows).all(axis=1))


def _all_zero(rows: Array) -> NDArray[np.bool_]:
    return np.asarray(~rows.any(axis=1))


def _owned(owner: NDArray[np.int64], marked: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """(count,) whether any of the tokens of a row is marked."""
    return np.asarray(np.bincount(owner[marked], minlength=count) > 0)
