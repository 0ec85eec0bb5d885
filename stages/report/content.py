"""What the page and the Markdown say: tables and sentences from scores and metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cache.errors import counted
from stages.choices import Choice
from stages.naming import row_label
from stages.report import words

METRICS = ("mAP", "mAP@50", "macro-mAP", "P@1", "P@5", "P@10", "R-precision", "recall@1", "recall@5", "recall@10")
DIRECTIONS = ("i2t", "t2i", "mean")
GALLERIES = ("target", "rest", "all")
CHANCE = "chance"
CONTENDER = ("method", "variant", "access", "names")  # what tells one row of a table from another
_MOST_PAIRS = 6  # sentences about pairs; with more, only those of the best method

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A figure of a table; `support` and `spread` (the class interval) stand small beneath it, where there are any."""

    text: str
    best: bool = False
    support: str = ""
    spread: str = ""


@dataclass(frozen=True)
class Row:
    """One method's figures, in the order of the table's columns."""

    label: str
    cells: list[Cell]


@dataclass(frozen=True)
class Group:
    """The rows of one shot count."""

    shots: int
    rows: list[Row]


@dataclass(frozen=True)
class Comparison:
    """Two methods at one shot count: the difference in words, both intervals, and who wins, if anybody."""

    shots: int
    difference: str
    support: str
    spread: str
    p: str
    winner: str | None


@dataclass(frozen=True)
class Pair:
    """All that is said of method a against method b."""

    a: str
    b: str
    rows: list[Comparison]


Figures = Mapping[tuple[str, int, str, str, str], float]  # label, shots, gallery, direction, metric -> mean


def mean_figures(scores: pa.Table, metrics: Metrics) -> Figures:
    """The scores as fractions, mean over seeds and class splits."""
    names = label_of(metrics)
    place = ("shots", "gallery", "direction", "metric")
    rows = scores.group_by([*CONTENDER, *place]).aggregate([("value", "mean")]).to_pylist()
    known = [(names.get(tuple(row[k] for k in CONTENDER), row["method"]), row) for row in rows]
    return {(label, *(row[k] for k in place)): row["value_mean"] for label, row in known}


def label_of(metrics: Metrics) -> dict[tuple[Any, ...], str]:
    """What each contender is called, by the columns that tell it from others."""
    return {tuple(entry[k] for k in CONTENDER): str(entry["label"]) for entry in metrics["means"]}


def galleries(figures: Figures) -> list[str]:
    """The galleries there are, the main one first."""
    found = {gallery for _, _, gallery, _, _ in figures}
    return [name for name in GALLERIES if name in found]


def labels(metrics: Metrics) -> list[str]:
    """What the methods are called, in the order they were evaluated; behind them those of which nothing could be."""
    return list(dict.fromkeys(entry["label"] for entry in (*metrics["means"], *metrics.get("lacking", ()))))


def shot_counts(metrics: Metrics) -> list[int]:
    """The shot counts, rising."""
    return sorted({entry["shots"] for entry in metrics["means"]})


def mean_of(metrics: Metrics, label: str, shots: int) -> dict[str, Any] | None:
    """The main figure of a method at a shot count, with its intervals."""
    found = (entry for entry in metrics["means"] if (entry["label"], entry["shots"]) == (label, shots))
    return next(found, None)


def main_table(metrics: Metrics) -> list[Row]:
    """mAP by method and shot count, chance first; the best of each column is marked."""
    counts = shot_counts(metrics)
    chance = Row(CHANCE, [Cell(words.percent(metrics["mAP"][CHANCE])) for _ in counts])
    rows = [Row(label, [_main_cell(metrics, label, shots) for shots in counts]) for label in labels(metrics)]
    return [chance, *rows]


def _main_cell(metrics: Metrics, label: str, shots: int) -> Cell:
    entry = mean_of(metrics, label, shots)
    if entry is None:
        return Cell(words.NONE)
    rivals = [other["mAP"] for other in metrics["means"] if other["shots"] == shots and _comparable(other)]
    best = _comparable(entry) and len(rivals) > 1 and entry["mAP"] == max(rivals)
    support, spread = words.plus_minus(entry["support"]), words.between(entry["class"], signed=False)
    return Cell(words.percent(entry["mAP"]), best, support, spread)


def _comparable(entry: Mapping[str, Any]) -> bool:
    """Methods that saw unlabelled target items are never ranked with those that did not."""
    return bool(entry["access"] == "inductive")


def pairs(metrics: Metrics) -> list[Pair]:
    """The paired differences, a pair after the other, shots rising."""
    entries = sorted(metrics["differences"], key=lambda entry: entry["shots"])
    order = dict.fromkeys((entry["a"], entry["b"]) for entry in metrics["differences"])
    return [Pair(a, b, [_comparison(e) for e in entries if (e["a"], e["b"]) == (a, b)]) for a, b in order]


def _comparison(entry: dict[str, Any]) -> Comparison:
    support, spread = words.between(entry["support"], signed=True), words.between(entry["class"], signed=True)
    p, winner = words.p_value(entry["p_holm"]), words.winner(entry)
    return Comparison(entry["shots"], words.points(entry["difference"]), support, spread, p, winner)


def metric_groups(figures: Figures, metrics: Metrics) -> list[Group]:
    """Every metric on the main gallery, mean of both directions, by shot count and method."""
    columns = [(galleries(figures)[0], "mean", metric) for metric in METRICS]
    return _groups(figures, metrics, columns)


def gallery_groups(figures: Figures, metrics: Metrics) -> list[Group]:
    """mAP on every gallery in every direction, by shot count and method."""
    columns = [(gallery, direction, "mAP") for gallery in galleries(figures) for direction in DIRECTIONS]
    return _groups(figures, metrics, columns)


def _groups(figures: Figures, metrics: Metrics, columns: Sequence[tuple[str, str, str]]) -> list[Group]:
    rivals = [e["label"] for e in metrics["means"] if _comparable(e)]
    groups = []
    for shots in shot_counts(metrics):
        best = {c: _best(figures.get((label, shots, *c)) for label in rivals) for c in columns}
        rows = [
            Row(label, [_cell(figures.get((label, shots, *c)), best[c], label) for c in columns])
            for label in (CHANCE, *labels(metrics))
        ]
        groups.append(Group(shots, rows))
    return groups


def _best(values: Iterable[float | None]) -> float | None:
    found = {value for value in values if value is not None}
    return max(found) if len(found) > 1 else None


def _cell(value: float | None, best: float | None, label: str) -> Cell:
    return Cell(words.NONE) if value is None else Cell(words.percent(value), value == best and label != CHANCE)


def gap_table(metrics: Metrics) -> list[Row]:
    """The modality gap by method and shot count, two decimals."""
    counts = [str(shots) for shots in shot_counts(metrics)]
    table = metrics["modality_gap"]
    texts = {label: [f"{table[label][c]:.2f}" if c in table[label] else words.NONE for c in counts] for label in table}
    return [Row(label, [Cell(text) for text in row]) for label, row in texts.items()]


def mixture_table(diagnostics: Mapping[str, Any]) -> list[Row]:
    """Items, live components, collapsed and short items, and the cosine of two views, a row a modality."""
    rows = []
    for modality, found in diagnostics.items():
        cosine = words.NONE if found["cosine"] is None else f"{found['cosine']:.2f}"
        share = f"{found['collapsed']:,} ({words.percent(found['collapsed'] / max(1, found['items']))} %)"
        texts = [f"{found['items']:,}", f"{found['live']:.2f}", share, f"{found['short']:,}", cosine]
        rows.append(Row(modality, [Cell(text) for text in texts]))
    return rows


def chosen_groups(choices: Sequence[Choice], metrics: Metrics) -> dict[str, list[Row]]:
    """For each method that lists values, by its label: a row a key, a cell a shot count with what was chosen there."""
    names = {(entry["method"], entry["variant"]): entry["label"] for entry in metrics["means"]}
    own: dict[tuple[str, str], list[Choice]] = {}
    for choice in choices:
        own.setdefault((choice.method, choice.variant), []).append(choice)
    counts = shot_counts(metrics)
    return {names.get(row) or row_label(*row, "inductive", False): _chosen(found, counts) for row, found in own.items()}


def _chosen(choices: Sequence[Choice], counts: Sequence[int]) -> list[Row]:
    at = {shots: choice.values for choice in choices for shots in choice.shots}
    return [Row(key, [Cell(at.get(shots, {}).get(key, words.NONE)) for shots in counts]) for key in choices[0].values]


def asked(metrics: Metrics) -> str:
    """One sentence: who was asked what, how often."""
    counts, drawn = metrics["counts"], shot_counts(metrics)
    classes = counted(counts["target_classes"], "target class", "target classes")
    draws = counted(counts["seeds"], "draw") + " of the support"
    halves = f", {counts['halves']} class splits" if counts["halves"] > 1 else ""
    queries = counted(counts["queries"], "query pair")
    return f"{queries} from {classes}, asked in both directions; {words.shots(drawn)}, {draws}{halves}."


def best_method(metrics: Metrics) -> dict[str, Any]:
    """The main figure of the best method at the largest shot count."""
    shots = shot_counts(metrics)[-1]
    last = [entry for entry in metrics["means"] if entry["shots"] == shots]
    return max([e for e in last if _comparable(e)] or last, key=lambda entry: float(entry["mAP"]))


def findings(metrics: Metrics) -> list[str]:
    """What the figures say, in a few sentences: the best method, then every pair that differs."""
    shots = shot_counts(metrics)[-1]
    best = best_method(metrics)
    chance = words.percent(metrics["mAP"][CHANCE])
    first = f"At {words.shots([shots])}, {best['label']} has the highest mAP, {words.percent(best['mAP'])}"
    return [f"{first}; a random order of the gallery would have {chance}.", *_contests(metrics, best["label"])]


def _contests(metrics: Metrics, best: str) -> list[str]:
    every = [(pair.a, pair.b) for pair in pairs(metrics)]
    told = every if len(every) <= _MOST_PAIRS else [pair for pair in every if best in pair]
    return [_contest(metrics["differences"], a, b) for a, b in told]


def _contest(differences: Sequence[dict[str, Any]], a: str, b: str) -> str:
    """One sentence on two methods: who wins at which shot counts, then where nobody does."""
    own = sorted((e for e in differences if (e["a"], e["b"]) == (a, b)), key=lambda e: e["shots"])
    won = {side: [e for e in own if words.winner(e) == side] for side in (a, b, None)}
    text = "; ".join(_clause(side, entries, a, b) for side, entries in won.items() if entries)
    return f"{'N' if text.startswith('no ') else text[0]}{text[1:]}."


def _clause(winner: str | None, entries: Sequence[dict[str, Any]], a: str, b: str) -> str:
    when = f"at {words.shots([entry['shots'] for entry in entries])}"
    if winner is None:
        return f"no difference between {a} and {b} is shown {when}"
    margins = [abs(entry["difference"]) for entry in entries]
    low, high = (words.percent(margin) for margin in (min(margins), max(margins)))
    return f"{winner} beats {b if winner == a else a} {when}, by {low if low == high else f'{low} to {high}'} points"


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested parameters as dotted names and their values in words."""
    out: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            out += flat(value, f"{prefix}{name}.")
        else:
            out.append((prefix + name, _shown(value)))
    return out


def _shown(value: Any) -> str:
    if value is None:
        return words.NONE
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
