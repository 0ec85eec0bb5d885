"""docs/benchmarks.json: what the pages are made of, each figure with the machine it was taken on.

{"rows": [{"module", "machine", and what a Row has}], "facts": {module: {"machine", "told"}}}
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from bench.row import Row
from cache.files import read_json

Figures = dict[str, Any]
Machine = dict[str, Any]
HARDWARE = ("chip", "cores", "device")


def read_figures(path: Path, modules: Collection[str]) -> Figures:
    """What was measured before, without what modules gave that are no more."""
    told = read_json(path) if path.exists() else {"rows": [], "facts": {}}
    return {
        "rows": [row for row in told["rows"] if row["module"] in modules],
        "facts": {module: fact for module, fact in told["facts"].items() if module in modules},
    }


def with_rows(figures: Figures, module: str, rows: Sequence[Row], on: Machine) -> Figures:
    """The figures with the rows that a module has just given.

    They take the place of those of their names. What the module gave on this machine before and gives no more is
    dropped; what another machine gave stays, since this one may have no GPU.
    """
    names = {row.name for row in rows}
    kept = [old for old in figures["rows"] if old["module"] != module or _stays(old, names, on)]
    made = [{"module": module, "machine": on, **asdict(row)} for row in rows]
    return {**figures, "rows": [*made, *kept]}


def _stays(old: dict[str, Any], names: set[str], on: Machine) -> bool:
    return old["name"] not in names and any(old["machine"][key] != on[key] for key in HARDWARE)


def with_fact(figures: Figures, module: str, told: Any, on: Machine) -> Figures:
    """The figures with what a module has just told."""
    return {**figures, "facts": {**figures["facts"], module: {"machine": on, "told": told}}}


def row_of(told: dict[str, Any]) -> Row:
    """A row as it was measured."""
    return Row(**{field.name: told[field.name] for field in fields(Row)})


def machines_of(figures: Figures) -> list[Machine]:
    """The machines that the figures were taken on, each once."""
    found: list[Machine] = []
    for told in [*figures["rows"], *figures["facts"].values()]:
        if told["machine"] not in found:
            found.append(told["machine"])
    return found
