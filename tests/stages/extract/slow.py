"""Extractions in a process of their own: one that stands still in the middle, one on a disk that is read only."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stderr
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from cache.features import FeatureCache
from cache.verify import keys_in
from pipeline.console import guarded
from proof.commits import steps
from proof.conditions import mount_small_disk, private_mounts, remount
from stages.extract.params import ExtractParams
from stages.extract.run import run


def stand_still(params: ExtractParams, at: int, go: Path, here: Connection) -> None:
    """Extract, and at a step of a commit say so and wait for the file `go`."""

    def wait(n: int) -> None:
        if n == at:
            here.send("here")
            while not go.exists():
                time.sleep(0.01)

    with steps(wait):
        run(params)


def on_a_read_only_disk(params: ExtractParams, answer: Connection) -> None:
    """Extract to a disk, close it for writing, read the caches, then extract again, and then something else."""
    private_mounts()
    params.store.mkdir()
    mount_small_disk(params.store, "size=16m")
    run(params)
    remount(params.store, "size=16m", read_only=True)
    answer.send([float(FeatureCache.open(folder).pooled().sum()) for folder in keys_in(params.store)])
    other = replace(params, section=params.section.model_copy(update={"tokens": "raw"}))
    for asked in (params, other):
        with redirect_stderr(io.StringIO()) as seen:
            code = guarded(partial(run, asked), debug=False)
        answer.send((code, seen.getvalue()))
