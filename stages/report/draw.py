"""Drawing: rows of numbers in, matplotlib figures out, in the page's own colours."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from PIL import Image

from stages.pictures import embedded

Rows: TypeAlias = Sequence[tuple[Any, ...]]

PAPER, INK, MUTED, GRID = "#ffffff", "#20262e", "#66707c", "#e2e5ea"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito 2008, colour-blind-safe
MARKERS = ("o", "s", "D", "^", "v", "P")
VARIABLES = {PAPER: "paper", INK: "ink", MUTED: "muted", GRID: "grid"} | {c: f"c{i}" for i, c in enumerate(SERIES, 1)}
WIDTH = 7.4  # inches
PHOTOGRAPH = 30_000  # characters of a PNG in an SVG, below which it is a map of numbers whose colours must stay
DOTS = 144  # to the inch, of a PNG and of what in an SVG is made of dots
LABEL_INCHES = 0.17  # between two labels at the ends of lines
CHANCE = "chance"

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save within this."""
    with rc_context(STYLE):
        yield


def settle(figure: Figure) -> None:
    """Lay a figure out, once for every file that it is saved as: it takes as long as the drawing."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine("none")


def to_svg(figure: Figure) -> str:
    """The figure as SVG, the same text for the same figure. Pictures in it must be opaque."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", dpi=DOTS, metadata={"Date": None, "Creator": None})
    return re.sub(r"data:image/png;base64,([^\"]+)", _shorter, buffer.getvalue())


def _shorter(found: re.Match[str]) -> str:
    """A picture within an SVG: a photograph as JPEG, a tenth of its PNG; what is short stays as exact as it is."""
    if len(found[0]) < PHOTOGRAPH:
        return found[0]
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as image:
        return min(embedded(image.convert("RGB"), max(image.size)), found[0], key=len)


def to_png(figure: Figure) -> bytes:
    """The figure as PNG, DOTS to the inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS)
    return buffer.getvalue()


def inline(svg: str, name: str) -> str:
    """An SVG for the inside of a page: scalable, ids of its own, colours and type from the page's variables."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r' id="image[0-9a-f]+"', "", body)  # of a colour bar's, two alike: nothing refers to one
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return body


def colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour a label, chance in grey."""
    own = [label for label in labels if label != CHANCE]
    return {CHANCE: MUTED} | {label: SERIES[i % len(SERIES)] for i, label in enumerate(own)}


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, in the order given: at least `gap` apart, close to where they belong, from low to high.

    Labels that would overlap become a cluster around their mean; with too many for low to high they begin at low."""
    clusters: list[list[int]] = []
    for place in sorted(range(len(places)), key=lambda i: places[i]):
        clusters.append([place])
        while len(clusters) > 1 and _lowest(clusters[-1], places, gap, low, high) < gap + (
            _lowest(clusters[-2], places, gap, low, high) + gap * (len(clusters[-2]) - 1)
        ):
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    starts = [(cluster, _lowest(cluster, places, gap, low, high)) for cluster in clusters]
    found = {i: start + nth * gap for cluster, start in starts for nth, i in enumerate(cluster)}
    return [found[i] for i in range(len(places))]


def _lowest(cluster: Sequence[int], places: Sequence[float], gap: float, low: float, high: float) -> float:
    """Where the lowest label of a cluster stands."""
    tall = gap * (len(cluster) - 1)
    middle = sum(places[i] for i in cluster) / len(cluster)
    return max(low, min(middle - tall / 2, high - tall))


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Name lines at their right ends, (x, y, text, colour) each, without overlaps: in ink, which can be read where the
    line's colour could not, with a leader in that colour."""
    low, high = axes.get_ylim()
    inches = axes.get_window_extent().height / axes.figure.dpi
    gap = (high - low) * LABEL_INCHES / inches
    places = spread([y for _, y, _, _ in ends], gap, low + gap / 2, high)
    beside = axes.transData + ScaledTranslation(14 / 72, 0, axes.figure.dpi_scale_trans)
    for (x, y, text, colour), place in zip(ends, places, strict=True):
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 1.2, "shrinkA": 1, "shrinkB": 4}
        axes.annotate(
            text, (x, y), (x, place), "data", beside, color=INK, va="center", arrowprops=leader, annotation_clip=False
        )


def shots_curve(rows: Rows) -> Figure:
    """mAP over shots: rows (method, shots, mAP, low, high) of fractions, low and high the support interval."""
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    axes = figure.add_subplot()
    labels = list(dict.fromkeys(row[0] for row in rows))
    colour, ends = colours(labels), []
    for i, label in enumerate(labels):
        x, y, low, high = ([100 * v for v in column] for column in list(zip(*_of(rows, label), strict=True))[1:])
        x = [v / 100 for v in x]
        line = {"linestyle": (0, (3, 3))} if label == CHANCE else {"marker": MARKERS[i % len(MARKERS)]}
        axes.plot(x, y, color=colour[label], **line)
        axes.fill_between(x, low, high, color=colour[label], alpha=0.18, linewidth=0)
        ends.append((x[-1], y[-1], label, colour[label]))
    axes.set(ylabel="mAP, per cent", xlabel="shots of each target class", xticks=sorted({row[1] for row in rows}))
    axes.set_ylim(bottom=0)
    label_ends(axes, ends)
    return figure


def _of(rows: Rows, label: str) -> list[tuple[Any, ...]]:
    return [row for row in rows if row[0] == label]


def differences(rows: Rows, order: Sequence[str]) -> Figure:
    """Paired differences, a panel a pair: rows (a, b, shots, difference, support, class, winner) of fractions.

    A thin line is the class interval, a thick one the support interval; the winner's colour, or grey."""
    names = list(dict.fromkeys((row[0], row[1]) for row in rows))
    panels = _panels(len(names), 1.1 + 0.26 * len({row[2] for row in rows}), share_x=True)
    colour = colours(order)
    for (a, b), axes in zip(names, panels, strict=False):
        own = [row for row in rows if row[:2] == (a, b)]
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, (_, _, _, middle, support, spread_, winner) in enumerate(own):
            ink = colour[winner] if winner else MUTED
            axes.plot([100 * v for v in spread_], [place] * 2, color=ink, linewidth=1.4)
            if support:
                axes.plot([100 * v for v in support], [place] * 2, color=ink, linewidth=4.5, alpha=0.45)
            axes.plot([100 * middle], [place], color=ink, marker="o", markersize=5)
        axes.set_title(f"{a}\n\N{MINUS SIGN} {b}", fontsize="small")
        axes.set(yticks=range(len(own)), yticklabels=[row[2] for row in own], ylim=(len(own) - 0.4, -0.6))
        axes.grid(axis="x")
        axes.grid(axis="y", visible=False)
    _label_outer(panels, "points of mAP", "shots")
    return panels[0].figure  # type: ignore[return-value]


def classes(rows: Rows, order: Sequence[str]) -> Figure:
    """A line a class, a mark a method: rows (method, class, AP) of fractions, the classes from the top."""
    names = list(dict.fromkeys(row[1] for row in rows))
    methods = [label for label in order if _of(rows, label)]
    figure = Figure(figsize=(WIDTH, 1.1 + 0.23 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    colour = colours(order)
    place = {name: i for i, name in enumerate(names)}
    for label in methods:
        own, mark = (
            _of(rows, label),
            MARKERS[(order.index(label) + 1) % len(MARKERS)],
        )  # as over shots, where chance is first
        axes.plot(
            [100 * row[2] for row in own],
            [place[row[1]] for row in own],
            mark,
            color=colour[label],
            label=label,
            ms=5.5,
        )
    axes.set(
        yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6), xlabel="average precision, per cent"
    )
    axes.set_xlim(0, 100)
    axes.grid(axis="both")
    figure.legend(loc="outside upper left", ncols=4, frameon=False, labelcolor=INK, fontsize="small")
    return figure


def curves(rows: Rows, order: Sequence[str], from_zero: Collection[str]) -> Figure:
    """Training curves: rows (panel, line, step, value); where a panel has several lines each is named at its end.

    Panels share no axis: each is read for its course alone, those of from_zero for their level too."""
    names = list(dict.fromkeys(row[0] for row in rows))
    panels = _panels(len(names), 2.15)
    for name, axes in zip(names, panels, strict=False):
        own = [row[1:] for row in rows if row[0] == name]
        lines = list(dict.fromkeys(row[0] for row in own))
        ends = [_curve(axes, _of(own, line), _shade(i, len(lines), name, order)) for i, line in enumerate(lines)]
        axes.set_title(name)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylim(bottom=0 if name in from_zero else None)
        label_ends(axes, ends if len(ends) > 1 else [])
    _label_outer(panels, "step", "")
    return panels[0].figure  # type: ignore[return-value]


def _curve(axes: Axes, rows: Rows, ink: tuple[str, float]) -> tuple[float, float, str, str]:
    colour, alpha = ink
    _, steps, values = zip(*rows, strict=True)
    axes.plot(steps, values, color=colour, alpha=alpha, linewidth=1.5)
    return steps[-1], values[-1], str(rows[0][0]), colour


def _shade(place: int, count: int, panel: str, order: Sequence[str]) -> tuple[str, float]:
    """Shades of a method's colour where the panel is a method, else colours in turn."""
    if panel in order:
        return colours(order)[panel], 0.4 + 0.6 * (place + 1) / count
    return SERIES[place % len(SERIES)], 1.0


def mixtures(rows: Rows, objective: Rows) -> Figure:
    """Mean weights, rows (modality, component, weight), and the objective's gain, rows (modality, iteration, gain)."""
    panels = _panels(2, 2.4, columns=2)
    modalities = list(dict.fromkeys(row[0] for row in rows))
    for i, modality in enumerate(modalities):
        own = _of(rows, modality)
        places = [row[1] + (i - (len(modalities) - 1) / 2) * 0.36 for row in own]
        panels[0].bar(places, [100 * row[2] for row in own], 0.34, color=SERIES[i], label=modality)
    panels[0].set_title("mean weight of a component, per cent")
    panels[0].set(xlabel="component, heaviest first", xticks=sorted({row[1] for row in rows}))
    panels[0].set_ylim(0, 130 * max(row[2] for row in rows))  # room for the legend
    panels[0].legend(loc="upper right", ncols=2, frameon=False, labelcolor=INK)
    lines = [(_of(objective, modality), SERIES[i]) for i, modality in enumerate(modalities)]
    ends = [_curve(panels[1], own, (ink, 1.0)) for own, ink in lines]
    panels[1].set_title("objective a token, gain in nats")
    panels[1].set(xlabel="iteration", xticks=sorted({row[1] for row in objective}))
    label_ends(panels[1], ends)
    return panels[0].figure  # type: ignore[return-value]


def _panels(count: int, height: float, columns: int = 3, share_x: bool = False) -> list[Axes]:
    """As many axes as asked for, in rows of `columns`, on a fresh figure."""
    columns = min(columns, max(2, count))
    lines = -(-count // columns)
    roomy = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.06)
    figure = Figure(figsize=(WIDTH, height * lines), layout=roomy)
    grid = figure.subplots(lines, columns, sharex=share_x, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return list(grid[:count])


def _label_outer(panels: Sequence[Axes], x: str, y: str) -> None:
    """Name the x axis below the lowest panel of each column, the y axis beside the first panel."""
    columns = panels[0].get_gridspec().ncols  # type: ignore[union-attr]
    for axes in panels[-columns:]:
        axes.set_xlabel(x)
    panels[0].set_ylabel(y)
