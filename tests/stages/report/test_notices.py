"""Each warning where it applies, none where it does not."""

from __future__ import annotations

from copy import deepcopy

import pytest

from cache.store import Ledger, LedgerKey
from stages.report.notices import notices
from tests.stages.report import build


def ledger(aligned: bool = True, failed: int = 0) -> Ledger:
    keys = tuple(
        LedgerKey("features", "1" * 32, "2" * 32, {"rows": rows, "failed": failed}) for rows in ("image", "text")
    )
    return Ledger("features", "made", {"aligned": aligned}, keys)


def told(metrics=None, diagnostics=None, curves=(), features=None, truncated=0) -> list[str]:
    return notices(
        metrics or build.metrics(), diagnostics or build.DIAGNOSTICS, curves, features or ledger(), truncated
    )


def changed(**counts):
    metrics = build.metrics()
    return {**metrics, "counts": {**metrics["counts"], **counts}}


def test_a_plain_run_has_no_warnings():
    assert told() == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"features": ledger(failed=1)}, "1 picture could not be read"),
        ({"features": ledger(failed=3)}, "3 texts could not be read"),
        ({"features": ledger(aligned=False)}, "The two towers share no space"),
        ({"truncated": 312}, "312 texts longer than the encoder reads"),
        ({"metrics": changed(seeds=2)}, "Only 2 draws of the support"),
        ({"metrics": changed(seeds=1)}, "One draw of the support"),
        (
            {"metrics": changed(without_relevant={"target": 0, "rest": 1, "all": 7})},
            "up to 1 query in rest and 7 queries in all",
        ),
        (
            {"metrics": {**build.metrics(), "lacking": [{"label": "cmm", "shots": 3, "draws": 2, "of": 5}]}},
            "cmm has 2 of 5 draws at 3 shots: the others failed.",
        ),
        (
            {"curves": [("gcrdp", 5, 0, "mask_density", 0.97), ("gcrdp", 5, 1, "mask_density", 0.99)]},
            "98.0 per cent of the pairs",
        ),
        ({"curves": [("gcrdp", 5, 0, "mask_density", 0.001)]}, "L_RDP hardly acts"),
    ],
)
def test_what_a_reader_should_know_is_said(given, sentence):
    assert any(sentence in one for one in told(**given)), told(**given)


def test_rows_that_saw_more_are_said_to():
    metrics = deepcopy(build.metrics())
    for entry in metrics["means"]:
        if entry["label"] == "gap":
            entry["access"] = "transductive"
    assert told(metrics=metrics) == [
        "gap saw target items without their labels (transductive) and is never ranked with the others."
    ]


def test_collapsed_mixtures_are_told_of_above_a_twentieth():
    some = {"image": {**build.DIAGNOSTICS["image"], "items": 100, "collapsed": 5}}
    assert told(diagnostics=some) == []
    some["image"]["collapsed"] = 6
    assert "6 of 100 image mixtures have collapsed" in told(diagnostics=some)[0]


def test_a_mask_of_a_fair_share_is_no_warning():
    assert told(curves=[("gcrdp", 5, 0, "mask_density", 0.36), ("gcrdp", 5, 0, "loss", 40.0)]) == []
