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
