"""Imported features as a whole: who the rows are, and the vectors of pictures, texts and class names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import MissingError, ParamsError, UserError
from cache.features import RowKind
from stages.columns import read_columns
from stages.imported.arrays import Ragged, Source, evened, joined, ragged
from stages.imported.formats import open_source
from stages.imported.params import FeaturesSection
from stages.imported.places import is_mat
from stages.imported.rows import Rows, read_lists, read_rows, with_split_lists
from stages.imported.vectors import Vectors, require_usable

RAW, TOKENS, CLASSES = "_raw", "_tokens", "_classes"  # what further arrays of a kind are called behind its name


@dataclass(frozen=True)
class Bundle:
    """Features of n pairs, opened and of one shape, their numbers not yet read. classes: those that the name vectors
    are of, in their order; none where the source has none."""

    where: str
    rows: Rows
    vectors: dict[RowKind, Vectors]
    classes: list[str]
    aligned: bool

    def lacks(self) -> list[str]:
        """What a full extraction has beside this, in words."""
        tokens = [kind for kind in ("image", "text") if self.vectors[kind].tokens is None]
        lacking = [f"{' and '.join(tokens)} tokens (K is 1)"] if tokens else []
        lacking += [] if self.classes else ["class names (methods that need them refuse)"]
        lacking += ["raw vectors"] if self.aligned and self.vectors["image"].raw is None else []
        return [*lacking, *([] if any(self.rows.texts) else ["texts"])]


def open_bundle(section: FeaturesSection, home: Path) -> Bundle:
    """Open features that others made. ParamsError, MissingError or UserError, one line, for what does not fit."""
    path = _path(section, home)
    where = _shown(path, home)
    source = open_source(path, where, section)
    parts = [[n for n in own if n] for own in _parts(path, section)]
    image, text = (_vectors(source, what, own) for what, own in zip(("image", "text"), parts, strict=True))
    rows = _rows(source, section, path, home, parts[0])
    _require_one_length(where, image, text, rows)
    _require_space(where, image, text, section.aligned)
    names, classes = _names(source, section, rows, text)
    lists = [home / Path(name).expanduser() for name in section.split_lists]
    vectors: dict[RowKind, Vectors] = {"image": image, "text": text, "name": names}
    rows = with_split_lists(rows, lists, where) if lists else rows
    return Bundle(where, rows, _raw_everywhere(vectors, section.aligned, bool(classes)), classes, section.aligned)


def check_bundle(bundle: Bundle, allow_zero: bool) -> None:
    """Read every number once; UserError for what is no finite number, or a zero vector."""
    for kind, ids in (("image", bundle.rows.ids), ("text", bundle.rows.ids), ("name", bundle.classes)):
        require_usable(bundle.vectors[kind], ids, allow_zero)  # type: ignore[index]


def _path(section: FeaturesSection, home: Path) -> Path:
    if section.path is None:
        raise ParamsError(
            "features: ingest.features.path is null; name what holds them: python -m pipeline import-features PATH"
        )
    path = home / Path(section.path).expanduser()
    if not path.exists():
        raise MissingError(
            f"features: {os.path.normpath(path)} is missing; set ingest.features.path to what holds them"
        )
    return path


def _shown(path: Path, home: Path) -> str:
    """A path for messages: relative to the home folder where it lies in it."""
    full, base = os.path.normpath(path), os.path.normpath(home)
    return os.path.relpath(full, base) if Path(full).is_relative_to(base) else full


def _parts(path: Path, section: FeaturesSection) -> tuple[list[str], list[str]]:
    """The names of the arrays whose rows, one behind the other, are the pictures', and those of the texts."""
    return (section.mat.image, section.mat.text) if is_mat(path) else ([section.image], [section.text])


def _vectors(source: Source, what: str, names: Sequence[str]) -> Vectors:
    key = f"ingest.features.{'mat.' if len(names) > 1 or is_mat(source.where) else ''}{what}"
    if not names:
        raise ParamsError(f"{source.where}: {key} is empty; name what holds the {what} vectors: {source.told()}")
    if lost := [name for name in names if name not in source.held]:
        raise ParamsError(
            f"{source.where}: nothing is called '{lost[0]}'; it holds {source.told()}; set {key} to what holds the "
            f"{what} vectors"
        )
    pooled = _matrix(source, names, 2)
    tokens = _beside(source, names, TOKENS, 3)
    tokens = evened(tokens) if what == "image" and isinstance(tokens, Ragged) else tokens
    return Vectors(source.where, what, pooled, _beside(source, names, RAW, 2), tokens)


def _beside(source: Source, names: Sequence[str], suffix: str, axes: int) -> Any | None:
    """The arrays that belong to others, where every one of them is there."""
    own = [name + suffix for name in names]
    return _matrix(source, own, axes) if all(name in source.held for name in own) else None


def _matrix(source: Source, names: Sequence[str], axes: int) -> Any:
    """Numbers of so many axes, or Ragged where that is three."""
    parts = [source.read(name) for name in names]
    for name, part in zip(names, parts, strict=True):
        if isinstance(part, Ragged) and axes == 3:
            continue
        if isinstance(part, list | Ragged) or part.dtype.kind not in "fiu" or part.ndim != axes or not part.shape[-1]:
            held = f"shape {part.shape}, {part.dtype}" if hasattr(part, "dtype") else f"{len(part)} rows that are none"
            raise UserError(f"{source.where}: '{name}' is no array of numbers of {axes} axes ({held}); a row a pair")
    if any(isinstance(part, Ragged) for part in parts):
        return parts[0] if len(parts) == 1 else ragged([row for part in parts for row in _each(part)])
    return joined(parts)


def _each(part: Any) -> list[Any]:
    if not isinstance(part, Ragged):
        return list(part)
    return [part.values[lo:hi] for lo, hi in zip(part.offsets[:-1], part.offsets[1:], strict=True)]


def _rows(source: Source, section: FeaturesSection, path: Path, home: Path, parts: Sequence[str]) -> Rows:
    """Who the rows are: by the table beside them, by a .mat file's lists, or by columns of the source itself."""
    if section.table is not None:
        table = home / Path(section.table).expanduser()
        return read_rows(_table(table, _shown(table, home)), section)
    if is_mat(path) and section.mat.lists:
        return read_lists(path.parent, source.where, section.mat, [len(source.read(name)) for name in parts])
    return read_rows(source, section)


def _table(path: Path, where: str) -> Source:
    if not path.is_file():
        raise MissingError(f"{where}: missing; set ingest.features.table to the table of the rows, or to null")
    return Source(where, {name: partial(list, column) for name, column in read_columns(path, where).items()})


def _require_one_length(where: str, image: Vectors, text: Vectors, rows: Rows) -> None:
    counts = {f"{v.what}{suffix}": len(part) for v in (image, text) for suffix, part in _lengths(v)}
    counts["ids"] = len(rows.ids)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{what} {count}" for what, count in counts.items())
        raise UserError(f"{where}: rows differ ({told}); each pair needs a row in all of them, in one order")


def _lengths(vectors: Vectors) -> list[tuple[str, Any]]:
    named = [("", vectors.pooled), (RAW, vectors.raw), (TOKENS, vectors.tokens)]
    return [(suffix, part) for suffix, part in named if part is not None]


def _require_space(where: str, image: Vectors, text: Vectors, aligned: bool) -> None:
    if aligned and image.width != text.width:
        raise ParamsError(
            f"{where}: ingest.features.aligned is true, but image vectors are {image.width} wide and text vectors "
            f"{text.width}; vectors of one space have one width, so set it to false"
        )


def _names(source: Source, section: FeaturesSection, rows: Rows, text: Vectors) -> tuple[Vectors, list[str]]:
    """The vectors of class names and their classes, sorted; none where the source has none."""
    none = Vectors(source.where, "name", np.empty((0, text.width), np.float32), None, None)
    if section.names not in source.held:
        return none, []
    classes = _listed_classes(source, section.names)
    found = Vectors(
        source.where, "name", _matrix(source, [section.names], 2), _beside(source, [section.names], RAW, 2), None
    )
    if len(found) != len(classes) or found.width != text.width:
        raise UserError(
            f"{source.where}: '{section.names}' is {len(found)} x {found.width}; it must have a row for each of the "
            f"{len(classes)} classes of '{section.names}{CLASSES}', as wide as a text ({text.width})"
        )
    wanted = sorted({label for own in rows.labels for label in own})
    place = {name: row for row, name in enumerate(classes)}
    if lost := [name for name in wanted if name not in place]:
        raise UserError(
            f"{source.where}: {len(lost)} of {len(wanted)} classes have no row in '{section.names}', the first is "
            f"'{lost[0]}'; add them, or leave '{section.names}' out"
        )
    return found.take(np.array([place[name] for name in wanted], np.int64)), wanted


def _listed_classes(source: Source, names: str) -> list[str]:
    if names + CLASSES not in source.held:
        raise UserError(f"{source.where}: '{names}' stands without '{names}{CLASSES}'; say which class each row is of")
    return [str(name).strip() for name in _plain(source.read(names + CLASSES))]


def _plain(column: Any) -> list[Any]:
    return column if isinstance(column, list) else list(np.asarray(column).ravel().tolist())


def _raw_everywhere(vectors: dict[RowKind, Vectors], aligned: bool, named: bool) -> dict[RowKind, Vectors]:
    """Raw vectors serve where both spaces are known, and all kinds have them; else they are left out."""
    asked = [vectors[kind] for kind in vectors if kind != "name" or named]
    if aligned and all(own.raw is not None for own in asked):
        return vectors
    return {kind: Vectors(own.where, own.what, own.pooled, None, own.tokens) for kind, own in vectors.items()}
