"""The numbers beneath the plots, and what is said of them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cache.scores import HISTORY
from stages.report import draw, plots
from stages.report.asked import ClassFigure
from tests.stages.report import build


@pytest.fixture(scope="module")
def history():
    return pa.Table.from_pylist(build.history_rows(), HISTORY)


@pytest.fixture(scope="module")
def every(history):
    return drawn(history)


def drawn(history):
    found = [*plots.score_plots(build.metrics(), history, FIGURES), plots.mixtures_plot(build.DIAGNOSTICS)]
    return {plot.name: plot for plot in found}


FIGURES = [
    ClassFigure(method, f"class {nth}", 0.9 - nth / 50 - 0.01 * rank, 4)
    for nth in range(30)
    for rank, method in enumerate(("gcrdp", "gap", "cca"))
]


def test_the_plots_have_the_names_that_their_files_take(every):
    assert set(every) <= set(plots.NAMES)


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
    found = drawn(HISTORY.empty_table())
    assert found["loss"].rows == []
    assert found["terms"].rows == []


def test_with_many_pairs_only_those_of_the_best_are_drawn():
    metrics = build.metrics()
    others = [{**e, "a": f"x{i}", "b": "y"} for e in metrics["differences"] for i in range(8)]
    metrics["differences"] += others
    drawn = plots._drawn_pairs(metrics)
    assert {"gcrdp" in (e["a"], e["b"]) for e in drawn} == {True}


def test_of_many_classes_the_outermost_are_drawn_and_every_one_is_written(every):
    plot = every["classes"]
    assert len(plot.rows) == len(FIGURES)
    assert "Of 30 classes the best and the worst 12 are drawn." in plot.caption
    with draw.style():
        axes = plot.draw().axes[0]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == [f"class {nth}" for nth in (*range(12), *range(18, 30))]
    assert "class 12" not in plot.alt
    assert "class 0 90.0" in plot.alt


def test_methods_that_can_not_be_told_apart_are_left_out_of_the_classes():
    metrics = build.metrics()
    metrics["means"] += [{**entry, "label": f"m{i}", "mAP": 0.1} for entry in metrics["means"] for i in range(9)]
    assert plots._drawn_methods(metrics) == ["gcrdp", "cca", "gap", "m0", "m1", "m2"]
