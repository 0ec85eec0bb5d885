"""MATLAB files: those up to version 7 through scipy, those of 7.3 as the HDF5 that they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import io

from stages.imported.arrays import Array, Source, ragged

CHARACTERS = "char"  # the class that version 7.3 notes for text


def open_mat(path: Path, where: str) -> Source:
    """The variables of a file. Cell arrays of matrices are ragged, of text a list."""
    if h5py.is_hdf5(path):
        file = h5py.File(path, "r")
        names = [name for name in file if not name.startswith("#")]
        return Source(where, {name: partial(_of_hdf5, file, file[name]) for name in names})
    variables = io.loadmat(path)
    held: dict[str, Callable[[], Any]] = {
        name: partial(_plain, value) for name, value in variables.items() if not name.startswith("__")
    }
    return Source(where, held)


def _plain(value: Array) -> Any:
    """A variable as rows: numbers (n, ...), a list of texts, or Ragged."""
    if value.dtype.kind == "U":
        return [str(row) for row in value.ravel()]
    if value.dtype != object:
        return value
    return _cells([np.asarray(cell) for cell in value.ravel()])


def _cells(cells: list[Array]) -> Any:
    if all(cell.dtype.kind == "U" or not cell.size for cell in cells):
        return [str(cell.item()) if cell.size == 1 else "".join(map(str, cell.ravel())) for cell in cells]
    return ragged(cells)


def _of_hdf5(file: Any, variable: Any) -> Any:
    """A variable of version 7.3, whose axes lie the other way round there, and whose cells are references."""
    if variable.dtype == h5py.ref_dtype:
        return _cells([_of_cell(file[ref]) for ref in variable[()].ravel(order="F")])
    value = np.asarray(variable[()]).T
    if _class_of(variable) == CHARACTERS:
        return [str(np.asarray(row, np.uint16).tobytes(), "utf-16-le").rstrip() for row in value]
    return value


def _of_cell(cell: Any) -> Array:
    value = np.asarray(cell[()]).T
    if _class_of(cell) == CHARACTERS:
        return np.array([str(np.asarray(value, np.uint16).ravel().tobytes(), "utf-16-le")])
    return value


def _class_of(variable: Any) -> str:
    found = variable.attrs.get("MATLAB_class", b"")
    return found.decode() if isinstance(found, bytes) else str(found)
