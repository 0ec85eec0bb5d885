"""One measured comparison."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was compared, on what, by how much, and what was promised. Seconds unless `unit` says otherwise."""

    name: str
    ours: float
    theirs: float
    ratio: float
    promised: float
    against: str
    unit: str = "s"
    note: str = ""


def median_seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """The median wall time of some runs after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
