"""A tenth of what `make proof` kills under DVC, and its verdict on made-up trials."""

from __future__ import annotations

import pytest

from proof import dvc_kills
from proof.dvc_kills import Trial, told


def test_the_run_after_a_kill_under_dvc_waits_for_the_child_and_goes_on_to_the_very_same_bytes() -> None:
    for proof in dvc_kills.prove(0.1):
        print(f"{proof.what}: {proof.held} of {proof.tried} ({proof.note})")
        assert proof.held == proof.tried > 0, proof


@pytest.mark.parametrize(
    ("trials", "ended", "waited"),
    [
        ([Trial(3, True, True, True, []), Trial(3, False, False, False, [])], (2, 2), (1, 1)),
        ([Trial(3, True, True, False, [])], (1, 1), (1, 0)),  # met, and said nothing
        ([Trial(3, True, False, False, [])], (1, 1), (0, 0)),  # met nobody: not tried, which `make proof` refuses
        ([Trial(3, True, True, True, ["x differs"])], (1, 0), (1, 1)),
    ],
)
def test_whoever_met_a_living_child_must_have_said_so(
    trials: list[Trial], ended: tuple[int, int], waited: tuple[int, int]
) -> None:
    assert [(proof.tried, proof.held) for proof in told(trials)] == [ended, waited]
