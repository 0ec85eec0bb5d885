"""A training that dies as by a kill -9 once it has recorded some heads; its folder was built before."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from cache import shards
from stages.train import run as stage
from tests.stages.train import build


def die_after(count: int) -> None:
    """Let this process die at the end of the recording of so many files."""
    left = count

    def step(name: str) -> None:
        nonlocal left
        left -= name == "record"
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    shards.step = step


if __name__ == "__main__":
    folder, workers, heads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    params = build.pointing(folder, ["cca", "gap"])
    die_after(2 * heads)
    stage.run(replace(params, section=params.section.model_copy(update={"workers": workers})))
