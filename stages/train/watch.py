"""What a training curve should make a person look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.train.params import GcrdpSection

FULL = 0.99  # of the pairs; from here on theta chooses next to nothing
APART = 1.2  # the mean |D_v - D_t| at the end over that at the start, from which the matrices drift apart
ENDS = 0.1  # of the steps, at either end, over which that is taken


def remarks(curves: Sequence[Mapping[str, Sequence[float]]], section: GcrdpSection) -> list[str]:
    """Warnings about the RDP of some trainings, one line each at most: mask empty, mask full, matrices apart.

    curves: for each training, the values of every figure in the order of its steps."""
    densities = np.concatenate([np.zeros(0), *(np.asarray(curve["mask_density"]) for curve in curves)])
    lines = []
    if section.lambda_ and (densities == 0).any():
        lines.append(_mask("empty", densities == 0, "lower", section))
    if section.lambda_ and (densities >= FULL).any():
        lines.append(_mask("full", densities >= FULL, "raise", section))
    before, after = drift([curve["drift"] for curve in curves])
    if after > APART * before:
        lines.append(
            f"gcrdp: the similarities of the two modalities drift apart, mean |D_v - D_t| from {before:.3f} to"
            f" {after:.3f}; raise train.gcrdp.lambda (now {section.lambda_:g})"
        )
    return lines


def _mask(state: str, steps: NDArray[np.bool_], change: str, section: GcrdpSection) -> str:
    count = f"{int(steps.sum())} of {len(steps)} steps"
    now = f"now {section.theta:g}, {section.theta_kind}"
    return f"gcrdp: the RDP mask is {state} in {count}; {change} train.gcrdp.theta ({now})"


def drift(series: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The mean over trainings of a series' first and last tenth; (0, 0) where there is none."""
    ends = [(np.mean(own[: _end(own)]), np.mean(own[-_end(own) :])) for own in series if len(own)]
    before, after = np.mean(ends, axis=0) if ends else (0.0, 0.0)
    return float(before), float(after)


def _end(values: Sequence[float]) -> int:
    return max(1, round(ENDS * len(values)))


def by_name(history: pa.Table) -> dict[str, list[float]]:
    """A training's curve (step, name, value) as one list of values a figure, in the order of the rows."""
    found: dict[str, list[float]] = {}
    for name, value in zip(history["name"].to_pylist(), history["value"].to_pylist(), strict=True):
        found.setdefault(name, []).append(value)
    return found
