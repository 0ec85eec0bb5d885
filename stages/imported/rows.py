"""Who the rows of imported features are: ids, labels, texts and splits, from columns, or from lists beside them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cache.errors import MissingError, ParamsError, UserError, counted, nearest
from cache.manifest import repeated
from stages.imported.arrays import Source, plainly
from stages.imported.cells import EMPTY, SPLITS, flag, lists, named, plausible, words
from stages.imported.params import FeaturesSection, MatSection

LISTS = "--split-list takes files with an id a line"


@dataclass(frozen=True)
class Rows:
    """Each row's id, classes, texts ("" where there is none) and split (train, val, test or None).

    maybe: where no row has a class, the columns that look as if they held some."""

    ids: list[str]
    labels: list[list[str]]
    texts: list[list[str]]
    splits: list[str | None]
    maybe: list[str] = field(default_factory=list)


def read_rows(table: Source, section: FeaturesSection) -> Rows:
    """The rows of a source's columns, their texts as they stand there, none where no column has any. ParamsError, with
    the columns that look as if they were meant, for one that is named and not there."""
    ids = _ids(table, section)
    label = _label_column(table, section)
    labels = _labels(table, label, section.separator) if label else [[] for _ in ids]
    texts = lists(table, section.caption) if section.caption and section.caption in table.held else []
    split = named(table, section, section.split, "split")
    splits = [_split(table.where, word) for word in (words(table, split) if split else [""] * len(ids))]
    maybe = [] if label or not section.label else plausible(table, section, "label")
    for what, column in (("label", labels), ("split", splits)):
        if len(column) != len(ids):
            told = f"{counted(len(ids), 'id')} and {counted(len(column), what)}"
            raise UserError(f"{table.where}: {told}; a row has one of each")
    return Rows(ids, labels, texts, splits, maybe)


def _ids(table: Source, section: FeaturesSection) -> list[str]:
    """The ids; UserError where one stands in two rows, for instance of two texts of one picture."""
    columns = [section.id] if isinstance(section.id, str) else section.id
    name = next((own for own in columns if own in table.held), None) or named(table, section, columns[0], "id")
    ids = safe_ids(words(table, name))
    if twice := repeated(lambda: [ids]):
        many = counted(len(twice), "id stands", "ids stand")
        other = "".join(f": {flag('id', own)}" for own in plausible(table, section, "id")[:1])
        do = f"give each row an id of its own{other}, or put the texts of a pair in one row, as a list"
        raise UserError(f"{table.where}: {many} more than once in '{name}', the first is '{twice[0]}'; {do}")
    return ids


def _label_column(table: Source, section: FeaturesSection) -> str:
    """The column of classes: the one that is named, or the first of several that is there; "" for none."""
    if isinstance(section.label, list):
        return next((name for name in section.label if name in table.held), "")
    return named(table, section, section.label, "label")


def _labels(table: Source, name: str, separator: str | None) -> list[list[str]]:
    """The classes of each row, each once: a list of words as it is, text cut at the separator."""
    cut = [[part for word in row for part in _cut(word, separator)] for row in lists(table, name)]
    return [list(dict.fromkeys(label for label in row if label)) for row in cut]


def _cut(word: str, separator: str | None) -> list[str]:
    return [part.strip() for part in word.split(separator)] if separator else [word]


def _split(where: str, word: str) -> str | None:
    if word.lower() in EMPTY:
        return None
    if word.lower() not in SPLITS:
        raise UserError(f"{where}: a row has split '{word}'; it must be train, val, dev, test or empty")
    return SPLITS[word.lower()]


def safe_ids(ids: list[str]) -> list[str]:
    """The ids; where some are paths that are absolute or lead upwards, all of them from their common folder on."""
    if not any(re.match(r"[\\/]|[A-Za-z]:[\\/]|\.\.?[\\/]", name) for name in ids) or not all(ids):
        return ids
    try:
        folder = os.path.commonpath([os.path.dirname(name) for name in ids])  # noqa: PTH120 - of another machine, perhaps
    except ValueError:
        return ids
    return [os.path.relpath(name, folder or ".") for name in ids]


# --- lists beside the features --------------------------------------------------------------------------------------


def read_lists(folder: Path, where: str, section: MatSection, counts: Sequence[int]) -> Rows:
    """The rows of published lists: a line `text id, image id, class number` a row, the split by the list's name.

    No texts. `counts` are the rows of each part of the features. UserError where a list has another number of lines."""
    there = f"put it beside {where}, or, where ids and classes are in that file, -S 'ingest.features.mat.lists=[]'"
    categories = _lines(folder / section.categories, there)
    ids: list[str] = []
    labels: list[list[str]] = []
    splits: list[str | None] = []
    if len(section.lists) != len(counts):
        told = f"{counted(len(section.lists), 'list')} in ingest.features.mat.lists"
        raise ParamsError(f"{where}: {told} for {counted(len(counts), 'part')}; name one a part")
    for name, count in zip(section.lists, counts, strict=True):
        lines = _lines(folder / name, there)
        if len(lines) != count:
            told = f"{counted(count, 'row')} of features and {counted(len(lines), 'line')} in {name}"
            raise UserError(f"{where}: {told}; they belong together")
        found = [_listed(line, categories, f"{where}: {name} line {i}") for i, line in enumerate(lines, 1)]
        ids += [first for first, _ in found]
        labels += [[label] for _, label in found]
        splits += [split_of(name, where)] * count
    return Rows(ids, labels, [], splits)


def _listed(line: str, categories: list[str], where: str) -> tuple[str, str]:
    fields = line.split()
    known = {str(number): name for number, name in enumerate(categories, start=1)}
    if len(fields) < 2 or fields[-1] not in known:
        raise UserError(f"{where} is '{line[:100]}'; it must be an id and, last, a class from 1 to {len(categories)}")
    return fields[0], known[fields[-1]]


def _lines(path: Path, remedy: str) -> list[str]:
    """The lines of a list that are not blank; MissingError with the remedy where there is no such file."""
    if not path.exists():
        raise MissingError(f"{path.name}: missing; {remedy}")
    with plainly(path.name, "list"):
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def split_of(name: str, where: str) -> str:
    """The split that a list's name begins with; ParamsError for one that begins with none."""
    beginning = next((own for own in SPLITS if Path(name).name.lower().startswith(own)), None)
    if beginning is None:
        raise ParamsError(f"{where}: the list '{name}' names no split; let its name begin with train, val or test")
    return SPLITS[beginning]


def with_split_lists(rows: Rows, lists: Sequence[Path], where: str) -> Rows:
    """The rows with the splits of lists: an id a line, the first word of it. Rows in no list have none.

    UserError for an id that is not among the rows, or that stands in two lists."""
    place = {name: row for row, name in enumerate(rows.ids)}
    splits: list[str | None] = [None] * len(rows.ids)
    for path in lists:
        split, own = split_of(path.name, where), [_first(line, place) for line in _lines(path, LISTS)]
        if lost := [name for name in own if name not in place]:
            hint = nearest(lost[0], list(place)[:1000]) if len(place) else ""
            more = hint if hint.startswith("; did") else "; mend the list"
            ids = f"{len(lost)} of {counted(len(own), 'id')}"
            raise UserError(f"{path.name}: {ids} not in {where}, the first is '{lost[0]}'{more}")
        twice = [name for name, count in Counter(own).items() if count > 1 or splits[place[name]]]
        if twice:
            ids = counted(len(twice), "id stands", "ids stand")
            raise UserError(f"{path.name}: {ids} twice in the lists, the first is '{twice[0]}'; mend the list")
        for name in own:
            splits[place[name]] = split
    return replace(rows, splits=splits)


def _first(line: str, known: dict[str, int]) -> str:
    """The id that a line names: the whole line, or its first field."""
    return line if line in known else re.split(r"[\s,;]", line)[0]
