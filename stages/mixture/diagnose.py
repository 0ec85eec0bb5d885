"""What can be seen of fitted mixtures without the tokens: weights, live components, objective, collapse. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.mixtures import MixtureRows

COLLAPSED_WEIGHT = 0.99
COLLAPSED_SHARE = 0.05  # of the items; above it people are warned


def collapsed(rows: MixtureRows) -> NDArray[np.bool_]:
    """The items (N,) that one component has swallowed: a weight above .99, or one live component, although there
    were tokens enough. Never at K = 1."""
    components = rows.weights.shape[1]
    enough = np.diff(rows.offsets) >= components
    swallowed = (rows.weights.max(1) > COLLAPSED_WEIGHT) | (rows.live.sum(1) == 1)
    return np.asarray(enough & swallowed & (components > 1), np.bool_)


def diagnose(rows: MixtureRows) -> dict[str, Any]:
    """Figures for the ledger: counts of items, collapsed ones and ones with fewer tokens than K; the mean weights,
    heaviest first; the mean number of live components; the mean objective a token after each iteration, in nats;
    the mean cosine between two live views of an item, None at K = 1."""
    lengths = np.diff(rows.offsets)
    weights = -np.sort(-np.asarray(rows.weights, np.float64), axis=1)
    return {
        "items": len(lengths),
        "collapsed": int(collapsed(rows).sum()),
        "short": int((lengths < rows.weights.shape[1]).sum()),
        "weights": [round(float(w), 6) for w in weights.mean(0)],
        "live": round(float(rows.live.sum(1).mean()), 6),
        "objective": [round(float(v), 4) for v in (rows.objective / lengths[:, None]).mean(0)],
        "cosine": _cosine(rows),
    }


def _cosine(rows: MixtureRows) -> float | None:
    components = rows.weights.shape[1]
    total, pairs = 0.0, 0
    for a in range(components):
        for b in range(a):
            both = rows.live[:, a] & rows.live[:, b]
            left, right = rows.views[both, a], rows.views[both, b]
            length = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
            total += float(((left * right).sum(1) / np.maximum(length, 1e-12)).sum())
            pairs += int(both.sum())
    return round(total / pairs, 4) if pairs else None


def warning(modality: str, figures: dict[str, Any]) -> str | None:
    """The line for a person where more than 5 % of the items have collapsed."""
    if figures["collapsed"] <= COLLAPSED_SHARE * figures["items"]:
        return None
    return (
        f"{figures['collapsed']} of {figures['items']} {modality} mixtures have collapsed onto one component;"
        " set mixture.temperature to a higher value or mixture.components to a lower one"
    )
