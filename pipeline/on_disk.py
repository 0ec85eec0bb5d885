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
from stages.ingest.archives import SUFFIXES
from stages.ingest.datasets.dataset import Dataset
from stages.ingest.places import from_home, standing


def dataset_rows(datasets: Iterable[Dataset], setting: Setting) -> list[dict[str, Any]]:
    """A row a dataset: name, pairs, classes, on disk, folder, terms, source, address, layout, about.

    on disk: `found`; `in part`, where some of what it needs is there; `archive found`, to be unpacked by ingest;
    `missing`; `drawn by ingest`, where nothing needs to be there; `yours`, where no table is named."""
    return [_row(dataset, setting) for dataset in datasets]


def _row(dataset: Dataset, setting: Setting) -> dict[str, Any]:
    folder = setting.places.inside(f"{setting.params.ingest.root}/{dataset.place}")
    return {
        "name": dataset.name,
        "pairs": dataset.items,
        "classes": dataset.classes,
        "on disk": _state(dataset, folder, setting),
        "folder": from_home(folder, setting.places.home),
        "terms": dataset.licence,
        "source": dataset.source,
        "address": dataset.address,
        "layout": dataset.layout,
        "about": dataset.about,
    }


def _state(dataset: Dataset, folder: Path, setting: Setting) -> str:
    if dataset.name == "table":
        path = setting.params.ingest.table.path
        return "yours" if path is None else "found" if setting.places.inside(path).exists() else "missing"
    if not dataset.parts:
        return "found" if any(folder.glob("images/*")) else "drawn by ingest"
    there = [standing(folder, part) is not None for part in dataset.parts]
    if all(there):
        return "found"
    if any(path.name.lower().endswith(SUFFIXES) for path in folder.glob("*")):
        return "archive found"
    return "in part" if any(there) else "missing"


def how_to_get(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines on each dataset that is not whole on disk: what it is, what to get and where, where to put it, what to run.

    An address has a line of its own, unbroken."""
    for row in rows:
        if row["on disk"] == "archive found":
            yield ""
            yield from _wrapped(
                "", f"{row['name']}: its archive lies in {row['folder']}; {_command(row)} unpacks it", 0
            )
        elif row["on disk"] in {"missing", "in part"} and row["address"]:
            yield ""
            yield from _wrapped("", f"{row['name']}: {row['about']}", indent=0)
            yield from _wrapped("get", f"{row['source']}, from")
            yield f"       {row['address']}"
            yield from _wrapped("as", f"{row['folder']}/ with {row['layout']}")
            yield from _wrapped("run", _command(row))


def _command(row: dict[str, Any]) -> str:
    return f"python -m pipeline extract --dataset {row['name']}"


def _wrapped(word: str, text: str, indent: int = 7) -> list[str]:
    """A paragraph behind its word, as wide as the terminal; what has no blank in it is never broken."""
    return textwrap.wrap(
        text,
        shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE,
        initial_indent=f"  {word}".ljust(indent) if word else "",
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
