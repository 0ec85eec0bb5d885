"""Random numbers: those of one purpose are no others' over again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from stages.train.loop import by_seed, stream
from stages.train.methods import find
from tests.stages.train import build

SECTIONS = {
    "flexclip": build.flexclip_section(),
    "gap": build.gap_section(hidden=4),
    "gcrdp": build.gcrdp_section(hidden=4),
    "cmm": build.cmm_section(),
    "scm": build.scm_section(generated=3),
}
DRAWS = ("randn", "rand", "randint", "randperm")


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[torch.Generator]:
    """Every generator that something was drawn from, as it goes on."""
    found: list[torch.Generator] = []

    def watched(draw: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def drawn(*given: Any, generator: torch.Generator, **more: Any) -> torch.Tensor:
            if not any(generator is known for known in found):
                found.append(generator)
            return draw(*given, generator=generator, **more)

        return drawn

    for name in DRAWS:
        monkeypatch.setattr(torch, name, watched(getattr(torch, name)))
    return found


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_no_two_generators_of_a_fit_start_from_one_state(name: str, used: list[torch.Generator]) -> None:
    find(name).fit()(build.fit_on(), SECTIONS[name], 7)
    starts = Counter(own.initial_seed() for own in used)
    assert len(used) == {"flexclip": 11, "gap": 2, "gcrdp": 2, "cmm": 1, "scm": 8}[name]
    assert set(starts.values()) == {1}


def test_a_stream_is_the_seed_s_and_the_purpose_s() -> None:
    def numbers(own: torch.Generator) -> list[float]:
        found: list[float] = torch.rand(4, generator=own).tolist()
        return found

    drawn = [stream(3, "weights"), stream(4, "weights"), stream(3, "batches"), stream(3, "made", "noise"), by_seed(3)]
    values = [numbers(own) for own in drawn]
    assert numbers(stream(3, "weights")) == values[0]
    assert len({tuple(own) for own in values}) == len(values)


def test_batches_without_a_hidden_layer_are_those_of_the_seed_itself(used: list[torch.Generator]) -> None:
    for name in ("gap", "gcrdp", "cmm"):
        find(name).fit()(build.fit_on(), getattr(build.section([name]), name), 7)
    assert [own.initial_seed() for own in used] == [7, 7, 7]
