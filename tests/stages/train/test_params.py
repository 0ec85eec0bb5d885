"""What the sections of `train` refuse, and in which words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stages.train.params import CcaSection
from tests.stages.train import build


def told(error: ValidationError) -> str:
    (fault,) = error.errors()
    return str(fault["msg"])


@pytest.mark.parametrize("theta", [1.5, -0.1])
def test_a_quantile_lies_between_0_and_1(theta: float) -> None:
    with pytest.raises(ValidationError) as caught:
        build.gcrdp_section(theta=theta, theta_kind="quantile")
    words = f"theta {theta:g} is no quantile; pass 0 to 1, or theta_kind absolute"
    assert told(caught.value) == f"Value error, {words}"


@pytest.mark.parametrize(("theta", "kind"), [(0, "quantile"), (1, "quantile"), (1.5, "absolute"), (-1.5, "absolute")])
def test_what_theta_may_be(theta: float, kind: str) -> None:
    assert build.gcrdp_section(theta=theta, theta_kind=kind).theta == theta


def test_a_method_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        build.section(["gap", "cca", "gap"])
    assert told(caught.value) == "Value error, 'gap' stands twice, name each method once"


def test_a_power_below_0_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        CcaSection(dims=1, ridge=1.0, power=-1.0)
    assert told(caught.value) == "Input should be greater than or equal to 0"


def test_values_of_a_list_are_checked_one_by_one_and_written_back_as_they_are() -> None:
    section = build.scm_section(tau=["0.1", 1], covariance=["total"])
    assert section.tau == [0.1, 1.0]
    assert all(isinstance(value, float) for value in section.tau)
    assert (section.model_dump()["tau"], section.model_dump(mode="json")["covariance"]) == ([0.1, 1.0], ["total"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tau": []}, "Value error, an empty list has no value to choose; list some, or write one value"),
        ({"tau": [0.1, 0.0]}, "Input should be greater than 0"),
        ({"tau": [[0.1]]}, "Input should be a valid number"),
        ({"vote_text": 1.5}, "Input should be less than or equal to 1"),
        ({"covariance": ["within", "full"]}, "Input should be 'within' or 'total'"),
        ({"names": [True, False]}, "Input should be a valid boolean"),
    ],
)
def test_wrong_values_are_refused_in_a_list_as_alone(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        build.scm_section(**changes)
    assert told(caught.value) == words
