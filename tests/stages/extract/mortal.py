"""Stand-ins for the extraction of a shard, light to start: the first worker that comes here dies, or every one."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError


@dataclass(frozen=True)
class MortalTask:
    """A shard by its index; `grave` is the file that the one who dies leaves."""

    index: int
    grave: Path


def die_once(_choice: None, _digest: str, task: MortalTask, _lanes: int) -> MortalTask:
    """Die as by a kill -9, once; the second time be done at once."""
    if task.index == 3:
        try:
            task.grave.touch(exist_ok=False)
        except FileExistsError:
            return task
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def die_always(_choice: None, _digest: str, task: MortalTask, _lanes: int) -> MortalTask:
    """Die as for want of memory, whoever tries; the grave counts the dead."""
    with task.grave.open("a") as grave:
        grave.write(f"{os.getpid()}\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return task


def refuse(_choice: None, _digest: str, task: MortalTask, _lanes: int) -> MortalTask:
    """Stop as for a person to mend something."""
    raise UserError(f"{task.grave}: not to be seen from here")
