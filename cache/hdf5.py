"""Contiguous HDF5: arrays that any HDF5 reader opens and that can be memory-mapped where they lie."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from cache.errors import DamagedError, MissingError, one_line
from cache.store import command_of, shown

Array = np.ndarray[Any, np.dtype[Any]]
ALIGNED = 64  # bytes; a dataset starts at a multiple of it, so that a mapped array is aligned for every dtype
VERSION = ("v108", "v108")  # the HDF5 file version, fixed: equal arrays give equal bytes


def text_array(strings: Sequence[str]) -> Array:
    """Strings as fixed-length UTF-8 (n,) for an HDF5 dataset; what UTF-8 cannot say is written with backslashes."""
    encoded = [s.encode("utf-8", "backslashreplace") for s in strings]
    width = max((len(e) for e in encoded), default=1) or 1
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", width))


def strings_of(array: Array) -> list[str]:
    """The strings that text_array stored."""
    return [item.decode("utf-8") for item in array.tolist()]


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as uncompressed contiguous datasets, bit-identical for equal input; no times are stored.

    The HDF5 library lays the file out, and the bytes go in by plain writes: a full disk is then an OSError with
    its number, whichever of the two met it. On any error nothing is left at `path`.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        try:
            offsets = _lay_out(path, arrays)
        except (OSError, RuntimeError) as error:
            raise _numbered(error) from error
        with path.open("r+b") as file:
            for name, offset in offsets.items():
                file.seek(offset)
                file.write(arrays[name].reshape(-1).view(np.uint8).data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _numbered(error: Exception) -> Exception:
    """The OSError behind a message of the HDF5 library, which raises RuntimeError when a file cannot be closed."""
    number = re.search(r"errno = (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else error


def _lay_out(path: Path, arrays: Mapping[str, Array]) -> dict[str, int]:
    """Make the file with room for each array; the offsets (bytes) of those that are not empty."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.CONTIGUOUS)
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    create.set_obj_track_times(False)
    offsets = {}
    with h5py.File(path, "w", libver=VERSION, alignment_threshold=1, alignment_interval=ALIGNED) as file:
        for name, array in arrays.items():
            kind = h5py.h5t.py_create(array.dtype.newbyteorder("<"), logical=True)
            made = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(array.shape), create)
            if array.size:
                offsets[name] = made.get_offset()
    return offsets


def map_arrays(path: Path) -> dict[str, Array]:
    """The datasets of a file by name, read-only, mapped into memory: nothing is read until it is touched.

    A mapping outlives the file's handle and a fork. Raises MissingError if the file is absent, DamagedError if it
    cannot be opened, is shorter than its datasets, or holds one that is not contiguous.
    """
    try:
        with h5py.File(path, "r") as file:
            places = {name: (item.id.get_offset(), item.shape, item.dtype) for name, item in file.items()}
        raw = _mapped(path)
        return {name: _view(raw, *place) for name, place in places.items()}
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise DamagedError(
            f"{shown(path)}: cannot be read as contiguous HDF5 ({one_line(error)});"
            f" run 'verify --repair', then '{command_of(path.parent)}'"
        ) from error


def _mapped(path: Path) -> Array:
    """All bytes of a file, mapped, and no handle kept: numpy's and Python's own mappings hold one each, so that a
    cache of a thousand parts would meet the usual limit on open files."""
    with pa.memory_map(os.fsencode(path)) as file:
        return np.frombuffer(file.read_buffer(), np.uint8)


def _view(raw: Array, offset: int | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    length = int(np.prod(shape)) * dtype.itemsize
    if not length:
        return np.empty(shape, dtype)
    if offset is None or offset + length > raw.size:
        raise ValueError("a dataset is not contiguous, or ends behind the file")
    return raw[offset : offset + length].view(dtype).reshape(shape)
