"""What stands beside published figures."""

from __future__ import annotations

import pytest

from ablations.published import DIRECTIONS, PUBLISHED, RUN, TOLERANCE, measured, section
from ablations.tables import RESULTS, render
from cache.scores import read_scores

SCORES = read_scores(RESULTS / f"{RUN}.parquet")


def test_cca_on_the_features_of_2010_is_where_it_was_published() -> None:
    own = measured(SCORES)["cca"]
    assert {d: own[d] for d in DIRECTIONS} == pytest.approx(PUBLISHED, abs=TOLERANCE)


def test_the_figures_are_of_the_official_split_and_nothing_else() -> None:
    draws = {(row["protocol"], row["half"], row["shots"], row["seed"]) for row in SCORES.to_pylist()}
    assert draws == {("classic", 0, 0, 0)}
    assert {row["gallery"] for row in SCORES.to_pylist()} == {"target"}


def test_the_page_has_measured_beside_published() -> None:
    page = render()[RESULTS.parent / "results.md"]
    assert page.count(section(SCORES)) == 1
    cca = " | ".join(f"{100 * measured(SCORES)['cca'][d]:.1f}" for d in ("i2t", "t2i"))
    assert f"| published: CCA | 24.9 | 20.2 |\n| cca | {cca} |\n" in page
