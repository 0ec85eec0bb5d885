"""The page and the Markdown: what they say put into their templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from cache.errors import counted
from stages.choices import Choice
from stages.report import content, words
from stages.report.cards import ClassCard, QueryCard
from stages.report.ran import Ran

SECTIONS = {
    "notices": "Warnings",
    "scores": "Scores",
    "differences": "Who beats whom",
    "classes": "Classes",
    "queries": "Queries",
    "metrics": "Metrics",
    "galleries": "Galleries",
    "training": "Training",
    "mixtures": "Mixtures",
    "distances": "Relative distances",
    "gap": "Modality gap",
    "chosen": "Chosen values",
    "run": "What ran",
}
CREDITS = {"openmoji": "Pictures: OpenMoji, openmoji.org, CC BY-SA 4.0."}


@dataclass(frozen=True)
class Picture:
    """A drawn plot as the page takes it."""

    svg: Markup
    caption: str
    alt: str


@dataclass(frozen=True)
class Story:
    """What the page tells besides the figures of the scores: classes, best and worst; queries with every method's
    answers, both at `shots`; plots by name, where one that is absent leaves its place out."""

    metrics: content.Metrics
    diagnostics: Mapping[str, Any]
    choices: Sequence[Choice]
    classes: tuple[list[ClassCard], list[ClassCard]]
    queries: list[QueryCard]
    shots: int
    notices: list[str]
    ran: Ran
    plots: Mapping[str, Picture]


def render_page(story: Story, figures: content.Figures, about: Mapping[str, Any]) -> str:
    """The whole report as one HTML page without outside assets.

    about: dataset, encoder, params, made_from, values_from, machine."""
    metrics = story.metrics
    return _template("page.html.j2", html=True).render(
        **_shared(metrics, figures, about),
        **vars(story),
        counts=content.shot_counts(metrics),
        main=content.main_table(metrics),
        pairs=content.pairs(metrics),
        metric_names=content.METRICS,
        metric_groups=content.metric_groups(figures, metrics),
        directions=content.DIRECTIONS,
        gallery_groups=content.gallery_groups(figures, metrics),
        mixtures=content.mixture_table(story.diagnostics),
        gaps=content.gap_table(metrics),
        chosen=content.chosen_groups(story.choices, metrics),
        halves=metrics["counts"]["halves"],
        facts=facts(about),
        machine=about.get("machine", words.NONE),
        params=content.flat(about["params"]),
        made_from=about["made_from"],
        in_words=words.shots,
        contents=_contents(story),
    )


def _contents(story: Story) -> list[tuple[str, str]]:
    """The sections that the page has: their anchors and what they are called."""
    there = {
        "notices": bool(story.notices),
        "differences": bool(story.metrics["differences"]),
        "classes": "classes" in story.plots,
        "queries": bool(story.queries),
        "training": "loss" in story.plots,
        "distances": "distances" in story.plots,
        "chosen": bool(story.choices),
    }
    return [(place, title) for place, title in SECTIONS.items() if there.get(place, True)]


def render_table(metrics: content.Metrics, figures: content.Figures, about: Mapping[str, Any]) -> str:
    """The scores as Markdown."""
    return _template("table.md.j2", html=False).render(
        **_shared(metrics, figures, about),
        main=_main_markdown(metrics),
        differences=_differences_markdown(metrics),
        metrics=_metrics_markdown(metrics, figures),
    )


def _template(name: str, html: bool) -> Template:
    environment = Environment(autoescape=html, undefined=StrictUndefined, trim_blocks=html, lstrip_blocks=html)
    return environment.from_string((resources.files("stages.report") / name).read_text(encoding="utf-8"))


def _shared(metrics: content.Metrics, figures: content.Figures, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dataset": about["dataset"],
        "encoder": about["encoder"],
        "asked": content.asked(metrics),
        "findings": content.findings(metrics),
        "galleries": content.galleries(figures),
        "origin": origin(about),
        "credit": CREDITS.get(about["dataset"]),
    }


def facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The parameters that a reader asks for first."""
    params = about["params"]
    split, mixture = params["split"], params["mixture"]
    halves = f", {counted(split['halves'], 'class split')}" if split["protocol"] == "random" else ""
    return [
        ("Classes", f"{split['protocol']}{halves}"),
        ("Text of an item", f"captions: {params['ingest']['captions']}"),
        ("Mixture", f"{counted(mixture['components'], 'component')}, {mixture['covariance']}"),
        ("Methods", words.listed(params["train"]["methods"])),
        ("Origin of the trained heads' values", origin(about)),
    ]


def origin(about: Mapping[str, Any]) -> str:
    """Where the values of the trained heads come from, as the heads' ledger says it."""
    return str(about.get("values_from", "not recorded"))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns aligned, all but the first to the right."""
    widths = [max(len(text) for text in column) for column in zip(header, *rows, strict=True)]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(row, widths) for row in (header, ruler, *rows))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
    return f"| {' | '.join(cells)} |"


def _main_markdown(metrics: content.Metrics) -> str:
    header = ["method", *(words.shots([count]) for count in content.shot_counts(metrics))]
    rows = [[row.label, *(_cell_markdown(cell) for cell in row.cells)] for row in content.main_table(metrics)]
    return markdown(header, rows)


def _cell_markdown(cell: content.Cell) -> str:
    figure = f"**{cell.text}**" if cell.best else cell.text
    parts = [figure, cell.support, f"({cell.spread})" if cell.spread else ""]
    return " ".join(part for part in parts if part)


def _differences_markdown(metrics: content.Metrics) -> str:
    header = ["pair", "shots", "difference", "support 95 %", "class 95 %", "p (Holm)", "better"]
    rows = [
        [
            f"{pair.a} \N{MINUS SIGN} {pair.b}",
            str(r.shots),
            r.difference,
            r.support,
            r.spread,
            r.p,
            r.winner or words.NONE,
        ]
        for pair in content.pairs(metrics)
        for r in pair.rows
    ]
    return markdown(header, rows) if rows else ""


def _metrics_markdown(metrics: content.Metrics, figures: content.Figures) -> str:
    rows = [
        [row.label, str(group.shots), *(f"**{c.text}**" if c.best else c.text for c in row.cells)]
        for group in content.metric_groups(figures, metrics)
        for row in group.rows
    ]
    return markdown(["method", "shots", *content.METRICS], rows)
