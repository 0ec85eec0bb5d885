"""The rows of scores and queries."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cache.scores import read_queries, read_scores, write_queries, write_scores
from stages import retrieval
from stages.evaluate import tables
from stages.evaluate.plan import plan_tasks
from tests.stages.evaluate import build

ABOUT = {"dataset": "toy", "encoder": "toy", "features": "1" * 32}
KEY = ("method", "shots", "seed", "gallery", "direction", "metric")


@pytest.fixture(scope="module")
def results():
    drawn = build.episodes()
    tasks = plan_tasks(list(build.ledger_keys(["raw", "spoilt"], drawn)), drawn, ["target", "rest", "all"])
    return [build.result(t) for t in tasks]


@pytest.fixture(scope="module")
def rows(results):
    return tables.score_rows(results, ABOUT)


def value(rows, **wanted):
    found = [row["value"] for row in rows if all(row[name] == want for name, want in wanted.items())]
    assert len(found) == 1, wanted
    return found[0]


def test_no_figure_stands_twice(rows):
    assert max(Counter(tuple(row[name] for name in KEY) for row in rows).values()) == 1


def test_every_metric_stands_for_every_gallery_and_direction(rows):
    places = {(row["gallery"], row["direction"], row["metric"]) for row in rows}
    paired, rest = len(retrieval.METRICS), len(retrieval.METRICS) - len(retrieval.PAIRED)
    assert len(places) == 3 * (2 * paired + rest)


def test_mean_is_the_mean_of_both_directions(rows):
    where = {"method": "spoilt", "shots": 1, "seed": 2, "gallery": "all", "metric": "P@5"}
    both = [value(rows, **where, direction=direction) for direction in ("i2t", "t2i")]
    assert value(rows, **where, direction="mean") == pytest.approx(np.mean(both))


def test_chance_stands_once_per_shot_count_gallery_direction_and_metric(rows):
    chance = [row for row in rows if row["method"] == "chance"]
    assert {row["seed"] for row in chance} == {0}
    assert {row["shots"] for row in chance} == set(build.SHOTS)
    where = {"method": "chance", "shots": 0, "gallery": "target", "direction": "mean"}
    n, r = 12, 4
    harmonic = sum(1 / j for j in range(1, n + 1))
    assert value(rows, **where, metric="mAP") == pytest.approx((harmonic + (r - 1) / (n - 1) * (n - harmonic)) / n)
    assert value(rows, **where, metric="recall@5") == pytest.approx(5 / 12)


def test_scores_survive_the_file(rows, tmp_path: Path):
    write_scores(tmp_path / "scores.parquet", rows, "made")
    assert read_scores(tmp_path / "scores.parquet").to_pylist() == rows


def test_queries_hold_what_the_scores_are_the_mean_of(results, rows, tmp_path: Path):
    write_queries(tmp_path / "queries.parquet", tables.query_table(results, ABOUT), "made")
    asked = read_queries(tmp_path / "queries.parquet").to_pylist()
    where = {"method": "spoilt", "shots": 1, "seed": 1, "gallery": "target", "direction": "t2i"}
    own = [row for row in asked if all(row[name] == want for name, want in where.items())]
    assert np.mean([row["ap"] for row in own]) == pytest.approx(value(rows, **where, metric="mAP"))
    assert all(len(row["top10"]) == 10 for row in own)
    assert {row["query"] for row in own} == set(build.episode(1, 1).ids["test"])


def test_a_gallery_of_fewer_than_ten_gives_shorter_tops(results):
    small = [result for result in results if result.size < 10]
    top = tables.query_table(small, ABOUT)["top10"].to_pylist()
    assert {len(names) for names in top} == {result.size for result in small} == {6, 9}
