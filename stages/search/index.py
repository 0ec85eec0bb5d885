"""One query against many items: the best of them, exactly, in one pass over their vectors. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stages import retrieval
from stages.retrieval import Float32
from stages.section import Match
from stages.threads import side_by_side

_CELLS = 1 << 18  # values of the gallery that are looked at together: 1 MB, which stay near the core with their scores
_SPAN = 16  # blocks that a thread takes at a time

Rows = NDArray[np.int64]
Best = tuple[Rows, Float32]  # gallery rows and their scores, best first


def best(query: Float32, gallery: Float32, match: Match, top: int) -> Best:
    """The rows of the `top` items that fit a query best, and their scores: (k,) int64, (k,) float32, k = min(top, N).

    query (V, d), gallery (N, U, d) float32, compared as retrieval.score says; equal scores keep the gallery's order, as
    in retrieval.rank. Scores that are no numbers are never among them. What stands in memory beside the gallery is one
    block's scores and the best so far."""
    held, size = _NOTHING, math.prod(gallery.shape[1:])

    def best_of(span: slice) -> Best:
        found = _NOTHING
        for rows in retrieval.blocks(span.stop - span.start, size, _CELLS):
            first = span.start + rows.start
            scores = retrieval.score(query[None], gallery[first : span.start + rows.stop], match)[0]
            found = _merged(found, _promising(found[1], scores, first, top), top)
        return found

    for found in side_by_side(best_of, list(retrieval.blocks(len(gallery), size, _SPAN * _CELLS))):
        held = _merged(held, found, top)
    return held


_NOTHING: Best = np.empty(0, np.int64), np.empty(0, np.float32)


def _merged(held: Best, found: Best, top: int) -> Best:
    """The best of those held and of some of later rows: among equals the held come first."""
    if not len(found[0]):
        return held
    rows, values = np.concatenate([held[0], found[0]]), np.concatenate([held[1], found[1]])
    order = np.argsort(-values, kind="stable")[:top]
    return rows[order], values[order]


def _promising(held: Float32, scores: Float32, first: int, top: int) -> Best:
    """What of a block that begins at row `first` may still be among the best, at most `top`, rows ascending: after
    a few blocks hardly any."""
    least = held[-1] if len(held) == top else np.float32(-np.inf)
    places = np.flatnonzero(scores > least)
    if len(places) > top:
        places = places[_largest(scores[places], top)]
    return places + first, scores[places]


def _largest(scores: Float32, top: int) -> Rows:
    """The places of the `top` largest of more than that many scores, ascending; of equal ones the first."""
    least = np.partition(scores, len(scores) - top)[len(scores) - top]
    above, equal = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
    return np.sort(np.concatenate([above, equal[: top - len(above)]]))
