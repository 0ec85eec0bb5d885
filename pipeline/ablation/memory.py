"""How much memory some work takes at its peak, in this process."""

from __future__ import annotations

import resource
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def mark() -> float:
    """The memory of this process now, megabytes. Its peak so far is forgotten where the kernel lets it, as Linux does;
    elsewhere it stands, and what stays below it goes unseen."""
    try:
        RESET.write_text("5")  # see proc(5): the peak becomes what there is now
        return _megabytes("VmRSS")
    except OSError:
        return _most()


def peak_since(marked: float) -> float:
    """What this process had more at its peak since `mark`, megabytes."""
    peak = _megabytes("VmHWM") if STATUS.is_file() else _most()
    return max(0.0, peak - marked)


def _megabytes(what: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) * 1024 / 1e6


def _most() -> float:
    """The most memory that this process ever had, of a kernel that counts it in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
