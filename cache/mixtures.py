"""Mixtures: K component views an item, with their weights, responsibilities and the course of the fit."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from cache import shards
from cache.errors import DamagedError
from cache.features import REMEDY, Modality
from cache.hdf5 import Array, map_arrays, write_arrays
from cache.store import shown

FILES = ("image.h5", "text.h5")
_DTYPES = {"responsibilities": np.float16, "offsets": np.int64, "live": np.bool_}


@dataclass
class MixtureRows:
    """The mixtures of N items of one modality.

    views (N, K, D) float32; weights (N, K) float32; responsibilities (sum T, K) float16, ragged by offsets int64
    (N+1,); objective (N, iterations) float32; live (N, K) bool, False where an item has fewer components.
    """

    views: Array
    weights: Array
    responsibilities: Array
    offsets: Array
    objective: Array
    live: Array


def write_mixture(path: Path, rows: MixtureRows) -> None:
    """Write the mixtures of one modality as contiguous HDF5, bit-identical for equal input.

    `path` is a temporary that `shards.record` names; on any error nothing is left there.
    ValueError if the arrays disagree, UserError on a full disk.
    """
    n, k = rows.weights.shape
    shapes_agree = rows.views.shape[:2] == rows.live.shape == (n, k) and len(rows.objective) == n
    if not shapes_agree or rows.offsets.shape != (n + 1,) or rows.responsibilities.shape != (rows.offsets[-1], k):
        raise ValueError(f"the arrays of {n} mixtures of {k} components disagree")
    arrays: dict[str, Array] = {
        f.name: np.asarray(getattr(rows, f.name), _DTYPES.get(f.name, np.float32)) for f in fields(rows)
    }
    with shards.room(path.parent):
        write_arrays(path, arrays)


def read_mixture(folder: Path, modality: Modality) -> MixtureRows:
    """The mixtures of one modality, mapped into memory; MissingError or DamagedError unless the folder is whole."""
    shards.require_whole(folder, REMEDY)
    arrays = map_arrays(folder / f"{modality}.h5")
    if set(arrays) != {f.name for f in fields(MixtureRows)}:
        raise DamagedError(
            f"{shown(folder)}/{modality}.h5: not a file of mixtures; remove the folder and run 'mixture'"
        )
    return MixtureRows(**arrays)
