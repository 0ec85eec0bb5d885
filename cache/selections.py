"""Selections: which values were chosen on source classes, and the figures that chose them, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache import shards
from cache.features import REMEDY
from cache.files import read_json

SELECTION = "selection.json"
FILES = (SELECTION,)


def write_selection(path: Path, found: Mapping[str, Any]) -> None:
    """Write what was found; `path` is a temporary that `shards.record` names. Equal input gives equal bytes."""
    with shards.room(path.parent):
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")


def read_selection(folder: Path) -> dict[str, Any]:
    """What was found: `values` by key, and `tried`, a list of points with their figures; MissingError or DamagedError
    unless the folder is whole and every byte as recorded: a turned bit would make another value of one."""
    shards.require_whole(folder, REMEDY)
    shards.require_sound(folder)
    found: dict[str, Any] = read_json(folder / SELECTION)
    return found
