"""The datasets as rows: what each is, whether it is on disk, and what to do where it is not."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.console import WIDE
from pipeline.setting import Setting
from stages.imported.params import DATASET as FEATURES
from stages.ingest.archives import SUFFIXES
from stages.ingest.datasets import DATASETS, find
from stages.ingest.datasets.coop_sets import COOP_SETS, PREFIX
from stages.ingest.datasets.dataset import Dataset
from stages.ingest.places import from_home, require_rights, standing

TO_GET = ("missing", "in part")


def dataset_rows(names: Iterable[str], setting: Setting) -> list[dict[str, Any]]:
    """A row a dataset: name, pairs, classes, on disk, folder, terms, source, address, layout, about.

    on disk: `found`; `in part`, where some of what it needs is there; `archive`, to be unpacked by ingest;
    `missing`; `unreadable`, where this user has no right to read it; `built in`, drawn by ingest; `yours`, where no
    path is named yet. Without names all; UsageError for a name that is none."""
    chosen = [find(name) for name in names] or [*DATASETS.values(), *COOP_SETS.values()]
    return [_row(dataset, setting) for dataset in chosen]


def _row(dataset: Dataset, setting: Setting) -> dict[str, Any]:
    folder = setting.places.inside(f"{setting.params.ingest.root}/{dataset.place}")
    return {
        "name": dataset.name.replace(PREFIX, "coop:") if dataset.name.startswith(PREFIX) else dataset.name,
        "pairs": dataset.items,
        "classes": dataset.classes,
        "on disk": _seen(dataset, folder, setting),
        "folder": from_home(folder, setting.places.home),
        "terms": dataset.licence,
        "source": dataset.source,
        "address": dataset.address,
        "layout": dataset.layout,
        "about": dataset.about,
    }


def _seen(dataset: Dataset, folder: Path, setting: Setting) -> str:
    try:
        if folder.is_dir():
            require_rights(folder)
        return _state(dataset, folder, setting)
    except PermissionError:
        return "unreadable"


def _state(dataset: Dataset, folder: Path, setting: Setting) -> str:
    own = getattr(setting.params.ingest, dataset.name, None)  # a section of its own, with a path
    if own is not None:
        return "yours" if own.path is None else "found" if setting.places.inside(own.path).exists() else "missing"
    if dataset.name == "openmoji":
        return "found" if any(folder.glob("images/*")) else "built in"
    there = [folder.is_dir(), *(standing(folder, part) is not None for part in dataset.parts)]
    if all(there):
        return "found"
    if any(path.name.lower().endswith(SUFFIXES) for path in folder.glob("*")):
        return "archive"
    return "in part" if any(there[1:]) else "missing"


def addresses(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A line for each dataset that is not whole on disk: where it is to be had, or that ingest unpacks its archive."""
    told = [row for row in rows if row["on disk"] == "archive" or (row["on disk"] in TO_GET and row["address"])]
    width = max((len(row["name"]) for row in told), default=0)
    if told:
        yield "\nWhere to get the others ('python -m pipeline datasets NAME' says all of one):"
    for row in told:
        archive = f"its archive lies in {row['folder']}, 'ingest' unpacks it"
        yield f"{row['name']:<{width}}  {archive if row['on disk'] == 'archive' else row['address']}"


def about(row: dict[str, Any]) -> Iterator[str]:
    """What there is to know of one dataset: what it is, what to get and where, where to put it, what to run.

    An address has a line of its own, unbroken."""
    yield ""
    yield from _wrapped("", f"{row['name']}: {row['about']}", 0)
    yield from _wrapped("get", f"{row['source']}{', from' if row['address'] else ''}")
    if row["address"]:
        yield f"       {row['address']}"
    yield from _wrapped("as", f"{row['folder']}/ with {row['layout']}" if row["address"] else row["layout"])
    commands = [f"{stage} --dataset {row['name']}" for stage in ("ingest", "extract")]
    for number, command in enumerate(["import-features PATH"] if row["name"] == FEATURES else commands):
        yield from _wrapped("" if number else "run", f"python -m pipeline {command}")


def _wrapped(word: str, text: str, indent: int = 7) -> list[str]:
    """A paragraph behind its word, as wide as the terminal; what has no blank in it is never broken."""
    return textwrap.wrap(
        text,
        shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE,
        initial_indent=f"  {word}".ljust(indent)[:indent],
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
