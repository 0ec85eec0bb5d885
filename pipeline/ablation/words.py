"""What a table of an experiment says, in sentences made from its numbers by rule: text and table cannot part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.ablation.experiment import ExperimentSection
from stages.report.words import SIGNIFICANT, percent, points, shots

Row = Mapping[str, Any]
LEAST = 1e-4  # of mAP: an interval within this on either side of 0 is no difference at all
AHEAD, BEHIND, TIE, SAME = "is ahead of", "is behind", "is not distinguishable from", "is the same as"


def verdict(row: Row) -> str:
    """How a row stands to what it is compared with: by the class interval, and p corrected over the table."""
    low, high = row["class_low"], row["class_high"]
    if max(abs(low), abs(high)) < LEAST:
        return SAME
    if row["p_holm"] >= SIGNIFICANT or low <= 0 <= high:
        return TIE
    return AHEAD if low > 0 else BEHIND


def figure(row: Row) -> str:
    """A difference with its class interval, in points: `-0.2 [-0.6, +0.3]`; with the corrected p where that, and not
    the interval, is what a verdict rests on."""
    low, high = row["class_low"], row["class_high"]
    unsure = verdict(row) == TIE and not low <= 0 <= high
    told = f"{_plain(row['difference'])} [{_plain(low)}, {_plain(high)}]"
    return f"{told} (corrected p {row['p_holm']:.2f})" if unsure else told


def _plain(value: float) -> str:
    """Points with a plain minus sign, as they are copied from a table."""
    return points(value).replace("\N{MINUS SIGN}", "-")


def sentence(rows: Sequence[Row]) -> str:
    """One row of a table, or the same two rows at several shot counts with one verdict, as a clause without a stop:
    `K=3 is not distinguishable from K=1: -0.2 [-0.6, +0.3]`."""
    first, told = rows[0], verdict(rows[0])
    where = f" at {shots([row['shots'] for row in rows])}" if first.get("many") else ""
    head = f"{first['row']} {told} {first['against']}{where}"
    return head if told == SAME else f"{head}: {', '.join(map(figure, rows))}"


def clauses(rows: Sequence[Row], *verdicts: str) -> list[str]:
    """The sentences on all comparisons of such a verdict, in the order of the table."""
    many = len({row["shots"] for row in rows}) > 1
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["against"] and verdict(row) in verdicts:
            groups.setdefault((row["row"], row["against"], verdict(row)), []).append({**row, "many": many})
    return [sentence(own) for own in groups.values()]


def answer(section: ExperimentSection, rows: Sequence[Row]) -> list[str]:
    """Three sentences: the best row at the most shots, what can be told apart, what cannot; then one on what else is
    told of the rows, where there is something."""
    apart, level = clauses(rows, AHEAD, BEHIND), clauses(rows, TIE, SAME)
    told = [_best(rows)]
    if apart or level:
        told.append(_joined(apart, "No row can be told apart from what it is compared with"))
        told.append(_joined(level, "Every row can be told apart from what it is compared with"))
    else:
        told.append("There is no row that it could be compared with.")
    return [*told, *(line for name in section.beside if (line := _besides(rows, name)))]


def _joined(told: Sequence[str], otherwise: str) -> str:
    return f"{'; '.join(told) or otherwise}."


def _best(rows: Sequence[Row]) -> str:
    most = max(row["shots"] for row in rows)
    own = [row for row in rows if row["shots"] == most]
    best = max(own, key=lambda row: float(row["mAP"]))
    least = min(own, key=lambda row: float(row["mAP"]))
    other = f", lowest {least['row']} with {percent(least['mAP'])}" if least["row"] != best["row"] else ""
    chance = f" (chance {percent(best['chance'])})"
    return f"At {shots([most])} {best['row']} has the highest mAP, {percent(best['mAP'])} per cent{chance}{other}."


def _besides(rows: Sequence[Row], name: str) -> str:
    found = [row for row in rows if row[name] is not None]
    if not found:
        return ""
    word, ordered = name.replace("_", " "), sorted(found, key=lambda row: float(row[name]))
    low, high = ordered[0], ordered[-1]
    if low[name] == high[name]:
        return f"The {word} is {low[name]:.3g}."
    return f"The {word} goes from {low[name]:.3g} ({low['row']}) to {high[name]:.3g} ({high['row']})."


def table(section: ExperimentSection, rows: Sequence[Row]) -> str:
    """The table in Markdown: mAP in per cent, differences in points with both intervals."""
    beside = [name.replace("_", " ") for name in _varying(section, rows)]
    head = ["row", section.axis, "shots", "mAP", "compared with", "difference", "support", "class", "p (Holm)", *beside]
    lines = [f"| {' | '.join(head)} |", "| --- | --- |" + " ---: |" * 2 + " --- |" + " ---: |" * (len(head) - 5)]
    return "\n".join([*lines, *(_line(_varying(section, rows), row) for row in rows)]) + "\n"


def _varying(section: ExperimentSection, rows: Sequence[Row]) -> list[str]:
    """What stands beside the rows and is not the same for all of them."""
    return [name for name in section.beside if len({row[name] for row in rows}) > 1]


def _line(beside: Sequence[str], row: Row) -> str:
    half = "" if row["mAP_low"] is None else f" ± {percent((row['mAP_high'] - row['mAP_low']) / 2)}"
    told = [row["row"], row["value"], str(row["shots"]), percent(row["mAP"]) + half, row["against"] or ""]
    if row["against"]:
        told += [_plain(row["difference"]), _bounds(row, "support"), _bounds(row, "class"), f"{row['p_holm']:.3f}"]
    else:
        told += [""] * 4
    told += ["" if row[name] is None else f"{row[name]:.3g}" for name in beside]
    return f"| {' | '.join(told)} |"


def _bounds(row: Row, kind: str) -> str:
    low, high = row[f"{kind}_low"], row[f"{kind}_high"]
    return "" if low is None else f"[{_plain(low)}, {_plain(high)}]"
