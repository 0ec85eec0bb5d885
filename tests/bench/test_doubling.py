"""What the table of doublings says, at small sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import bench.__main__ as command
from bench import doubling, training
from bench.machine import machine

SMALL = {"items": 24, "tokens": 4, "components": 2, "classes": 4}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps of gcrdp, and everything once."""
    section = training.section_of
    few = {"steps": 3, "batch": 8}
    monkeypatch.setattr(training, "section_of", lambda name: section(name).model_copy(update=few))
    monkeypatch.setattr(doubling, "median_seconds", lambda run, _: run() and 1.0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("work", doubling.WORKS, ids=lambda work: work.name)
def test_every_dimension_of_a_work_is_doubled_twice(work: doubling.Work) -> None:
    small = replace(work, grows={by: (SMALL[by], why) for by, (_, why) in work.grows.items()})
    told = doubling._doubled(small)
    assert [(each["by"], each["sizes"]) for each in told] == [
        (by, [size, 2 * size, 4 * size]) for by, (size, _) in small.grows.items()
    ]
    assert [each["why"] for each in told] == [why for _, why in work.grows.values()]
    assert all(each["seconds"] == [1.0, 1.0, 1.0] for each in told)


def test_only_one_dimension_grows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, int]] = []

    def prepare(**sizes: int) -> doubling.Run:
        seen.append(sizes)
        return lambda: None

    monkeypatch.setattr(doubling, "REPEATS", 1)
    doubling._doubled(doubling.Work("w", prepare, {"items": (3, ""), "classes": (5, "")}))
    assert [tuple(sizes.values()) for sizes in seen] == [(3, 5), (6, 5), (12, 5), (3, 10), (3, 20)]


def test_the_page_shows_what_each_doubling_multiplied_and_why() -> None:
    told: dict[str, Any] = {"what": "w", "by": "items", "sizes": [1000, 2000, 4000], "seconds": [1, 2, 8], "why": "N²"}
    page = command.page({"rows": [], "facts": {"doubling": {"machine": machine(), "told": [told]}}})
    assert page.endswith("| w | items | 1,000, 2,000, 4,000 | 1, 2, 8 | 2.0, 4.0 | N² |\n")
    assert "On the cpu of machine 1." in page
