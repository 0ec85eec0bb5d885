"""Pictures from disk: read, checked against the manifest, decoded; what cannot be decoded becomes a Failure."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from cache.errors import MissingError, UserError
from cache.features import Failure
from cache.files import digest_bytes
from stages.extract.plan import Row
from stages.pictures import decode as decode  # given on: here pictures come from a dataset
from stages.pictures import told as told


class OutsideRootError(ValueError):
    """A picture's path that leads out of the dataset's root."""


class Picture(NamedTuple):
    """What became of a row's file: the picture, or why there is none, and the bytes that were read."""

    image: Image.Image | None
    failure: Failure | None
    bytes: int


def load(root: Path, row: Row) -> Picture:
    """The picture of a row as RGB, upright, or why there is none; errors as of `fetch`."""
    return unpack(row, fetch(root, row))


def fetch(root: Path, row: Row) -> bytes | Failure:
    """The bytes of a row's picture, the same that the manifest has the digest of, or why they are not to be had.

    A Failure depends on the picture's bytes alone, so that it can be kept under their digest. What may be otherwise
    tomorrow stops the run: MissingError for a file that is gone, UserError for one that cannot be read or that
    is not the one the manifest was made of.
    """
    try:
        data = _read(_inside(root, row.content))
    except UserError:
        raise
    except Exception as error:  # of a path: out of the root, in a circle, no name at all
        return _failure(row, error)
    if digest_bytes(data) != row.digest:
        raise UserError(f"{root / row.content}: changed since 'ingest' saw it; run 'ingest' again, then 'extract'")
    return data


def unpack(row: Row, fetched: bytes | Failure) -> Picture:
    """The picture of a row's bytes, or why there is none."""
    if isinstance(fetched, Failure):
        return Picture(None, fetched, 0)
    try:
        return Picture(decode(fetched), None, len(fetched))
    except Exception as error:  # decoders of hostile files raise whatever they like
        return Picture(None, _failure(row, error), len(fetched))


def _read(path: Path) -> bytes:
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():  # a pipe would be waited for
            raise UserError(f"{path}: neither a file nor a link to one; put the picture back, or run 'ingest' again")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingError(f"{path}: gone since 'ingest' saw it; put it back, or run 'ingest' again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend that and run 'extract' again") from error


def _inside(root: Path, relative: str) -> Path:
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise OutsideRootError("the path leads out of the dataset's root")
    return path


def _failure(row: Row, error: Exception) -> Failure:
    return Failure(row.id, row.content, type(error).__name__, told(error))
