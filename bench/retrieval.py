"""mAP against the double loop that most published code of this field carries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.row import Row, median_seconds
from stages import retrieval

ITEMS, CLASSES, WIDTH = 2000, 10, 128


def label_map_by_loops(distances: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """`fx_calc_map_label` from its definition: sort the distances, then walk every rank of every query.

    Where a query has no relevant item it scores 0. Only the sort differs: it is stable, so that ties are defined."""
    orders = distances.argsort(axis=1, kind="stable")
    found = []
    for i, order in enumerate(orders):
        precision = relevant = 0.0
        for j in range(distances.shape[1]):
            if labels[i] == labels[order[j]]:
                relevant += 1
                precision += relevant / (j + 1)
        found.append(precision / relevant if relevant > 0 else 0.0)
    return float(np.mean(found))


def label_map(scores: npt.NDArray[np.float32], relevant: npt.NDArray[np.bool_]) -> float:
    """The same with this project's ranks and average precision."""
    return float(retrieval.average_precision(retrieval.in_rank_order(relevant, retrieval.rank(scores))).mean())


def rows() -> list[Row]:
    """One comparison at N = 2,000, both from the same cosines."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, ITEMS)
    vectors = rng.standard_normal((2, ITEMS, 1, WIDTH)) + rng.standard_normal((CLASSES, 1, WIDTH))[labels] / 4
    image, text = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    scores = retrieval.score(image, text, "dot")
    relevant = labels[:, None] == labels
    apart = abs(label_map(scores, relevant) - label_map_by_loops(-scores, labels))
    if apart > 1e-12:
        raise ArithmeticError(f"mAP and its double loop differ by {apart:.1e}")
    ours = median_seconds(lambda: label_map(scores, relevant))
    theirs = median_seconds(lambda: label_map_by_loops(-scores, labels), repeats=3)
    against, note = "fx_calc_map_label, a double loop", f"N = {ITEMS}, equal to {apart:.0e}"
    return [Row("mAP", ours, theirs, theirs / ours, 12.0, against, note=note)]
