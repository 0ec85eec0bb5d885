"""The plots of the report: what each shows, in numbers and in words. Pure but for the drawing itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.report import content, draw, words
from stages.report.asked import ClassFigure, class_names

NAMES = ("shots", "differences", "classes", "loss", "terms", "mixtures", "components", "distances", "modalities")
LOSS = "loss"
_PANELS = {  # the figures that training records besides its loss, by the panel they share
    "contrast_image": ("contrast within items", "image"),
    "contrast_text": ("contrast within items", "text"),
    "regularisation": ("image against text", "loss"),
    "distance": ("relative distance", "loss"),
    "mask_density": ("share of pairs in the mask", "share"),
    "drift": ("mean |Dv \N{MINUS SIGN} Dt|", "drift"),
}
_LEVELS = tuple(_PANELS[name][0] for name in ("mask_density", "drift"))  # read for their level, not their course
_MOST_PAIRS = 9  # panels; with more pairs only those of the best method are drawn
_MOST_CLASSES, _MOST_METHODS = 24, 6  # lines and marks of the plot of classes


@dataclass(frozen=True)
class Plot:
    """One plot: its files' stem, heading, caption, what it shows in words, its numbers, and how it is drawn."""

    name: str
    caption: str
    alt: str
    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    draw: Callable[[], Any]


def shots_plot(metrics: content.Metrics) -> Plot:
    """mAP over shots, with the support interval."""
    counts = content.shot_counts(metrics)
    chance = metrics["mAP"][content.CHANCE]
    rows = [(content.CHANCE, shots, chance, chance, chance) for shots in counts]
    for label in content.labels(metrics):
        own = [entry for shots in counts if (entry := content.mean_of(metrics, label, shots))]
        rows += [(label, e["shots"], e["mAP"], *(e["support"] or (e["mAP"], e["mAP"]))) for e in own]
    told = "; ".join(f"{e['label']} {words.percent(e['mAP'])} at {words.shots([e['shots']])}" for e in metrics["means"])
    return Plot(
        "shots",
        "mAP over the number of shots, mean of both directions. The band is the 95 % support interval: other draws of"
        " the support, same classes. A line without a band does not depend on the draw.",
        f"Line chart of mAP in per cent over shots: {told}; chance {words.percent(chance)}.",
        ("method", "shots", "mAP", "low", "high"),
        rows,
        lambda: draw.shots_curve(rows),
    )


def differences_plot(metrics: content.Metrics) -> Plot:
    """The paired differences with both intervals."""
    entries = sorted(_drawn_pairs(metrics), key=lambda e: e["shots"])
    drawn = [(e["a"], e["b"], e["shots"], e["difference"], e["support"], e["class"], words.winner(e)) for e in entries]
    order = content.labels(metrics)
    told = "; ".join(f"{a} minus {b} {words.points(d)} at {words.shots([n])}" for a, b, n, d, *_ in drawn)
    return Plot(
        "differences",
        "Paired differences in mAP. Thin line: 95 % class interval; thick line: 95 % support interval. In the better"
        " method's colour where the class interval leaves out zero after Holm's correction, else grey.",
        f"Dot plot of paired differences in points of mAP: {told}.",
        ("a", "b", "shots", "difference", "support_low", "support_high", "class_low", "class_high", "p_holm"),
        [_difference_row(e) for e in metrics["differences"]],
        lambda: draw.differences(drawn, order),
    )


def _drawn_pairs(metrics: content.Metrics) -> list[dict[str, Any]]:
    entries = list(metrics["differences"])
    if len({(e["a"], e["b"]) for e in entries}) <= _MOST_PAIRS:
        return entries
    best = content.best_method(metrics)["label"]
    return [e for e in entries if best in (e["a"], e["b"])]


def _difference_row(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    middle = entry["difference"]
    support = entry["support"] or (middle, middle)
    return (entry["a"], entry["b"], entry["shots"], middle, *support, *entry["class"], entry["p_holm"])


def classes_plot(figures: Sequence[ClassFigure], metrics: content.Metrics) -> Plot:
    """The average precision of every class under several methods, at the largest shot count."""
    names, methods = class_names(figures), _drawn_methods(metrics)
    kept = set(names if len(names) <= _MOST_CLASSES else names[: _MOST_CLASSES // 2] + names[-(_MOST_CLASSES // 2) :])
    drawn = [(f.method, f.name, f.ap) for f in figures if f.name in kept and f.method in methods]
    best = content.best_method(metrics)["label"]
    told = "; ".join(f"{f.name} {words.percent(f.ap)}" for f in figures if f.method == best and f.name in kept)
    left = (
        f" Of {len(names)} classes the best and the worst {_MOST_CLASSES // 2} are drawn."
        if len(names) > len(kept)
        else ""
    )
    return Plot(
        "classes",
        f"Mean average precision of each target class at {words.shots([content.shot_counts(metrics)[-1]])}, both"
        f" directions, in the order of {best}.{left}",
        f"Dot plot of average precision in per cent by class; under {best}: {told}.",
        ("method", "class", "AP", "queries"),
        [(f.method, f.name, f.ap, f.queries) for f in figures],
        lambda: draw.classes(drawn, content.labels(metrics)),
    )


def _drawn_methods(metrics: content.Metrics) -> list[str]:
    """The best method and the first of the others, as many as can be told apart."""
    best = content.best_method(metrics)["label"]
    others = [label for label in content.labels(metrics) if label != best]
    return [best, *others[: _MOST_METHODS - 1]]


Curve = tuple[str, int, int, str, float]  # label, shots, step, name, value


def mean_curves(history: pa.Table) -> list[Curve]:
    """The training curves, mean over seeds and class splits."""
    keys = ["method", "variant", "shots", "step", "name"]
    table = history.group_by(keys).aggregate([("value", "mean")]).sort_by([(key, "ascending") for key in keys])
    return [
        (_label(row["method"], row["variant"]), row["shots"], row["step"], row["name"], row["value_mean"])
        for row in table.to_pylist()
    ]


def _label(method: str, variant: str) -> str:
    return method if variant == "default" else f"{method} ({variant})"


def loss_plot(history: Sequence[Curve], order: Sequence[str]) -> Plot:
    """The loss of every trained method, a line a shot count."""
    own = [curve for curve in history if curve[3] == LOSS]
    drawn = [(label, words.shots([shots]), step, value) for label, shots, step, _, value in own]
    labels = list(dict.fromkeys(curve[0] for curve in own))
    return Plot(
        "loss",
        "The training loss, mean over the draws of the support; a line a shot count, named at its end. The scales of"
        " two methods do not compare: their losses have different terms.",
        f"Line charts of the training loss over steps, one for each of: {words.listed(labels or ['no method'])}.",
        ("method", "shots", "step", "name", "value"),
        own,
        lambda: draw.curves(drawn, order, from_zero=()),
    )


def terms_plot(history: Sequence[Curve]) -> Plot:
    """The terms of the loss and what else was recorded, at the largest shot count, for the method that has most."""
    own = [curve for curve in history if curve[3] in _PANELS]
    most = max((curve[1] for curve in own), default=0)
    last = [curve for curve in own if curve[1] == most]
    label = last[0][0] if last else ""
    drawn = [(*_PANELS[name], step, value) for told, _, step, name, value in last if told == label]
    drawn.sort(key=lambda row: [panel for panel, _ in _PANELS.values()].index(row[0]))
    panels = words.listed(list(dict.fromkeys(row[0] for row in drawn)) or ["nothing"])
    return Plot(
        "terms",
        f"What else {label} recorded at {words.shots([most])}: each term of its loss before its weight, the share of"
        " pairs that the relative distances are taken over, and how far the similarities within the two modalities, Dv"
        " and Dt, are apart.",
        f"Line charts over the steps of {label}: {panels}.",
        ("method", "shots", "step", "name", "value"),
        own,
        lambda: draw.curves(drawn, [], from_zero=_LEVELS),
    )


def mixtures_plot(diagnostics: Mapping[str, Any]) -> Plot:
    """Mean component weights and the course of the fit."""
    weights = [(m, k, w) for m, found in diagnostics.items() for k, w in enumerate(found["weights"], 1)]
    gains = [
        (m, i, value - found["objective"][0])
        for m, found in diagnostics.items()
        for i, value in enumerate(found["objective"], 1)
    ]
    told = "; ".join(f"{m} component {k} {words.percent(w)} per cent" for m, k, w in weights)
    return Plot(
        "mixtures",
        "The mixtures of the items' tokens. Left: the mean weight of each component, sorted within an item. Right: what"
        " each iteration of EM gains over the first.",
        f"Bar chart of mean component weights: {told}; and a line chart of the objective over iterations.",
        ("modality", "component", "weight"),
        weights,
        lambda: draw.mixtures(weights, gains),
    )


def score_plots(metrics: content.Metrics, history: pa.Table, classes: Sequence[ClassFigure]) -> list[Plot]:
    """The plots of scores and of training; one without rows is written as numbers alone."""
    curves, order = mean_curves(history), content.labels(metrics)
    return [
        shots_plot(metrics),
        differences_plot(metrics),
        classes_plot(classes, metrics),
        loss_plot(curves, order),
        terms_plot(curves),
    ]
