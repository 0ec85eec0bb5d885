"""The rows of the placebo of EM under their own names, among those of the run that they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ablations.placebo import metrics_beside, name_of, scores_beside

SEEDS = (0, 1, 2)


def scores(values: dict[tuple[str, str], list[float]]) -> pa.Table:
    """One figure a row, at 1 shot, and the same doubled as that of another metric."""
    rows = []
    for (method, variant), own in values.items():
        about = {"method": method, "variant": variant, "access": "inductive", "names": False, "shots": 1}
        for seed, value in enumerate(own):
            place = {**about, "seed": seed, "gallery": "target", "direction": "mean"}
            rows += [{**place, "metric": "mAP", "value": value}, {**place, "metric": "P@1", "value": 2 * value}]
    return pa.Table.from_pylist(rows)


RUN = {("gap", "default"): [0.1, 0.2, 0.3], ("gcrdp", "default"): [0.2, 0.4, 0.3], ("scm", "default"): [0.5] * 3}
PLACEBO = {("gap", "default"): [0.1, 0.2, 0.3], ("gcrdp", "default"): [0.15, 0.2, 0.35]}


def metrics(found: dict[tuple[str, str], list[float]], **p: float) -> dict[str, Any]:
    """Means of the rows, and a difference from gap of each other one, with its p and nothing corrected."""
    means = [{"label": m, "method": m, "shots": 1, "mAP": float(np.mean(own))} for (m, _), own in found.items()]
    told = {"b": "gap", "shots": 1, "difference": 0.1, "support": None, "class": [0.0, 0.2], "p_holm": 1.0}
    return {"means": means, "differences": [{"a": name, "p": value, **told} for name, value in p.items()]}


def beside() -> dict[str, Any]:
    together = scores_beside(scores(RUN), scores(PLACEBO))
    return metrics_beside(metrics(RUN, gcrdp=0.01, scm=0.02), metrics(PLACEBO, gcrdp=0.03), together)


@pytest.mark.parametrize(
    ("label", "name"),
    [("gcrdp", "gcrdp (random groups)"), ("gcrdp (head per token)", "gcrdp (head per token, random groups)")],
)
def test_a_placebo_is_named_after_its_row(label: str, name: str) -> None:
    assert name_of(label) == name


def test_scores_of_the_placebo_follow_those_of_its_method_and_the_base_comes_once() -> None:
    together = scores_beside(scores(RUN), scores(PLACEBO))
    rows = list(dict.fromkeys((row["method"], row["variant"]) for row in together.to_pylist()))
    assert rows == [("gap", "default"), ("gcrdp", "default"), ("gcrdp", "random groups"), ("scm", "default")]
    assert len(together) == 2 * len(SEEDS) * 4


def test_means_of_the_placebo_stand_directly_below() -> None:
    rows = beside()["means"]
    assert [row["label"] for row in rows] == ["gap", "gcrdp", "gcrdp (random groups)", "scm"]
    assert rows[2]["mAP"] == pytest.approx(0.7 / 3)


def test_the_placebo_is_one_more_pair_to_correct_for_and_the_others_stay() -> None:
    found = {(row["a"], row["b"]): row for row in beside()["differences"]}
    assert found["gcrdp (random groups)", "gap"]["p_holm"] == pytest.approx(0.04)  # .01 x 3, .02 x 2, .03: the largest
    assert [found[name, "gap"]["p_holm"] for name in ("gcrdp", "scm")] == [1.0, 1.0]


def test_the_difference_from_the_placebo_is_paired_over_draws_and_judges_nobody() -> None:
    (row,) = (row for row in beside()["differences"] if row["b"] == "gcrdp (random groups)")
    apart = [0.05, 0.2, -0.05]
    half = 4.302652729911275 * np.std(apart, ddof=1) / np.sqrt(3)  # the t of two degrees of freedom
    assert row["difference"] == pytest.approx(np.mean(apart))
    assert row["support"] == pytest.approx([np.mean(apart) - half, np.mean(apart) + half])
    assert (row["class"], row["p_holm"]) == (None, None)


def test_two_rows_of_a_placebo_are_two_more_pairs() -> None:
    run, placebo = metrics(RUN, gcrdp=0.01, scm=0.02), metrics(PLACEBO, gcrdp=0.03)
    other = {**placebo["differences"][0], "a": "gcrdp (one)", "p": 0.04}
    placebo["differences"].append(other)
    found = metrics_beside(run, placebo, scores_beside(scores(RUN), scores(PLACEBO)))["differences"]
    told = {row["a"]: row["p_holm"] for row in found if row["b"] == "gap"}
    assert told["gcrdp (random groups)"] == pytest.approx(0.06)  # .01 x 4, .02 x 3, .03 x 2, .04
    assert told["gcrdp (one, random groups)"] == pytest.approx(0.06)
