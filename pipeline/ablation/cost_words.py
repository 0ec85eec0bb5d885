"""What a table of costs says, in sentences made from its numbers by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.ablation.cost import CALLED, POOLING
from pipeline.ablation.experiment import ExperimentSection
from pipeline.ablation.method_cost import FIT, SCORING
from stages.report.draw import INK, SERIES, WIDTH
from stages.report.words import percent

Row = Mapping[str, Any]
HEADS = {
    "row": "fit",
    "modality": "of",
    "items": "items",
    "tokens": "tokens an item",
    "seconds": "seconds",
    "times": "times pooling",
    "gflop": "GFLOP",
    "gflop_counted": "by torch",
    "megabytes": "MB at the peak",
    "iterations": "iterations",
    "open": "open, %",
    "open_long": "open at the end, %",
    "collapsed": "collapsed, %",
}


def answer(section: ExperimentSection, rows: Sequence[Row]) -> list[str]:
    """Three sentences on the fits that `reference` names: what they take, how they converge, how they collapse."""
    pooled = {row["modality"]: row for row in rows if row["run"] == POOLING}
    own = [row for row in rows if row["run"] in section.reference]
    took = "; ".join(_told(row, pooled[row["modality"]]) for row in own)
    ends = "; ".join(_ends(section, row) for row in own)
    told = [f"{took}.", f"{ends[:1].upper()}{ends[1:]}.", _falls(rows, own)]
    fits = "; ".join(_fits(row, rows) for row in rows if row["modality"] == FIT)
    return [*told, f"On one episode {fits}."] if fits else told


def _fits(row: Row, rows: Sequence[Row]) -> str:
    scoring = next(own for own in rows if own["run"] == row["run"] and own["modality"] == SCORING)
    work = "" if row["gflop"] is None else f" ({row['gflop']:.3g} GFLOP)"
    return (
        f"{row['row']} is fitted to {row['items']:,} pairs in {row['seconds']:.2f} s{work} and ranks for"
        f" {scoring['items']:,} queries both ways in {scoring['seconds']:.3f} s"
    )


def _falls(rows: Sequence[Row], own: Sequence[Row]) -> str:
    fits = [row for row in rows if row["collapsed"] is not None]
    worst = max(fits, key=lambda row: float(row["collapsed"]))
    if not worst["collapsed"]:
        return "No fit of the table collapsed onto one component."
    told = "; ".join(f"{row['row']} of {row['modality']} {percent(row['collapsed'])} per cent" for row in own)
    most = f"most often {worst['row']} of {worst['modality']}, {percent(worst['collapsed'])} per cent"
    return f"Collapsed onto one component: {told}; {most}."


def _told(row: Row, pooled: Row) -> str:
    return (
        f"{row['row']} of {row['items']:,} {row['modality']} takes {row['seconds']:.2f} s, {row['times']:.1f} times as"
        f" long as pooling, {row['gflop']:.3g} GFLOP against {pooled['gflop']:.3g}, and {row['megabytes']:.0f} MB at"
        f" its peak against {pooled['megabytes']:.0f}"
    )


def _ends(section: ExperimentSection, row: Row) -> str:
    most = section.cost.iterations if section.cost else 0
    return (
        f"half of the {row['modality']} gain next to nothing after {row['iterations']:.0f} iterations of {row['row']}, "
        f"{percent(row['open'])} per cent still gain more when the stage ends, {percent(row['open_long'])} after {most}"
    )


def table(section: ExperimentSection, rows: Sequence[Row]) -> str:  # noqa: ARG001 - as of every kind of table
    """The table in Markdown."""
    lines = [f"| {' | '.join(HEADS.values())} |", "| --- | --- |" + " ---: |" * (len(HEADS) - 2)]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(row, name) for name in HEADS)} |" for row in rows)]) + "\n"


def _cell(row: Row, name: str) -> str:
    value = row[name]
    if value is None:
        return ""
    if name in ("open", "open_long", "collapsed"):
        return percent(value)
    return str(value) if isinstance(value, str | int) else f"{value:.3g}"


def drawn(rows: Sequence[Row]) -> Figure:
    """Seconds: of pooling and of every mixture, a bar a modality; of every method's fit and scoring."""
    mixtures = [row for row in rows if row["modality"] in CALLED.values()]
    methods = [row for row in rows if row["modality"] not in CALLED.values()]
    panels = [own for own in (mixtures, methods) if own]
    most = max(len({row["row"] for row in own}) for own in panels)
    figure = Figure(figsize=(WIDTH, 1.2 + 0.34 * most), layout="constrained")
    for axes, own in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _bars(axes, own)
    return figure


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    names, kinds = list(dict.fromkeys(row["row"] for row in rows)), list(dict.fromkeys(r["modality"] for r in rows))
    thick = 0.8 / len(kinds)
    for i, kind in enumerate(kinds):
        own = [row for row in rows if row["modality"] == kind]
        places = [names.index(row["row"]) + (i - (len(kinds) - 1) / 2) * thick for row in own]
        axes.barh(places, [row["seconds"] for row in own], thick * 0.92, color=SERIES[i], label=kind)
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6), xlabel="seconds")
    axes.legend(frameon=False, labelcolor=INK)
    axes.grid(axis="x")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", labelcolor=INK)
