"""What an experiment leaves: a table as CSV, a plot as SVG and PNG, and its answer as Markdown; nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.errors import MissingError
from cache.files import write_bytes
from pipeline.ablation.experiment import ExperimentSection
from pipeline.ablation.pages import TELLING, page
from stages.report import draw

RESULTS = "results/ablations"
TEXTS = ("run", "method", "variant", "row", "value", "against", "modality", "note")  # all other columns are numbers
COUNTS = ("shots", "seeds", "items", "width")
Row = dict[str, Any]


def write_results(
    folder: Path, dataset: str, section: ExperimentSection, rows: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Write all files of an experiment on one dataset, each whole; returns them. rows: its table, one or more."""
    paths = [folder / f"{dataset}{suffix}" for suffix in (".csv", ".svg", ".png", ".md")]
    write_bytes(paths[0], as_csv(rows).encode())
    kept = read_rows(paths[0])
    with draw.style():
        figure = TELLING[section.kind].drawn([row for row in kept if not row["note"]])
        write_bytes(paths[1], draw.to_svg(figure).encode())
        write_bytes(paths[2], draw.to_png(figure))
    write_bytes(paths[3], page(section, dataset, kept).encode())
    return paths


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same columns as CSV; nothing for None."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def read_rows(path: Path) -> list[Row]:
    """The rows of such a table, numbers as numbers; MissingError where there is none."""
    try:
        lines = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such table; 'python -m pipeline ablate' makes it") from error
    return [{name: _cell(name, text) for name, text in line.items()} for line in lines]


def _cell(name: str, text: str) -> str | int | float | None:
    if name in TEXTS:
        return text
    if not text:
        return None
    return int(text) if name in COUNTS else float(text)
