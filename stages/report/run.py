"""Scores -> tables, plots and one page that needs nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from cache.episodes import Episode, read_episodes
from cache.files import read_json, write_bytes
from cache.manifest import Manifest, read_manifest
from cache.scores import read_history, read_queries, read_scores
from cache.store import Ledger, read_ledger
from stages.choices import choices_of
from stages.items import Items, load_items
from stages.progress import reporter
from stages.report import draw
from stages.report.album import Album, open_album
from stages.report.asked import ClassFigure, class_figures, examples, last_shots
from stages.report.cards import class_cards, query_cards, shown_methods
from stages.report.components import mixed_pictures
from stages.report.content import Metrics, mean_figures
from stages.report.first_draw import FirstDraw, by_class, first_episode, look
from stages.report.item_plots import item_plots
from stages.report.notices import notices
from stages.report.page import Picture, Story, render_page, render_table
from stages.report.params import ReportParams
from stages.report.plots import Plot, mean_curves, mixtures_plot, score_plots
from stages.report.ran import what_ran

SUFFIXES = (".svg", ".png", ".csv")


@dataclass(frozen=True)
class Read:
    """What the stage has read, each thing once."""

    metrics: Metrics
    history: pa.Table
    queries: pa.Table
    manifest: Manifest
    episodes: list[Episode]
    features: Ledger
    mixtures: Ledger
    heads: Ledger
    items: Items
    album: Album


def run(params: ReportParams) -> None:
    """Draw the plots, then write the Markdown and the page."""
    figures = mean_figures(read_scores(params.scores), metrics := read_json(params.metrics))
    read = _read(params, metrics)
    classes = class_figures(read.queries, metrics, _targets(read.episodes), _labels(read.manifest))
    plots = _plots(params, read, classes)
    with draw.style():
        pictures = {plot.name: _write_plot(params.plots, plot) for plot in plots}
    story = _story(params, read, classes, {name: picture for name, picture in pictures.items() if picture})
    write_bytes(params.table, render_table(metrics, figures, params.about).encode())
    write_bytes(params.page, render_page(story, figures, params.about).encode())
    reporter().say(f"report: {params.page}")


def _read(params: ReportParams, metrics: Metrics) -> Read:
    manifest = read_manifest(params.manifest)
    return Read(
        metrics=metrics,
        history=read_history(params.history),
        queries=last_shots(read_queries(params.queries), metrics),
        manifest=manifest,
        episodes=read_episodes(params.episodes),
        features=read_ledger(params.features),
        mixtures=read_ledger(params.mixtures),
        heads=read_ledger(params.heads),
        items=load_items(params.store, params.manifest, params.features, params.mixtures, params.captions),
        album=open_album(manifest, params.home),
    )


def _targets(episodes: Sequence[Episode]) -> dict[int, list[str]]:
    return {episode.half: episode.target_classes for episode in episodes}


def _labels(manifest: Manifest) -> dict[str, list[str]]:
    return dict(zip(manifest.ids, manifest.labels, strict=True))


def _plots(params: ReportParams, read: Read, classes: Sequence[ClassFigure]) -> list[Plot]:
    """Every plot in the order of the page."""
    first: FirstDraw = look(params.store, read.items, first_episode(read.episodes), read.heads)
    mixture = read.mixtures.keys[0].about
    return [
        *score_plots(read.metrics, read.history, classes),
        mixtures_plot(mixture["diagnostics"]),
        *item_plots(first, mixed_pictures(first, read.album), mixture),
    ]


def _story(params: ReportParams, read: Read, classes: Sequence[ClassFigure], plots: dict[str, Picture]) -> Story:
    """All that the page tells besides figures and parameters."""
    diagnostics = read.mixtures.keys[0].about["diagnostics"]
    shown = examples(read.queries, read.metrics, classes, _labels(read.manifest))
    made = {name: getattr(params, name) for name in ("manifest", "features", "episodes", "mixtures", "heads", "scores")}
    return Story(
        metrics=read.metrics,
        diagnostics=diagnostics,
        choices=choices_of([key.about for key in read.heads.of("selections")]),
        classes=class_cards(classes, shown_methods(read.metrics), _tested(read.episodes), read.album),
        queries=query_cards(shown, read.album),
        shots=first_episode(read.episodes).shots,
        notices=notices(read.metrics, diagnostics, mean_curves(read.history), read.features, _truncated(read.items)),
        ran=what_ran(read.manifest, read.features, read.items, params.about, made),
        plots=plots,
    )


def _tested(episodes: Sequence[Episode]) -> dict[str, list[str]]:
    """The test items of every target class, in manifest order, of the first class split that asks it."""
    found: dict[str, list[str]] = {}
    for episode in {episode.half: episode for episode in episodes}.values():
        own: dict[str, list[str]] = {}
        for item, name in by_class(episode):
            own.setdefault(name, []).append(item)
        found = {**own, **found}
    return found


def _truncated(items: Items) -> int:
    """How many rows of text were cut to what the encoder reads."""
    if items.tokens is None:
        return 0
    cache = items.tokens["text"].cache
    return int(np.count_nonzero(cache.columns(["truncated"])["truncated"].to_numpy()))


def _write_plot(folder: Path, plot: Plot) -> Picture | None:
    """Write a plot's numbers and, where there are any, its pictures; what an earlier run left is removed."""
    for suffix in SUFFIXES:
        (folder / plot.name).with_suffix(suffix).unlink(missing_ok=True)
    write_bytes(folder / f"{plot.name}.csv", _csv(plot.header, plot.rows).encode())
    if not plot.rows:
        return None
    figure = plot.draw()
    draw.settle(figure)
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
