"""Which items are fitted together: those of similar length, a budget's worth at a time. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.covariance import Covariance

Rows = NDArray[np.int64]

BUDGETS: dict[Covariance, int] = {"spherical": 1 << 20, "diag": 1 << 19}
"""Float64 values of padded tokens in a batch: 8 and 4 MiB. Smaller batches cost more calls; in larger ones the tokens,
which `diag` reads at every step, fall out of the processor's cache."""


def plan_batches(lengths: Rows, width: int, budget: int) -> list[Rows]:
    """Batches of items, the short ones first, so that little is padded.

    lengths (N,) tokens an item, each `width` wide; a batch of B items, the longest of N tokens, keeps B * N * width
    within `budget`, or is one item. Every item is in one batch.
    """
    order = np.argsort(lengths, kind="stable")
    batches, begin = [], 0
    while begin < len(order):
        # The longest stands last: find how many fit by their own length, item by item.
        sizes = np.arange(1, len(order) - begin + 1) * lengths[order[begin:]] * width
        count = max(1, int(np.searchsorted(sizes, budget, side="right")))
        batches.append(order[begin : begin + count])
        begin += count
    return batches


EVEN: dict[Covariance, int] = {"spherical": 4, "diag": 1}
"""How many budgets a batch of items of one length may fill: `spherical` reads the tokens once, so that fewer calls are
worth more than a cache that holds them."""
EIGHT = 8  # float64 values of a cache line


def plan_shares(lengths: Rows, width: int, covariance: Covariance, threads: int) -> list[Rows]:
    """Batches for threads side by side: where all items are as long, equal ones, as many for each thread; else those of
    plan_batches, whatever the threads.

    No figure depends on the threads. Padding regroups sums, so what is padded is cut the same for any number of them;
    products do it too where a matrix begins elsewhere in a cache line, so all else is cut at every eighth item."""
    if len(lengths) == 0 or lengths.min() < lengths.max():
        return plan_batches(lengths, width, BUDGETS[covariance])
    eights = -(-len(lengths) // EIGHT)
    most = max(1, EVEN[covariance] * BUDGETS[covariance] // (EIGHT * int(lengths[0]) * width))
    count = min(threads * -(-eights // (threads * most)), eights)
    cuts = np.array([share[0] for share in np.array_split(np.arange(eights), count)]) * EIGHT
    return np.split(np.arange(len(lengths), dtype=np.int64), cuts[1:])
