"""Several texts of one pair: their vectors one behind the other, and which of them are whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError, counted
from stages.imported.arrays import RAW, Array, Ragged
from stages.imported.rows import Rows

Counts = NDArray[np.int64]  # (n,) how many texts each pair has


def one_behind_the_other(part: Any) -> tuple[Any, Counts]:
    """Vectors of texts as (sum T, d), and how many of them each pair has: one in (n, d), T in (n, T, d)."""
    if isinstance(part, Ragged):
        return part.values, np.diff(part.offsets)
    if part.ndim == 2:
        return part, np.ones(len(part), np.int64)
    values: Array = np.asarray(part)
    return values.reshape(-1, values.shape[-1]), np.full(len(values), values.shape[1], np.int64)


def told_counts(part: Any) -> Counts | None:
    """How many vectors of texts each pair has, (n,), where the array says so: None for (sum T, d)."""
    return one_behind_the_other(part)[1] if isinstance(part, Ragged) or part.ndim == 3 else None


def require_alike(where: str, counts: Counts, raw: Counts | None, name: str) -> None:
    """UserError where as many raw vectors as vectors of texts, called `name`, are otherwise the pairs'. counts, raw
    (n,); None where the raw vectors say nothing of it: they stand as the others do."""
    if raw is None or np.array_equal(raw, counts):
        return
    told = f"{len(counts)} pairs in '{name}' and {len(raw)} in '{name}{RAW}'"
    if len(raw) == len(counts):
        first = int(np.flatnonzero(raw != counts)[0])
        has = counted(int(counts[first]), "vector")
        told = f"pair {first + 1} has {has} in '{name}' and {raw[first]} in '{name}{RAW}'"
    raise UserError(f"{where}: {told}; each text has one in both, in one order")


def with_texts(rows: Rows, counts: Counts, where: str, name: str | None) -> Rows:
    """The rows with a text for each of their vectors, "" where no texts came.

    counts (n,); the texts stand in a list a row, or one behind the other as the vectors do. `name` is the column's.
    UserError where a pair has no vector, or not as many texts as vectors."""
    if (counts < 1).any():
        raise UserError(f"{where}: '{rows.ids[int(counts.argmin())]}' has no text vector; give it one, or leave it out")
    texts = rows.texts or [[""] * count for count in counts.tolist()]
    if len(texts) == counts.sum() != len(rows.ids):
        texts = _grouped(texts, counts)
    if len(texts) != len(rows.ids):
        found = f"{counted(len(rows.ids), 'id')} and {counted(len(texts), 'text')}"
        raise UserError(f"{where}: {found}; a row has one of each")
    for own, count, item in zip(texts, counts.tolist(), rows.ids, strict=True):
        if len(own) != count:
            found = f"{counted(len(own), 'text')} in '{name}' and {counted(count, 'text vector')}"
            raise UserError(
                f"{where}: '{item}' has {found}; each text has a vector of its own, or do without: "
                "-S ingest.features.caption=null"
            )
    return replace(rows, texts=texts)


def _grouped(texts: Sequence[list[str]], counts: Counts) -> list[list[str]]:
    bounds = np.cumsum([0, *counts.tolist()]).tolist()
    return [[text for own in texts[lo:hi] for text in own] for lo, hi in pairwise(bounds)]
