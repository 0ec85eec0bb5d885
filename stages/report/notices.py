"""The warnings of the page: what a reader should know before a figure is believed, one sentence each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cache.errors import counted
from cache.store import Ledger
from stages.report import content, words
from stages.report.plots import Curve

FEW_SEEDS = 5  # below which an interval over draws is wide
COLLAPSED = 0.05  # of the items
MASK = "mask_density"
NOTHING, EVERYTHING = 0.01, 0.95  # shares of pairs in the mask at which theta does nothing
ROWS = {"image": ("picture", "pictures"), "text": ("text", "texts"), "name": ("class name", "class names")}


def notices(
    metrics: content.Metrics,
    diagnostics: Mapping[str, Any],
    curves: Sequence[Curve],
    features: Ledger,
    truncated: int,
) -> list[str]:
    """Every notice that applies. truncated: how many texts were cut to what the encoder reads."""
    return [
        *_of_features(features, truncated),
        *_of_draws(metrics),
        *_of_queries(metrics),
        *_of_mixtures(diagnostics),
        *_of_masks(curves),
    ]


def _of_features(features: Ledger, truncated: int) -> Iterator[str]:
    for key in features.keys:
        lost = key.about.get("failed", 0)
        if lost:
            yield f"{counted(lost, *ROWS[key.about['rows']])} could not be read; their pairs are left out."
    if truncated:
        yield f"{counted(truncated, 'text')} longer than the encoder reads: only the beginning counts."
    if not features.about.get("aligned", True):
        yield "The two towers share no space: every method begins with CCA on the training pairs of its draw."


def _of_draws(metrics: content.Metrics) -> Iterator[str]:
    seeds = metrics["counts"]["seeds"]
    if 1 < seeds < FEW_SEEDS:
        yield f"Only {counted(seeds, 'draw')} of the support: the support intervals are wide."
    if seeds == 1:
        yield "One draw of the support: nothing is known of how much another would change."
    for entry in metrics.get("lacking", ()):
        at = words.shots([entry["shots"]])
        yield f"{entry['label']} has {entry['draws']} of {counted(entry['of'], 'draw')} at {at}: the others failed."
    seen = {e["label"]: e["access"] for e in metrics["means"] if e["access"] != "inductive"}
    for label, access in seen.items():
        yield f"{label} saw target items without their labels ({access}) and is never ranked with the others."


def _of_queries(metrics: content.Metrics) -> Iterator[str]:
    lost = {gallery: count for gallery, count in metrics["counts"]["without_relevant"].items() if count}
    if lost:
        told = [f"{counted(count, 'query', 'queries')} in {gallery}" for gallery, count in lost.items()]
        yield f"Without a relevant item, and therefore at 0: up to {words.listed(told)}."


def _of_mixtures(diagnostics: Mapping[str, Any]) -> Iterator[str]:
    for modality, found in diagnostics.items():
        if found["collapsed"] > COLLAPSED * found["items"]:
            yield (
                f"{found['collapsed']:,} of {found['items']:,} {modality} mixtures have collapsed onto one component;"
                " a higher mixture.temperature or fewer mixture.components would part them."
            )


def _of_masks(curves: Sequence[Curve]) -> Iterator[str]:
    """Of relative distances that are taken over all pairs, or over hardly any: then theta does nothing."""
    shares: dict[str, list[float]] = {}
    for label, _, _, name, value in curves:
        if name == MASK:
            shares.setdefault(label, []).append(value)
    for label, values in shares.items():
        share = sum(values) / len(values)
        if share > EVERYTHING:
            yield f"{label}: {words.percent(share)} per cent of the pairs are above theta, so that it chooses nothing."
        elif share < NOTHING:
            yield f"{label}: {words.percent(share)} per cent of the pairs are above theta: L_RDP hardly acts."
