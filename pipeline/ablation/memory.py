"""How much memory this process has had."""

from __future__ import annotations

import resource
import sys


def peak_megabytes() -> float:
    """The most memory that this process ever had at a time, megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
