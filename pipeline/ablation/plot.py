"""The plot of an experiment: mAP over shots where that is the axis, else each row and what it has over another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.ablation.words import AHEAD, BEHIND, verdict
from stages.report.draw import INK, MUTED, SERIES, WIDTH, shots_curve
from stages.report.words import MINUS

Row = Mapping[str, Any]
COLOURS = {AHEAD: SERIES[0], BEHIND: SERIES[1]}
LINE, LINES = 0.27, 0.4  # inches of a row whose name takes one line, and two


def drawn(rows: Sequence[Row]) -> Figure:
    """The figure of a table: a line a row over shots where there are several shot counts, else dots with intervals."""
    if len({row["shots"] for row in rows}) > 1 and len({row["run"] for row in rows}) == 1:
        return shots_curve(_over_shots(rows))
    return dots(rows)


def _over_shots(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Rows (method, shots, mAP, low, high), each once, chance last."""
    own = {(r["row"], r["shots"]): (r["row"], r["shots"], r["mAP"], *_around(r)) for r in rows}
    by_name = sorted(own.values(), key=lambda row: ([r["row"] for r in rows].index(row[0]), row[1]))
    chance = {row["shots"]: ("chance", row["shots"], *[row["chance"]] * 3) for row in rows}
    return [*by_name, *(chance[shots] for shots in sorted(chance))]


def _around(row: Row) -> tuple[float, float]:
    return (row["mAP"], row["mAP"]) if row["mAP_low"] is None else (row["mAP_low"], row["mAP_high"])


def dots(rows: Sequence[Row]) -> Figure:
    """Left mAP with its support interval, a line a row; right the difference: thin the class interval, thick the
    support interval, in colour where the row is ahead (blue) or behind (red), else grey."""
    names = _names(rows)
    tall = LINES if any("\n" in name for name in names) else LINE
    figure = Figure(figsize=(WIDTH, 1.0 + tall * max(2, len(rows))), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for place, row in enumerate(rows):
        low, high = _around(row)
        left.plot([100 * low, 100 * high], [place] * 2, color=SERIES[0], linewidth=4.5, alpha=0.45)
        left.plot([100 * row["mAP"]], [place], color=SERIES[0], marker="o", markersize=5)
        if row["against"]:
            _difference(right, place, row)
    right.axvline(0, color=MUTED, linewidth=1, zorder=0)
    left.set(yticks=range(len(rows)), yticklabels=names, ylim=(len(rows) - 0.4, -0.6))
    left.set_xlabel("mAP, per cent")
    right.set_xlabel("points of mAP")
    for axes in (left, right):
        axes.grid(axis="x")
        axes.grid(axis="y", visible=False)
    left.tick_params(axis="y", labelcolor=INK, labelsize="small")
    return figure


def _difference(axes: Axes, place: int, row: Row) -> None:
    ink = COLOURS.get(verdict(row), MUTED)
    axes.plot([100 * row["class_low"], 100 * row["class_high"]], [place] * 2, color=ink, linewidth=1.4)
    if row["support_low"] is not None:
        axes.plot([100 * row["support_low"], 100 * row["support_high"]], [place] * 2, color=ink, lw=4.5, alpha=0.45)
    axes.plot([100 * row["difference"]], [place], color=ink, marker="o", markersize=5)


def _names(rows: Sequence[Row]) -> list[str]:
    """The rows' names, with their shots and what they are compared with, on a line of its own, where these differ."""
    many = len({row["shots"] for row in rows}) > 1
    several = len({row["against"] for row in rows if row["against"]}) > 1
    shots = [f" at {row['shots']}" if many else "" for row in rows]
    against = [f"\n{MINUS} {row['against']}" if several and row["against"] else "" for row in rows]
    return [f"{row['row']}{count}{other}" for row, count, other in zip(rows, shots, against, strict=True)]
