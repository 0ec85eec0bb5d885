"""The datasets as rows: what each is, whether it is on disk, and what to do where it is not."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.console import WIDE
from pipeline.setting import Setting
from stages.imported.params import DATASET as FEATURES
from stages.ingest.archives import pending_archives
from stages.ingest.datasets import DATASETS, find
from stages.ingest.datasets.coop_sets import COOP_SETS, LAYOUTS, SPLIT_FILES, as_file_name, as_typed, is_coop
from stages.ingest.datasets.dataset import Dataset
from stages.ingest.places import barred, from_home, is_filled, lacking, require_rights

IN_TABLE = ("name", "pairs", "classes", "on disk", "download", "terms")
LEGEND = (
    "What to do next. get: lay what you find there, archives as they come, into {root}/NAME (of coop:NAME: "
    "{root}/coop-NAME), and run 'python -m pipeline extract --dataset NAME'. All about one: "
    "'python -m pipeline datasets NAME'."
)
COOP_LEGEND = "A coop:NAME needs its split file, or its classnames.txt, besides:"
SIZES = {"none": "nothing to download", "unknown": "how large the download is, is not known here"}


def dataset_rows(names: Iterable[str], setting: Setting) -> list[dict[str, Any]]:
    """A row a dataset: name, pairs, classes, on disk, download (how large), folder, terms, source, address, layout,
    about, lacking (the parts that are not there), commands (what to run), next (what to do now).

    on disk: `found`; `in part`, where some of what it needs is there; `archive`, to be unpacked by ingest;
    `missing`, an empty folder likewise; `unreadable`, where this user has no right to read it; `built in`, drawn by
    ingest; `yours`, where no path is named yet. Without names all; UsageError for a name that is none."""
    chosen = [find(name) for name in names] or [*DATASETS.values(), *COOP_SETS.values()]
    return [_row(dataset, setting) for dataset in chosen]


def _row(dataset: Dataset, setting: Setting) -> dict[str, Any]:
    folder = setting.places.inside(f"{setting.params.ingest.root}/{dataset.place}")
    seen, lost = _seen(dataset, folder, setting)
    row = {
        "name": as_typed(dataset.name),
        "pairs": dataset.items,
        "classes": dataset.classes,
        "on disk": seen,
        "download": dataset.download,
        "folder": from_home(folder, setting.places.home),
        "terms": dataset.licence,
        "source": dataset.source,
        "address": dataset.address,
        "layout": dataset.layout,
        "about": dataset.about,
        "lacking": lost,
        "commands": _commands(dataset),
    }
    return row | {"next": _next(row, from_home(barred(_read_from(dataset, folder, setting)), setting.places.home))}


def _commands(dataset: Dataset) -> list[str]:
    if dataset.name == FEATURES:
        return ["python -m pipeline import-features PATH"]
    name = as_typed(dataset.name) + dataset.flags
    return [f"python -m pipeline {stage} --dataset {name}" for stage in ("ingest", "extract")]


def _next(row: dict[str, Any], barring: str) -> str:
    """What to do about one dataset, by what is on disk: an address, or a command. barring: the folder that needs rights
    where it is unreadable."""
    there = row["address"] or row["source"]
    into = "" if row["folder"].endswith(as_file_name(row["name"])) else f" (into {row['folder']})"
    ways = {
        "missing": f"get {there}{into}",
        "in part": f"get {_parts(row)} from {there}{into}",
        "archive": row["commands"][0],
        "unreadable": f"chmod -R u+rX {shlex.quote(barring)}",
    }
    return ways.get(row["on disk"]) or str(row["commands"][-1])


def _parts(row: dict[str, Any]) -> str:
    """The parts that are not there, for people."""
    return ", ".join(part.replace("|", " or ") for part in row["lacking"])


def _seen(dataset: Dataset, folder: Path, setting: Setting) -> tuple[str, list[str]]:
    """What is on disk, and the parts that are not where some are."""
    own = getattr(setting.params.ingest, dataset.name, None)  # a section of its own, with a path
    try:
        if own is not None:
            return _own(own.path, setting), []
        if folder.is_dir():
            require_rights(folder)
        return _state(dataset, folder), lacking(folder, dataset.parts)
    except PermissionError:
        return "unreadable", []


def _read_from(dataset: Dataset, folder: Path, setting: Setting) -> Path:
    """The path that the user named, else the dataset's folder."""
    own = getattr(setting.params.ingest, dataset.name, None)
    return folder if own is None or own.path is None else setting.places.inside(own.path)


def _own(path: str | None, setting: Setting) -> str:
    if path is None:
        return "yours"
    return "found" if is_filled(setting.places.inside(path)) else "missing"


def _state(dataset: Dataset, folder: Path) -> str:
    if dataset.address is None:  # ingest makes it
        return "found" if is_filled(folder) else "built in"
    lost = lacking(folder, dataset.parts)
    if not lost if dataset.parts else any(any(folder.glob(mark)) for mark in LAYOUTS):
        return "found"
    if pending_archives(folder, dataset.parts):
        return "archive"
    return "in part" if len(lost) < len(dataset.parts) else "missing"


def in_table(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The columns that go into the table; of the terms the first words alone where the terminal is too narrow."""
    cells = [{name: row[name] for name in IN_TABLE} for row in rows]
    width = sum(max(len(str(cell[name] or "")) for cell in [*cells, {name: name}]) + 2 for name in IN_TABLE) - 2
    short = width > _columns()
    return [cell | {"terms": cell["terms"].partition(",")[0] if short else cell["terms"]} for cell in cells]


def steps(rows: Sequence[dict[str, Any]], root: str) -> Iterator[str]:
    """A line for each dataset: what to do next. root: where datasets lie. An address, or a command, that is wider than
    the terminal has a line of its own, unbroken."""
    yield ""
    yield from _wrapped("", LEGEND.format(root=root), 0)
    if any(is_coop(row["name"]) for row in rows):
        yield from (COOP_LEGEND, SPLIT_FILES)
    yield ""
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        if width + 2 + len(row["next"]) <= _columns():
            yield f"{row['name']:<{width}}  {row['next']}"
        else:
            yield from (row["name"], f"  {row['next']}")


def about(row: dict[str, Any]) -> Iterator[str]:
    """What there is to know of one dataset: what it is, what to get and where, where to put it, what to run.

    An address has a line of its own, unbroken."""
    yield ""
    yield from _wrapped("", f"{row['name']}: {row['about']}", 0)
    yield from _wrapped("terms", row["terms"])
    if row["download"]:
        yield from _wrapped("size", SIZES.get(row["download"], row["download"]))
    yield from _wrapped("get", f"{row['source']}{', from' if row['address'] else ''}")
    if row["address"]:
        yield f"        {row['address']}"
    yield from _wrapped("as", f"{row['folder']}/ with {row['layout']}" if row["address"] else row["layout"])
    if row["on disk"] == "unreadable":
        yield from _wrapped("mend", row["next"])
    if row["on disk"] == "in part":
        yield from _wrapped("lacks", _parts(row))
    for number, command in enumerate(row["commands"]):
        yield from _wrapped("" if number else "run", command)


def _columns() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE


def _wrapped(word: str, text: str, indent: int = 8) -> list[str]:
    """A paragraph behind its word, as wide as the terminal; what has no blank in it is never broken."""
    return textwrap.wrap(
        text,
        _columns(),
        initial_indent=f"  {word}".ljust(indent)[:indent],
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
