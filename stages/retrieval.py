"""Retrieval and its metrics: scores of queries against a gallery, ranks, figures a query, and what chance would reach.

Letters: Q queries, G gallery items, V vectors an item, d joint width. Everything here is pure and in numpy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.section import Match

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]
Labels = Sequence[Sequence[str]]
Figures = dict[str, Float64]  # metric -> one value a query

PRECISIONS = (1, 5, 10)
RECALLS = (1, 5, 10)
CUT = 50  # of mAP@50
PER_QUERY = ("mAP", f"mAP@{CUT}", *(f"P@{k}" for k in PRECISIONS), "R-precision")
PAIRED = tuple(f"recall@{k}" for k in RECALLS)
METRICS = ("mAP", f"mAP@{CUT}", "macro-mAP", *PER_QUERY[2:], *PAIRED)

_KEYS = 1 << 17  # scores ranked at a time: their keys stay in the second-level cache


def blocks(queries: int, gallery: int, cells: int) -> Iterator[slice]:
    """The rows of a (Q, G) matrix in runs of at most `cells` cells, or of one row where that is more."""
    step = max(1, cells // max(1, gallery))
    return (slice(first, min(first + step, queries)) for first in range(0, queries, step))


def score(query: Float32, gallery: Float32, match: Match) -> Float32:
    """How well each query fits each gallery item, (Q, G) float32; higher is better.

    query (Q, V, d), gallery (G, U, d), float32, as a head gives them. `dot`: q_0 . g_0. `max`: the best of all
    V x U pairs. `mix`: 1/2 q_0 . g_0 + 1/2 the best pair of the other vectors (ours, DESIGN section 6).
    """
    return _SCORES[match](query, gallery)


def _dot(query: Float32, gallery: Float32) -> Float32:
    return np.asarray(query[:, 0] @ gallery[:, 0].T, np.float32)


def _best(query: Float32, gallery: Float32) -> Float32:
    best = np.full((len(query), len(gallery)), -np.inf, np.float32)
    for v, u in itertools.product(range(query.shape[1]), range(gallery.shape[1])):  # so only two (Q, G) ever stand
        np.maximum(best, query[:, v] @ gallery[:, u].T, out=best)
    return best


def _mix(query: Float32, gallery: Float32) -> Float32:
    return np.float32(0.5) * (_dot(query, gallery) + _best(query[:, 1:], gallery[:, 1:]))


_SCORES: dict[Match, Callable[[Float32, Float32], Float32]] = {"dot": _dot, "max": _best, "mix": _mix}


def rank(scores: Float32) -> npt.NDArray[np.int32]:
    """Gallery indices in the order of falling score, (Q, G) int32; equal scores keep the gallery's order.

    scores (Q, G) float32, finite. Exact: two passes of a stable 16-bit radix sort over the bits of the scores, which
    takes a fifth of the time of numpy's stable sort of the floats themselves.
    """
    order = np.empty(scores.shape, np.int32)
    for rows in blocks(len(scores), scores.shape[1], _KEYS):
        order[rows] = _rank_block(scores[rows])
    return order


def _rank_block(scores: Float32) -> Integers:
    keys = _falling_bits(scores)
    starts = (np.arange(len(keys)) * keys.shape[1])[:, None]
    by_low = np.argsort(keys.astype(np.uint16), axis=1, kind="stable") + starts
    high = (keys >> np.uint32(16)).astype(np.uint16)
    by_both = np.argsort(high.ravel().take(by_low), axis=1, kind="stable") + starts
    return np.asarray(by_low.ravel().take(by_both) - starts)


def _falling_bits(scores: Float32) -> npt.NDArray[np.uint32]:
    """Unsigned keys that grow as the scores fall: all but the sign bit of what is not negative is turned over."""
    bits = (np.asarray(scores, np.float32) + np.float32(0)).view(np.int32)  # + 0: so that -0 and 0 are equal
    return np.asarray((bits ^ (~(bits >> 31) & 0x7FFFFFFF)).view(np.uint32))


def share_label(queries: Labels, gallery: Labels) -> Bools:
    """Which gallery items are relevant, (Q, G) bool: those that have a label in common with the query."""
    return in_common(*mark_labels(queries, gallery))


def mark_labels(queries: Labels, gallery: Labels) -> tuple[Float32, Float32]:
    """The labels as 0 and 1, (Q, C) and (G, C) float32, C the labels of both: what in_common compares in blocks."""
    number = {name: i for i, name in enumerate(sorted({c for row in (*queries, *gallery) for c in row}))}
    return _indicators(queries, number), _indicators(gallery, number)


def in_common(queries: Float32, gallery: Float32) -> Bools:
    """Whether two marked items have a label in common, (Q, G) bool, of (Q, C) and (G, C)."""
    return np.asarray((queries @ gallery.T) > 0)


def _indicators(labels: Labels, number: dict[str, int]) -> Float32:
    out = np.zeros((len(labels), len(number)), np.float32)
    for row, names in enumerate(labels):
        out[row, [number[name] for name in names]] = 1
    return out


def in_rank_order(relevant: Bools, order: Integers) -> Bools:
    """The hits: whether the item at each rank is relevant, (Q, G) bool, from relevance and order, both (Q, G)."""
    hits = np.empty(relevant.shape, bool)
    for rows in blocks(len(order), order.shape[1], _KEYS):
        block = order[rows]
        hits[rows] = relevant[rows].ravel().take(block + (np.arange(len(block)) * block.shape[1])[:, None])
    return hits


def average_precision(hits: Bools, cut: int | None = None) -> Float64:
    """The average precision of each query, (Q,) float64 in [0, 1].

    hits (Q, G) bool in rank order. The mean, over the relevant items, of the precision at their ranks; with `cut`, only
    ranks up to it count, and the divisor is min(cut, relevant items). A query without a relevant item has 0.
    """
    total = np.count_nonzero(hits, axis=1)
    if cut is not None:
        hits, total = hits[:, :cut], np.minimum(total, cut)
    rows, places = np.divmod(np.flatnonzero(hits), max(1, hits.shape[1]))
    found = np.bincount(rows, minlength=len(hits))
    nth = np.arange(1, len(rows) + 1) - np.repeat(np.cumsum(found) - found, found)  # 1, 2, ... within a query
    return np.asarray(np.bincount(rows, nth / (places + 1), len(hits)) / np.maximum(total, 1), np.float64)


def precision_at(hits: Bools, k: int) -> Float64:
    """The share of the first k ranks that is relevant, (Q,); a gallery of fewer than k items counts as k."""
    return np.asarray(np.count_nonzero(hits[:, :k], axis=1) / k, np.float64)


def r_precision(hits: Bools) -> Float64:
    """The precision at rank R, (Q,), R being the query's number of relevant items; 0 where R = 0."""
    total = np.count_nonzero(hits, axis=1)
    early = hits & (np.arange(hits.shape[1]) < total[:, None])
    return np.asarray(np.count_nonzero(early, axis=1) / np.maximum(total, 1), np.float64)


def recall_of_pair(order: Integers, pair: Integers, k: int) -> Float64:
    """1 where the query's own pair stands among the first k ranks, else 0, (Q,); pair (Q,) are gallery indices."""
    return np.asarray((order[:, :k] == pair[:, None]).any(axis=1), np.float64)


def figures(hits: Bools, order: Integers, pair: Integers | None) -> Figures:
    """All the metrics of each query; `recall@k` only where the paired items' gallery indices are given."""
    out = {"mAP": average_precision(hits), f"mAP@{CUT}": average_precision(hits, CUT)}
    out |= {f"P@{k}": precision_at(hits, k) for k in PRECISIONS}
    out["R-precision"] = r_precision(hits)
    if pair is not None:
        out |= {f"recall@{k}": recall_of_pair(order, pair, k) for k in RECALLS}
    return out


def chance_figures(relevant: Integers, size: int, paired: bool) -> Figures:
    """The expected metrics of each query under a random order of the gallery, in closed form.

    relevant (Q,) is R, the number of relevant items; size is G. An item at rank j is relevant with probability R/G, and
    the precision there is then (1 + (j - 1) (R - 1) / (G - 1)) / j; the sum over j <= J is
    R/G (H_J + (R - 1)/(G - 1) (J - H_J)), H_J the J-th harmonic number.
    """
    share = np.asarray(relevant / max(1, size), np.float64)
    out = {"mAP": _chance_ap(relevant, size, size), f"mAP@{CUT}": _chance_ap(relevant, size, CUT)}
    out |= {f"P@{k}": share * min(k, size) / k for k in PRECISIONS}
    out["R-precision"] = share
    if paired:
        out |= {f"recall@{k}": np.full(len(relevant), min(k, size) / max(1, size)) for k in RECALLS}
    return out


def _chance_ap(relevant: Integers, size: int, cut: int) -> Float64:
    ranks = min(size, cut)
    harmonic = float(np.sum(1 / np.arange(1, ranks + 1)))
    others = (relevant - 1) / max(1, size - 1)
    total = relevant / max(1, size) * (harmonic + others * (ranks - harmonic))
    return np.asarray(total / np.maximum(np.minimum(relevant, cut), 1), np.float64)


def macro_mean(values: Float64, labels: Labels, classes: Sequence[str]) -> float:
    """The mean over classes of the mean over their queries; a query of several classes counts in each of them."""
    members = [[i for i, row in enumerate(labels) if name in row] for name in classes]
    return float(np.mean([values[rows].mean() for rows in members if rows]))


def means(of: Figures, labels: Labels, classes: Sequence[str]) -> dict[str, float]:
    """One value a metric over all queries, `macro-mAP` over the given classes with them."""
    out = {name: float(values.mean()) for name, values in of.items()}
    out["macro-mAP"] = macro_mean(of["mAP"], labels, classes)
    return {name: out[name] for name in METRICS if name in out}
