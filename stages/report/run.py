"""Scores -> tables, plots and one page that needs nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from cache.files import read_json, write_bytes
from cache.scores import read_history, read_scores
from cache.store import read_ledger
from stages.choices import choices_of
from stages.progress import reporter
from stages.report import draw
from stages.report.content import mean_figures
from stages.report.page import Picture, render_page, render_table
from stages.report.params import ReportParams
from stages.report.plots import Plot, all_plots

SUFFIXES = (".svg", ".png", ".csv")


def run(params: ReportParams) -> None:
    """Draw the plots, then write the Markdown and the page."""
    metrics, history = read_json(params.metrics), read_history(params.history)
    figures = mean_figures(read_scores(params.scores), metrics)
    diagnostics = read_ledger(params.mixtures).keys[0].about["diagnostics"]
    choices = choices_of([key.about for key in read_ledger(params.heads).of("selections")])
    plots = all_plots(metrics, history, diagnostics)
    with draw.style():
        pictures = {plot.name: _write_plot(params.plots, plot) for plot in plots}
    shown = {name: picture for name, picture in pictures.items() if picture}
    write_bytes(params.table, render_table(metrics, figures, params.about).encode())
    write_bytes(params.page, render_page(metrics, figures, diagnostics, choices, params.about, shown).encode())
    reporter().say(f"report: {params.page}")


def _write_plot(folder: Path, plot: Plot) -> Picture | None:
    """Write a plot's numbers and, where there are any, its pictures; what an earlier run left is removed."""
    for suffix in SUFFIXES:
        (folder / plot.name).with_suffix(suffix).unlink(missing_ok=True)
    write_bytes(folder / f"{plot.name}.csv", _csv(plot.header, plot.rows).encode())
    if not plot.rows:
        return None
    figure = plot.draw()
    svg = draw.to_svg(figure)
    write_bytes(folder / f"{plot.name}.svg", svg.encode())
    write_bytes(folder / f"{plot.name}.png", draw.to_png(figure))
    return Picture(Markup(draw.inline(svg, plot.name)), plot.caption, plot.alt)


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
