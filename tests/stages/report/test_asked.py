"""Single queries: what classes have, and which queries are shown, against loops over the rows."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from cache.scores import QUERIES
from stages.report import asked
from tests.stages.report import build
from tests.stages.train import build as world

LABELS = dict(zip(world.IDS, world.LABELS, strict=True))
TARGETS = {0: world.TARGET}


@pytest.fixture(scope="module")
def table():
    return pa.Table.from_pylist(build.query_rows(), QUERIES)


@pytest.fixture(scope="module")
def queries(table):
    return asked.last_shots(table, build.metrics())


@pytest.fixture(scope="module")
def figures(queries):
    return asked.class_figures(queries, build.metrics(), TARGETS, LABELS)


def test_only_the_largest_shot_count_on_the_main_gallery_counts(table):
    other = pa.Table.from_pylist([{**row, "shots": 3} for row in table.to_pylist()], QUERIES)
    found = asked.last_shots(pa.concat_tables([table, other]), build.metrics())
    assert set(found["shots"].to_pylist()) == {5}
    assert set(found["gallery"].to_pylist()) == {"target"}


def test_a_class_has_the_mean_over_its_queries_both_directions_and_draws(figures):
    sums = defaultdict(list)
    for row in build.query_rows():
        if row["gallery"] == "target":
            sums[row["method"], row["query"][:3]].append(row["ap"])
    assert {(f.method, f.name): f.ap for f in figures} == pytest.approx({k: np.mean(v) for k, v in sums.items()})
    assert {f.queries for f in figures} == {4}


def test_the_best_class_of_the_best_method_stands_first(figures):
    assert asked.class_names(figures) == ["ant", "cat", "eel"]
    assert [f.method for f in figures[:3]] == ["cca", "gap", "gcrdp"]


def test_an_item_of_two_target_classes_counts_in_both_and_a_source_class_in_none(queries):
    two = {**LABELS, "ant-4": ("ant", "cat", "bee")}
    found = {(f.method, f.name): f.queries for f in asked.class_figures(queries, build.metrics(), TARGETS, two)}
    assert (found["gap", "ant"], found["gap", "cat"]) == (4, 5)
    assert not [name for _, name in found if name == "bee"]


def test_the_query_with_the_median_figure_stands_for_its_class(queries, figures):
    found = asked.examples(queries, build.metrics(), figures, LABELS)
    assert [(example.name, example.query) for example in found] == [
        ("ant", "ant-5"),
        ("cat", "cat-5"),
        ("eel", "eel-5"),
    ]


def test_every_method_answers_in_the_first_draw_from_text_to_pictures(queries, figures):
    first, *_ = asked.examples(queries, build.metrics(), figures, LABELS)
    assert [answer.method for answer in first.answers] == ["cca", "gap", "gcrdp"]
    for answer in first.answers:
        assert answer.ap == pytest.approx(build.average_precision(answer.method, "ant-5", 0, "t2i"))
        assert [hit.relevant for hit in answer.hits] == [hit.id.startswith("ant") for hit in answer.hits]
        assert [hit.id for hit in answer.hits if hit.own] in ([], ["ant-5"])


def test_classes_are_spread_from_the_first_to_the_last():
    names = [str(number) for number in range(11)]
    assert asked.evenly(names, 5) == ["0", "2", "5", "8", "10"]
    assert asked.evenly(names[:2], 5) == ["0", "1"]
    assert asked.evenly([], 5) == []


def test_a_query_of_two_classes_is_shown_once(queries, figures):
    both = {**LABELS, **{name: ("ant", "cat") for name in LABELS if name.startswith(("ant", "cat"))}}
    found = [example.query for example in asked.examples(queries, build.metrics(), figures, both)]
    assert len(found) == len(set(found)) == 2
