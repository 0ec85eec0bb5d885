"""Drawing single items: whose their patches are, how alike they are, where they lie. Numbers in, figures out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from stages.items import Array
from stages.report.components import Mixed, owner_of
from stages.report.draw import INK, PAPER, SERIES, WIDTH, Rows
from stages.retrieval import Float64

HEAT = "cividis"  # Nunez, Anderton and Renslow 2018: the same to eyes that tell no red from green
LEGIBLE = 10  # patches a side, above which no numbers stand in them
MARKS = {"image": "o", "text": "^"}
INKS = {"image": SERIES[0], "text": SERIES[1]}
DARKEST = 0.6  # of the grey picture, so that numbers can be read on it
TINT = 0.5  # of a component's colour over the grey picture


def components(pictures: Sequence[Mixed]) -> Figure:
    """Each picture, and beside it the same in grey under the colours of its components, two pictures a line."""
    lines = -(-len(pictures) // 2)
    roomy = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.04)
    figure = Figure(figsize=(WIDTH, 2.05 * lines + 0.35), layout=roomy)
    grid = figure.subplots(lines, 4, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for place, one in enumerate(pictures):
        _photo(grid[2 * place], one)
        _map(grid[2 * place + 1], one)
    most = max(one.owners.shape[2] for one in pictures)
    told = [Patch(color=_ink(k), label=f"component {k + 1}{', the heaviest' * (k == 0)}") for k in range(most)]
    figure.legend(
        handles=told, loc="outside lower center", ncols=min(most, 4), frameon=False, labelcolor=INK, fontsize="small"
    )
    return figure


def _ink(component: int) -> str:
    return SERIES[component % len(SERIES)]


def _photo(axes: Axes, one: Mixed) -> None:
    axes.imshow(np.asarray(one.picture.convert("RGB")))
    axes.set_title(one.name, fontsize="small")


def _map(axes: Axes, one: Mixed) -> None:
    """The patches, 0 to 1 both ways, in their components' colours, with lines where one ends and another begins."""
    owners = owner_of(one.owners)
    grey = np.asarray(one.picture.convert("L")).astype(np.float32) / np.float32(255)
    axes.imshow(tinted(grey, owners), extent=(0, 1, 1, 0))
    high, wide = owners.shape
    _borders(axes, owners)
    if max(high, wide) <= LEGIBLE:
        for (row, column), k in np.ndenumerate(owners):
            place = (column + 0.5) / wide, (row + 0.5) / high
            axes.text(*place, str(k + 1), fontsize=6, color="#000000", ha="center", va="center")
    told = " / ".join(f"{100 * weight:.0f}" for weight in one.weights)
    axes.set_title(f"{told} %", fontsize="small")


def tinted(grey: Array, owners: np.ndarray) -> Array:
    """A grey picture (h, w) of 0 to 1, each patch of (H, W) in the colour of its component: (h, w, 3)."""
    high, wide = owners.shape
    rows = np.arange(grey.shape[0]) * high // grey.shape[0]
    columns = np.arange(grey.shape[1]) * wide // grey.shape[1]
    inks = np.array([to_rgb(_ink(k)) for k in range(int(owners.max()) + 1)], np.float32)
    colour = inks[owners[rows[:, None], columns[None]]]
    light = (DARKEST + (1 - DARKEST) * grey)[..., None]
    return np.asarray(light * ((1 - TINT) + TINT * colour), np.float32)


def _borders(axes: Axes, owners: np.ndarray) -> None:
    high, wide = owners.shape
    for row, column in np.argwhere(owners[:, 1:] != owners[:, :-1]):
        axes.plot([(column + 1) / wide] * 2, [row / high, (row + 1) / high], color=PAPER, linewidth=1.4)
    for row, column in np.argwhere(owners[1:] != owners[:-1]):
        axes.plot([column / wide, (column + 1) / wide], [(row + 1) / high] * 2, color=PAPER, linewidth=1.4)


def distances(stages: Sequence[tuple[str, Float64, Float64]], starts: Sequence[int]) -> Figure:
    """Heat maps, a line a stage: (what it is called, D_v, D_t), each (N, N), and |D_v - D_t|; lines where a class of
    the items begins. All similarities share one scale, and so do the differences."""
    figure = Figure(figsize=(WIDTH, 2.55 * len(stages)), layout="constrained")
    grid = figure.subplots(len(stages), 3, squeeze=False)
    alike = _range(np.concatenate([_off_diagonal(m) for _, image, text in stages for m in (image, text)]))
    apart = (0.0, _range(np.concatenate([_off_diagonal(np.abs(image - text)) for _, image, text in stages]))[1])
    for line, (name, image, text) in zip(grid, stages, strict=True):
        shown = (
            ("$D_v$, pictures", image, alike),
            ("$D_t$, texts", text, alike),
            ("|$D_v$ \N{MINUS SIGN} $D_t$|", np.abs(image - text), apart),
        )
        drawn = [_heat(axes, matrix, span, starts) for axes, (_, matrix, span) in zip(line, shown, strict=True)]
        for axes, (title, _, _) in zip(line, shown, strict=True):
            axes.set_title(title, fontsize="small")
        line[0].set_ylabel(name, color=INK)
        figure.colorbar(drawn[1], ax=line[:2], fraction=0.04, pad=0.02, shrink=0.84).outline.set_visible(False)
        figure.colorbar(drawn[2], ax=line[2], fraction=0.08, pad=0.04, shrink=0.84).outline.set_visible(False)
    return figure


def _off_diagonal(matrix: Float64) -> Float64:
    return np.asarray(matrix[~np.eye(len(matrix), dtype=bool)])


def _range(values: Float64) -> tuple[float, float]:
    """From the lowest to the highest of some values but for their outermost hundredths."""
    low, high = np.quantile(values, [0.01, 0.99]) if len(values) else (0.0, 1.0)
    return float(low), float(high)


def _heat(axes: Axes, matrix: Float64, span: tuple[float, float], starts: Sequence[int]) -> Any:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    drawn = axes.imshow(matrix, cmap=HEAT, vmin=span[0], vmax=span[1], interpolation="none")
    for start in starts[1:]:
        axes.axvline(start - 0.5, color=PAPER, linewidth=0.6)
        axes.axhline(start - 0.5, color=PAPER, linewidth=0.6)
    return drawn


def modalities(rows: Rows) -> Figure:
    """Pictures and texts as points, a panel a space: rows (panel, modality, id, class, x, y); their two means, larger,
    and the line between."""
    names = list(dict.fromkeys(row[0] for row in rows))
    lines = -(-len(names) // 3)
    figure = Figure(figsize=(WIDTH, 2.5 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, 3, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid, names, strict=False):
        _cloud(axes, [row for row in rows if row[0] == name])
        axes.set_title(name, fontsize="small")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, labelcolor=INK, fontsize="small"
    )
    return figure


def _cloud(axes: Axes, rows: Rows) -> None:
    means = {}
    for modality, mark in MARKS.items():
        points = np.array([row[4:6] for row in rows if row[1] == modality], np.float64)
        means[modality] = points.mean(axis=0)
        axes.plot(*points.T, mark, color=INKS[modality], markersize=3, alpha=0.55, markeredgewidth=0, label=modality)
    axes.plot(*np.array(list(means.values())).T, color=INK, linewidth=1.6)
    for modality, mark in MARKS.items():
        axes.plot(*means[modality], mark, color=INKS[modality], markersize=9, markeredgecolor=INK)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.set_adjustable("datalim")
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
