from __future__ import annotations

import pyarrow as pa
import pytest

from stages.train.watch import by_name, drift, remarks
from tests.stages.train import build

CALM = {"mask_density": [0.2, 0.3, 0.2], "drift": [0.1, 0.1, 0.1]}


def said(curve: dict[str, list[float]], **changes) -> list[str]:
    return remarks([CALM, curve], build.gcrdp_section(**changes))


def test_a_calm_training_is_no_remark():
    assert said(CALM) == []


def test_an_empty_mask_is_said_with_what_to_change():
    found = said({**CALM, "mask_density": [0.0, 0.0, 0.1]}, theta=0.9, theta_kind="absolute")
    assert found == ["gcrdp: the RDP mask is empty in 2 of 6 steps; lower train.gcrdp.theta (now 0.9, absolute)"]


def test_a_full_mask_is_said_with_what_to_change():
    found = said({**CALM, "mask_density": [1.0, 0.995, 0.98]}, theta=0.1)
    assert found == ["gcrdp: the RDP mask is full in 2 of 6 steps; raise train.gcrdp.theta (now 0.1, quantile)"]


def test_a_mask_that_weighs_nothing_is_no_remark():
    assert said({**CALM, "mask_density": [0.0, 1.0, 0.0]}, **{"lambda": 0.0}) == []


def test_matrices_that_drift_apart_are_said():
    found = said({**CALM, "drift": [0.1, 0.2, 0.3]}, **{"lambda": 0.0})
    assert found == [
        "gcrdp: the similarities of the two modalities drift apart, mean |D_v - D_t| from 0.100 to 0.200;"
        " raise train.gcrdp.lambda (now 0)"
    ]


def test_nothing_trained_is_no_remark():
    assert remarks([], build.gcrdp_section()) == []


def test_drift_is_the_mean_of_the_first_and_the_last_tenth():
    assert drift([[0.1] * 2 + [9.0] * 16 + [0.3] * 2, [0.2] * 10 + [0.4] * 10]) == pytest.approx((0.15, 0.35))


def test_a_curve_is_taken_apart_by_figure():
    table = pa.table({"step": [0, 0, 1, 1], "name": ["loss", "drift"] * 2, "value": [4.0, 1.0, 3.0, 2.0]})
    assert by_name(table) == {"loss": [4.0, 3.0], "drift": [1.0, 2.0]}
