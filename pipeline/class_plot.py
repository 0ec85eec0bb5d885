"""The plot of the gap: how far pictures are from the names of their classes, and what prototypes reach, over shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cache.errors import UsageError
from cache.files import read_json, write_bytes
from stages.evaluate.prototypes import GAP, KINDS, STATES
from stages.report.draw import MARKERS, SERIES, WIDTH, settle, style, to_png, to_svg

TITLES = {GAP: "gap", "names": "top-1 by names", "pictures": "by pictures", "both": "by both"}
TOLD = {"plain": "pictures as they are", "shifted": "moved by one vector", "mapped": "mapped"}
HEIGHT = 2.7  # inches of a dataset's row of panels
SUFFIXES = (".png", ".svg")

Entries = Sequence[Mapping[str, Any]]


def require_picture(target: Path) -> None:
    """UsageError unless a name ends as a picture's does."""
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{target}: a plot is written as {' or '.join(SUFFIXES)}; give it a name that ends so")


def write_plot(target: Path, metrics: Mapping[str, Path]) -> None:
    """Draw what the metrics.json of some datasets say of prototypes; UsageError where no method maps pictures."""
    own = {name: read_json(path).get("prototypes", []) for name, path in metrics.items()}
    found = {name: entries for name, entries in own.items() if entries}
    if not found:
        raise UsageError(
            "--plot shows what a map does to the gap, and no method here maps pictures; add cmm_classifier"
        )
    with style():
        figure = drawn(found)
        settle(figure)
        write_bytes(target, to_png(figure) if target.suffix.lower() == ".png" else to_svg(figure).encode())


def drawn(found: Mapping[str, Entries]) -> Figure:
    """A row of panels a dataset: the gap, and top-1 by each kind of prototype; a line a state of the pictures, its band
    the support interval."""
    figure = Figure(figsize=(WIDTH, HEIGHT * len(found)), layout="constrained")
    rows = figure.subplots(len(found), len(TITLES), squeeze=False)
    for panels, (name, entries) in zip(rows, found.items(), strict=True):
        for panel, kind in zip(panels, (GAP, *KINDS), strict=True):
            _panel(panel, [entry for entry in entries if entry["prototypes"] == kind], 1 if kind == GAP else 100)
            panel.set_title(TITLES[kind])
        panels[0].set_ylabel(name)
        bounds = [panel.get_ylim() for panel in panels[1:]]
        for panel in panels[1:]:
            panel.set_ylim(max(0, min(low for low, _ in bounds)), min(100, max(high for _, high in bounds)))
        panels[0].set_ylim(bottom=0)
    lines, names = rows[0][0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=len(STATES), frameon=False)
    return figure


def _panel(panel: Axes, entries: Entries, scale: float) -> None:
    """One figure over shots, evenly spaced, a line a state."""
    counts = sorted({entry["shots"] for entry in entries})
    for state, colour, marker in zip(STATES, SERIES, MARKERS, strict=False):
        own = sorted((entry for entry in entries if entry["state"] == state), key=lambda entry: entry["shots"])
        places = [counts.index(entry["shots"]) for entry in own]
        values = [scale * entry["value"] for entry in own]
        panel.plot(places, values, color=colour, marker=marker, label=TOLD[state])
        ends = [entry["support"] or [entry["value"]] * 2 for entry in own]
        low, high = ([scale * bounds[side] for bounds in ends] for side in (0, 1))
        panel.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    panel.set_xticks(range(len(counts)), [str(count) for count in counts])
    panel.set_xlabel("shots")
