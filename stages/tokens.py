"""Where the tokens of one modality come from: a feature cache, and which of its rows make up an item."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cache.errors import ParamsError, UserError, counted
from cache.features import FeatureCache, Modality
from cache.hdf5 import Array

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """The tokens of N items of one modality, read when they are asked for: an item's cache rows, and how many tokens
    they have together (N,).

    pooled: the pooled vectors of all cache rows where the cache holds no tokens; they stand in for them."""

    modality: Modality
    cache: FeatureCache
    rows: list[Rows]
    lengths: Rows
    pooled: Array | None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, items: Rows) -> Tokens:
        """The tokens of some items, in that order."""
        return replace(self, rows=[self.rows[item] for item in items], lengths=self.lengths[items])


@dataclass(frozen=True)
class Responsibilities:
    """Whose the tokens of N items are, as the stage `mixture` found it: values (sum T, K) float16 of all items that it
    read, mapped; where each of the N begins (N,), and how many tokens it has (N,)."""

    values: Array
    starts: Rows
    lengths: Rows

    def take(self, items: Rows) -> Responsibilities:
        """Those of some items, in that order."""
        return replace(self, starts=self.starts[items], lengths=self.lengths[items])

    def padded(self, items: Rows) -> NDArray[np.float32]:
        """gamma_nk of some items, (B, N, K) float32, 0 where there is no token: beside what read_tokens reads."""
        lengths = self.lengths[items]
        mask = np.arange(lengths.max()) < lengths[:, None]
        padded = np.zeros((*mask.shape, self.values.shape[1]), np.float32)
        spans = zip(self.starts[items], lengths, strict=True)
        padded[mask] = np.concatenate([self.values[first : first + count] for first, count in spans])
        return padded


def open_tokens(modality: Modality, cache: FeatureCache, rows: list[Rows]) -> Tokens:
    """Count the tokens of each item. In a cache without tokens the pooled vector of a row counts as its token."""
    tokens = cache.columns(["n_tokens"])["n_tokens"].to_numpy() if cache.has_tokens else np.ones(len(cache), np.int64)
    lengths = np.array([tokens[own].sum() for own in rows], np.int64)
    return Tokens(modality, cache, rows, lengths, None if cache.has_tokens else cache.pooled())


def check_tokens(sources: list[Tokens], ids: list[str], components: int) -> None:
    """UserError, naming the item, where one has no token; ParamsError where none has as many as components."""
    for source in sources:
        empty = np.flatnonzero(source.lengths == 0)
        if len(empty):
            others = f" ({counted(len(empty) - 1, 'other has', 'others have')} none either)" if len(empty) > 1 else ""
            leave = f"leave {'them' if others else 'it'} out of the dataset and run 'ingest' again"
            raise UserError(f"{ids[empty[0]]}: its {source.modality} has no token{others}; {leave}")
        most = int(source.lengths.max())
        if most < components:
            raise ParamsError(
                f"mixture.components is {components}, but no {source.modality} has more than {most} tokens;"
                f" set it to {most} or fewer"
            )


def read_tokens(source: Tokens, items: Rows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The tokens of some items, padded: (B, N, D) float64 and mask (B, N) bool, False where there is no token."""
    rows = np.concatenate([source.rows[item] for item in items])
    lengths = source.lengths[items]
    mask = np.arange(lengths.max()) < lengths[:, None]
    values = _values(source, rows)
    if values.ndim == 3:
        return values.astype(np.float64), mask
    padded = np.zeros((*mask.shape, values.shape[1]))
    padded[mask] = values
    return padded, mask


def _values(source: Tokens, rows: Rows) -> Array:
    """Tokens one below the other (sum T, D), or (B, N, D) where all rows have as many."""
    if source.pooled is not None:
        return source.pooled[rows]
    found = source.cache.tokens(rows)
    return found[0] if isinstance(found, tuple) else found
