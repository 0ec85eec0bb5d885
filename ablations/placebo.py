"""The placebo of EM beside what it is the placebo of: the rows of a run on random groups of tokens, under names of
their own, among those of the run that it belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.naming import row_label
from stages.stats import holm, support_interval

METHOD, BASE, MARK = "gcrdp", "gap", "random groups"
Metrics = dict[str, Any]


def name_of(label: str) -> str:
    """What the placebo of a row is called: gcrdp -> gcrdp (random groups)."""
    return f"{label[:-1]}, {MARK})" if label.endswith(")") else f"{label} ({MARK})"


def placebo_scores(scores: pa.Table) -> pa.Table:
    """The rows of a placebo's scores that are its own, under the variant that names them; the base's are not."""
    own = scores.filter(pc.field("method") == METHOD)
    variants = [MARK if name == "default" else f"{name}, {MARK}" for name in own["variant"].to_pylist()]
    return own.set_column(own.schema.get_field_index("variant"), "variant", pa.array(variants))


def scores_beside(scores: pa.Table, placebo: pa.Table) -> pa.Table:
    """The scores of a run with those of its placebo behind its last row of that method."""
    rows = np.flatnonzero(pc.equal(scores["method"], METHOD).to_numpy(zero_copy_only=False))
    own = placebo_scores(placebo).cast(scores.schema)
    return pa.concat_tables([scores.slice(0, rows[-1] + 1), own, scores.slice(rows[-1] + 1)])


def metrics_beside(metrics: Metrics, placebo: Metrics, together: pa.Table) -> Metrics:
    """The metrics of a run with its placebo's: a mean behind each that it is the placebo of, and two differences more.

    Differences from the base are corrected as so many more of the run's pairs, which keep theirs. That of a row from
    its placebo is read from their scores (`together`, see scores_beside): without a class interval nobody is ahead."""
    own = {(row["label"], row["shots"]): row for row in placebo["means"] if row["method"] == METHOD}
    means = []
    for row in metrics["means"]:
        found = own.get((row["label"], row["shots"]))
        means += [row] if found is None else [row, {**found, "label": name_of(row["label"])}]
    from_base = [row for row in placebo["differences"] if BASE in (row["a"], row["b"])]
    more = [_from_base(row, [*metrics["differences"], *from_base]) for row in from_base]
    more += [_from_placebo(label, shots, together) for label, shots in own]
    differences = sorted([*metrics["differences"], *more], key=lambda row: int(row["shots"]))
    return {**metrics, "means": means, "differences": differences}


def _from_base(row: dict[str, Any], pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """A difference between placebo and base under its own name, its p corrected with those of `pairs`, itself among
    them."""
    family = [other for other in pairs if other["shots"] == row["shots"]]
    own = next(place for place, other in enumerate(family) if other is row)
    named = {side: row[side] if row[side] == BASE else name_of(row[side]) for side in ("a", "b")}
    return {**row, **named, "p_holm": holm([other["p"] for other in family])[own]}


def _from_placebo(label: str, shots: int, together: pa.Table) -> dict[str, Any]:
    """What a row has over its placebo, draw by draw, with the support interval alone."""
    first, second = (_by_seed(together, name, shots) for name in (label, name_of(label)))
    apart = np.array([first[seed] - second[seed] for seed in sorted(first)])
    interval = support_interval(apart)
    bounds = None if interval is None else list(interval)
    pair = {"a": label, "b": name_of(label), "shots": shots, "difference": float(apart.mean())}
    return {**pair, "support": bounds, "class": None, "p_holm": None}


def _by_seed(scores: pa.Table, label: str, shots: int) -> dict[int, float]:
    """mAP on the target classes, mean of both directions, of one row by seed."""
    place = {"gallery": "target", "direction": "mean", "metric": "mAP", "method": METHOD, "shots": shots}
    for name, value in place.items():
        scores = scores.filter(pc.field(name) == value)
    return {row["seed"]: row["value"] for row in scores.to_pylist() if _label(row) == label}


def _label(row: dict[str, Any]) -> str:
    return row_label(row["method"], row["variant"], row["access"], row["names"])
