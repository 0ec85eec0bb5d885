"""One measured comparison."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was compared, on what, by how much, and what was promised, 0 for nothing. Seconds unless `unit` says
    otherwise; `device` is "cpu" or a GPU's name."""

    name: str
    ours: float
    theirs: float
    ratio: float
    promised: float
    against: str
    unit: str = "s"
    note: str = ""
    device: str = "cpu"


def within(name: str, ours: float, limit: float, note: str, unit: str = "s") -> Row:
    """A row against a limit that is promised: how many times what was measured fits into it."""
    return Row(name, ours, limit, limit / ours, 1.0, "the limit", unit, note)


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """What one run takes by a clock: the wall's, or that of all cores at work for this process."""
    begin = clock()
    run()
    return clock() - begin


def median_seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """The median wall time of some runs after one that is not counted."""
    run()
    return statistics.median(seconds(run) for _ in range(repeats))


def best_in_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int, clocks: Mapping[str, Callable[[], float]] | None = None
) -> dict[str, float]:
    """The best time of each run over some rounds of all of them: what else the machine does meets all alike.

    By the wall's clock, but for those runs that have one of their own in `clocks`."""
    own = clocks or {}
    times = [
        {name: seconds(run, own.get(name, time.perf_counter)) for name, run in runs.items()} for _ in range(rounds)
    ]
    return {name: min(round_[name] for round_ in times) for name in runs}
