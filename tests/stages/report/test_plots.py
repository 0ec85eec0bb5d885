"""The numbers beneath the plots, and what is said of them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cache.scores import HISTORY
from stages.report import plots
from tests.stages.report import build


@pytest.fixture(scope="module")
def history():
    return pa.Table.from_pylist(build.history_rows(), HISTORY)


@pytest.fixture(scope="module")
def every(history):
    return {plot.name: plot for plot in plots.all_plots(build.metrics(), history, build.DIAGNOSTICS)}


def test_the_plots_have_the_names_that_their_files_take(every):
    assert tuple(every) == plots.NAMES


def test_shots_has_a_row_a_method_and_shot_count(every):
    plot = every["shots"]
    assert plot.header == ("method", "shots", "mAP", "low", "high")
    assert len(plot.rows) == 4 * len(build.SHOTS)
    assert all(low <= middle <= high for _, _, middle, low, high in plot.rows)


def test_a_figure_without_a_support_interval_has_no_width(every):
    row = next(row for row in every["shots"].rows if row[:2] == ("cca", 0))
    assert row[2] == row[3] == row[4]


def test_curves_are_the_mean_over_seeds(every):
    rows = [r for r in build.history_rows() if (r["method"], r["shots"], r["step"], r["name"]) == ("gap", 3, 7, "loss")]
    found = next(row for row in every["loss"].rows if row[:3] == ("gap", 3, 7))
    assert found[4] == pytest.approx(sum(row["value"] for row in rows) / len(rows))


def test_the_loss_stands_apart_from_what_else_was_recorded(every):
    assert {row[3] for row in every["loss"].rows} == {"loss"}
    assert {row[3] for row in every["terms"].rows} >= {"distance", "mask_density", "drift"}
    assert "loss" not in {row[3] for row in every["terms"].rows}


def test_every_plot_says_in_words_what_it_shows(every):
    assert "gcrdp minus gap" in every["differences"].alt
    assert "chance 9.8" in every["shots"].alt
    assert all(len(plot.alt) > 40 and len(plot.caption) > 40 for plot in every.values())


def test_without_training_the_curves_are_empty():
    found = {p.name: p for p in plots.all_plots(build.metrics(), HISTORY.empty_table(), build.DIAGNOSTICS)}
    assert found["loss"].rows == []
    assert found["terms"].rows == []


def test_with_many_pairs_only_those_of_the_best_are_drawn():
    metrics = build.metrics()
    others = [{**e, "a": f"x{i}", "b": "y"} for e in metrics["differences"] for i in range(8)]
    metrics["differences"] += others
    drawn = plots._drawn_pairs(metrics)
    assert {"gcrdp" in (e["a"], e["b"]) for e in drawn} == {True}
