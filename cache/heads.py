"""Trained heads: named arrays and what they are about, as safetensors; and the course of their training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cache import shards
from cache.errors import DamagedError, MissingError, one_line
from cache.files import canonical, read_table, write_table
from cache.hdf5 import Array
from cache.store import shown

HEAD, HISTORY = "head.safetensors", "history.parquet"
FILES = (HEAD, HISTORY)
CURVES = pa.schema([("step", pa.int32()), ("name", pa.string()), ("value", pa.float64())])


def write_head(path: Path, tensors: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    """Write a head; `about` (JSON) goes into the header under the one key "about". Equal input gives equal bytes.

    `path` is a temporary that `shards.record` names; UserError on a full disk, and then nothing is left there.
    """
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    data = save(arrays, metadata={"about": canonical(dict(about)).decode()})
    try:
        with shards.room(path.parent):
            path.write_bytes(data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_head(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays of a head by name, and what it is about; MissingError, or DamagedError if it is no head."""
    if not path.exists():
        raise MissingError(f"{shown(path)}: no such head; run 'verify --mend'")
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            return tensors, json.loads(file.metadata()["about"])
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise DamagedError(
            f"{shown(path)}: not a head ({one_line(error)}); run 'verify --repair', then 'train'"
        ) from error


def write_history(path: Path, rows: Iterable[tuple[int, str, float]]) -> None:
    """Write the course of a training, (step, name, value) a row; values may be NaN, a curve shows what happened."""
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, CURVES, strict=True)], schema=CURVES)
    with shards.room(path.parent):
        write_table(path, table, {})


def read_history(path: Path) -> pa.Table:
    """The course of a training: step, name, value."""
    return read_table(path)
