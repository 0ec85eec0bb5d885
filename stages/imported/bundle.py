"""Imported features as a whole: who the rows are, and the vectors of pictures, texts and class names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import MissingError, ParamsError, UserError, counted
from cache.features import RowKind
from stages.columns import read_columns
from stages.imported.arrays import RAW, TOKENS, Source
from stages.imported.captions import Counts, require_alike, with_texts
from stages.imported.formats import OFFSETS, open_source
from stages.imported.matrices import image_vectors, name_vectors, text_vectors
from stages.imported.params import FeaturesSection
from stages.imported.places import is_mat
from stages.imported.rows import Rows, read_lists, read_rows, with_split_lists
from stages.imported.vectors import Vectors, require_usable

CLASSES = "_classes"  # which class each vector of a name is of, called so behind its name


@dataclass(frozen=True)
class Bundle:
    """Features of n pairs, opened and of one shape, their numbers not yet read. A pair has a text vector a text.

    classes: those that the name vectors are of, in their order; none where the source has none."""

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
        return [*lacking, *([] if any(map(any, self.rows.texts)) else ["texts"])]

    def ids_of(self, kind: RowKind) -> list[str]:
        """Whose each vector of a kind is: an id, of several texts again and again, or a class."""
        if kind == "name":
            return self.classes
        texts = [1] * len(self.rows.ids) if kind == "image" else map(len, self.rows.texts)
        return [item for item, count in zip(self.rows.ids, texts, strict=True) for _ in range(count)]


def open_bundle(section: FeaturesSection, home: Path) -> Bundle:
    """Open features that others made. ParamsError, MissingError or UserError, one line, for what does not fit."""
    path = _path(section, home)
    where = _shown(path, home)
    source = open_source(path, where, section)
    images, texts = ([name for name in own if name] for own in _parts(path, section))
    image = image_vectors(source, images, texts)
    text, counts, raw = text_vectors(source, texts, images)
    rows = _rows(source, section, path, home, images)
    _require_one_length(where, image, text, counts, rows)
    require_alike(where, counts, raw, texts[0])
    rows = with_texts(rows, counts, where, section.caption)
    _require_space(where, image, text, section.aligned)
    names, classes = _names(source, section, rows, text)
    lists = [home / Path(name).expanduser() for name in section.split_lists]
    vectors: dict[RowKind, Vectors] = {"image": image, "text": text, "name": names}
    rows = with_split_lists(rows, lists, where) if lists else rows
    return Bundle(where, rows, _raw_everywhere(vectors, section.aligned, bool(classes)), classes, section.aligned)


def check_bundle(bundle: Bundle, allow_zero: bool, storage: str | None) -> None:
    """Read every number once; UserError for what is no finite number, of tokens in the type that they are to be stored
    in (None: they are left out), or a zero vector."""
    for kind, vectors in bundle.vectors.items():
        require_usable(vectors, bundle.ids_of(kind), allow_zero, storage)


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


def _require_one_length(where: str, image: Vectors, text: Vectors, counts: Counts, rows: Rows) -> None:
    """Every array has a row a pair, raw vectors and tokens of texts a row a text."""
    texts = _lengths(text)
    pairs = [*_lengths(image).values(), len(counts), len(rows.ids)]
    if len({*pairs}) > 1 or len({*texts.values()}) > 1:
        found = {**_lengths(image), **texts, "ids": len(rows.ids)}
        told = ", ".join(f"{what} {count}" for what, count in found.items())
        each = "each pair needs a row in all of them, in one order"
        if len(text) > len(image):
            each += f"; several texts a pair come as a list of vectors, or flat with '...{OFFSETS}' beside them"
        raise UserError(f"{where}: rows differ ({told}); {each}")


def _lengths(vectors: Vectors) -> dict[str, int]:
    named = {"": vectors.pooled, RAW: vectors.raw, TOKENS: vectors.tokens}
    return {vectors.what + suffix: len(part) for suffix, part in named.items() if part is not None}


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
    found = name_vectors(source, section.names)
    if len(found) != len(classes) or found.width != text.width:
        many = counted(len(classes), "class", "classes")
        raise UserError(
            f"{source.where}: '{section.names}' is {len(found)} x {found.width}; it must have a row for each of the "
            f"{many} of '{section.names}{CLASSES}', as wide as a text ({text.width})"
        )
    wanted = sorted({label for own in rows.labels for label in own})
    place = {name: row for row, name in enumerate(classes)}
    if lost := [name for name in wanted if name not in place]:
        many = f"{len(lost)} of {counted(len(wanted), 'class', 'classes')}"
        raise UserError(
            f"{source.where}: no row in '{section.names}' for {many}, the first is '{lost[0]}'; add what lacks, "
            f"or leave '{section.names}' out"
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
