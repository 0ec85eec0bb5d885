"""Tasks: what `--task` sets, and the table of its figures."""

from __future__ import annotations

from typing import Any

from cache.episodes import CLASSIFY
from cache.errors import UsageError, nearest
from pipeline.params import Params
from stages.extract.encoders.registry import shares_space
from stages.imported.params import DATASET as FEATURES

TASKS = (CLASSIFY,)
STAND_IN = {"clip": "cca"}  # what stands in a method's row where two towers share no space


def task_changes(task: str, params: Params) -> list[tuple[str, Any]]:
    """The keys that a task sets, given all others; UsageError, with the nearest, for one that is none."""
    if task not in TASKS:
        raise UsageError(f"no task '{task}'{nearest(task, TASKS)}; without --task pairs are retrieved")
    section = params.classify
    methods = section.methods if is_aligned(params) else [STAND_IN.get(name, name) for name in section.methods]
    return [
        ("split.protocol", task),
        ("split.shots", section.shots),
        ("train.methods", [*dict.fromkeys(methods)]),
        ("train.variants", [row.model_dump() for row in section.variants]),
    ]


def is_aligned(params: Params) -> bool:
    """Whether pictures and texts share a space, as far as the parameters say so before anything was encoded."""
    if params.dataset == FEATURES:
        return params.ingest.features.aligned
    return shares_space(params.encoder, params.extract.heads is not None)
