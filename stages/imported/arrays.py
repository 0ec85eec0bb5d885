"""What a source of features holds: arrays and columns by name, read a block of rows at a time."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError, one_line

Array = np.ndarray[Any, np.dtype[Any]]
RAW, TOKENS = "_raw", "_tokens"  # what further arrays of a kind are called behind its name
BLOCK = 1024  # rows that are read at a time
MOST = 8  # names that a message lists


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths one behind the other: row i is values[offsets[i]:offsets[i+1]].

    values (sum T, D), an array or what is sliced like one; offsets (n+1,) int64."""

    values: Any
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Source:
    """A file or folder of features: `where` is what messages call it, `held` has a reader of each thing in it."""

    where: str
    held: Mapping[str, Callable[[], Any]]

    def read(self, name: str) -> Any:
        """An array, or what is sliced like one, a Ragged, or a list of cells; KeyError where there is none."""
        reader = self.held[name]
        with plainly(self.where):
            return reader()

    def told(self) -> str:
        """The names of what there is, of many the first."""
        names = sorted(self.held)
        return ", ".join(names[:MOST]) + " ..." * (len(names) > MOST) or "nothing"


@contextmanager
def plainly(where: str, kind: str = "file") -> Iterator[None]:
    """One line for whatever a reader of hostile files raises; `kind` is what the file should be."""
    try:
        yield
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(
            f"{where}: may not be read by this user; give the right to, as in chmod -R u+rX {shlex.quote(where)}"
        ) from error
    except Exception as error:
        reason = one_line(error)[:200] or type(error).__name__
        raise UserError(f"{where}: not a whole {kind} ({reason}); copy it again, or write it anew") from error


def no_pickle(where: str, name: str, array: Array) -> Array:
    """The array; UserError for one of Python objects, which only unpickling reads, and that runs code."""
    if array.dtype.hasobject:
        raise UserError(_pickled(where, name))
    return array


def _pickled(where: str, name: str) -> str:
    return (
        f"{where}: '{name}' is an array of objects, which only unpickling could read, and that runs code;"
        " save it as numbers, or as text of one width (dtype U)"
    )


def load_array(where: str, name: str, load: Callable[[], Array]) -> Array:
    """What numpy loads, never unpickled."""
    try:
        return load()
    except ValueError as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise UserError(_pickled(where, name)) from error
        raise


def joined(parts: Sequence[Any]) -> Any:
    """Parts of one array, one behind the other; a single one as it is, so that it stays mapped."""
    return parts[0] if len(parts) == 1 else np.concatenate([np.asarray(part) for part in parts])


def ragged(rows: Sequence[Any]) -> Ragged:
    """Rows (T_i, D) of different lengths as one array. ValueError where their widths differ."""
    arrays = [np.asarray(row, np.float32) for row in rows]
    width = next((a.shape[-1] for a in arrays if a.size), 0)
    filled = [a if a.size else np.empty((0, width), np.float32) for a in arrays]
    return Ragged(np.concatenate(filled), np.cumsum([0, *map(len, filled)], dtype=np.int64))


def evened(rows: Ragged) -> Any:
    """Rows that all have one length as one array (n, P, D); others as they are."""
    lengths = np.unique(np.diff(rows.offsets))
    if len(lengths) != 1 or not lengths[0]:
        return rows
    return np.asarray(rows.values).reshape(len(rows), int(lengths[0]), -1)


def blocks(count: int) -> Iterator[slice]:
    """The rows, BLOCK at a time."""
    return (slice(lo, min(lo + BLOCK, count)) for lo in range(0, count, BLOCK))
