"""Imported features whose frames lie in an order of chance: what is left of a method on them does not come of order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import ParamsError, UsageError
from cache.files import digest_file, digest_of, write_through
from pipeline.folder_state import folder_digest
from stages.imported.arrays import TOKENS, Ragged
from stages.imported.formats import OFFSETS, open_source
from stages.imported.params import FeaturesSection
from stages.imported.places import is_mat


def shuffled_file(folder: Path, section: FeaturesSection, home: Path) -> Path:
    """The file of the same features with the tokens of every row shuffled, written where it is not there yet.

    ParamsError where no features are named, UsageError where they have no tokens or are a .mat file, whose parts have
    names of their own; errors as of open_source."""
    if section.path is None:
        raise ParamsError("ingest.features.path is null; name the features whose frames are to be shuffled")
    path = home / Path(section.path).expanduser()
    if is_mat(path):
        raise UsageError(f"{section.path}: frames are shuffled of .npz, .h5, .parquet or .npy; save it as one of these")
    state = digest_file(path) if path.is_file() else folder_digest(path)
    target = folder / f"{path.stem}-shuffled-{digest_of([state, section.image, section.text])[:8]}.npz"
    if not target.is_file():
        arrays = _shuffled(section, path)
        write_through(target, lambda part: _save(part, arrays))
    return target


def _shuffled(section: FeaturesSection, path: Path) -> dict[str, Any]:
    source = open_source(path, str(section.path), section)
    tokens = {f"{name}{TOKENS}" for name in (section.image, section.text)} & set(source.held)
    if not tokens:
        raise UsageError(f"{section.path}: has no tokens, so there is no order to shuffle; it holds {source.told()}")
    found: dict[str, Any] = {}
    for name in source.held:
        values = source.read(name)
        if name in tokens:
            values = shuffled(values)
        if isinstance(values, Ragged):
            found[f"{name}{OFFSETS}"] = values.offsets
            values = values.values
        found[name] = np.asarray(values)
    return found


def shuffled(rows: Any) -> Any:
    """The frames of every row, (n, P, D) or Ragged, in an order of chance that depends on the row's number alone."""
    if not isinstance(rows, Ragged):
        return np.stack([np.random.default_rng(i).permutation(np.asarray(row)) for i, row in enumerate(rows)])
    parts = zip(rows.offsets[:-1], rows.offsets[1:], strict=True)
    frames = [np.random.default_rng(i).permutation(np.asarray(rows.values[a:b])) for i, (a, b) in enumerate(parts)]
    return Ragged(np.concatenate(frames), rows.offsets)


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:  # numpy adds an ending to a name that has none of its own
        np.savez(file, **arrays)
