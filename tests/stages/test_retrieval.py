"""Ranking and its metrics against plain loops and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages import retrieval

SCORES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([-1.0, -0.5, -0.0, 0.0, 1e-30, 0.5, 1.0]) | st.floats(-2, 2, width=32),
)
HITS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=15))


def vectors(seed: int, items: int, views: int, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((items, views, width)).astype(np.float32)


def loop_ap(hits: np.ndarray, cut: int | None = None) -> float:
    """Average precision of one query from its definition."""
    places = [j for j, hit in enumerate(hits, 1) if hit and (cut is None or j <= cut)]
    total = int(hits.sum()) if cut is None else min(cut, int(hits.sum()))
    return sum(n / j for n, j in enumerate(places, 1)) / total if total else 0.0


def loop_score(query: np.ndarray, gallery: np.ndarray, match: str) -> float:
    def best(first: np.ndarray, second: np.ndarray) -> float:
        return max(float(a @ b) for a in first.astype(float) for b in second.astype(float))

    if match == "max":
        return best(query, gallery)
    whole = float(query[0].astype(float) @ gallery[0].astype(float))
    return whole if match == "dot" else whole / 2 + best(query[1:], gallery[1:]) / 2


@pytest.mark.parametrize("match", ["dot", "max", "mix"])
def test_scores_equal_the_loop_over_pairs_of_vectors(match):
    query, gallery = vectors(0, 5, 3), vectors(1, 7, 4)
    expected = [[loop_score(q, g, match) for g in gallery] for q in query]
    found = retrieval.score(query, gallery, match)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_mix_leaves_the_pooled_vector_out_of_its_best_pair():
    query = np.array([[[1, 0], [0, 0.5]]], np.float32)
    gallery = np.array([[[1, 0], [0, 0.5]]], np.float32)
    assert retrieval.score(query, gallery, "mix")[0, 0] == pytest.approx(0.5 + 0.125)


@given(SCORES)
def test_ranks_are_those_of_a_stable_sort(scores):
    expected = [sorted(range(len(row)), key=lambda j, row=row: (-row[j], j)) for row in scores.tolist()]
    assert retrieval.rank(scores).tolist() == expected


def test_ranks_of_many_blocks_equal_numpys_stable_sort(monkeypatch):
    monkeypatch.setattr(retrieval, "_KEYS", 64 * 300)
    scores = np.random.default_rng(0).standard_normal((150, 300)).astype(np.float32).round(2)
    assert np.array_equal(retrieval.rank(scores), np.argsort(-scores, axis=1, kind="stable"))


@given(st.floats(-2, 2, width=32))
def test_neighbouring_floats_are_told_apart(score):
    above = np.nextafter(np.float32(score), np.float32(3))
    assert retrieval.rank(np.array([[score, above]], np.float32)).tolist() == [[1, 0]]


def test_equal_scores_keep_the_order_of_the_gallery():
    assert retrieval.rank(np.array([[0.0, 2.0, -0.0, 2.0, 0.0]], np.float32)).tolist() == [[1, 3, 0, 2, 4]]


def test_relevant_means_a_label_in_common():
    queries, gallery = [("a", "b"), ("c",)], [("b",), ("a", "b"), ("d",), ("c", "a")]
    assert retrieval.share_label(queries, gallery).tolist() == [
        [True, True, False, True],
        [False, False, False, True],
    ]


@pytest.mark.parametrize(("queries", "gallery", "cells"), [(7, 5, 10), (7, 5, 1), (3, 4, 100), (0, 4, 8), (3, 0, 8)])
def test_blocks_cover_every_query_once_and_hold_no_more_cells_than_allowed(queries, gallery, cells):
    found = list(retrieval.blocks(queries, gallery, cells))
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(queries))
    assert all((rows.stop - rows.start) * gallery <= max(cells, gallery) for rows in found)


def test_hits_follow_the_order(monkeypatch):
    monkeypatch.setattr(retrieval, "_KEYS", 64 * 9)
    relevant = np.random.default_rng(0).random((150, 9)) < 0.5
    order = np.random.default_rng(1).permuted(np.tile(np.arange(9, dtype=np.int32), (150, 1)), axis=1)
    assert np.array_equal(retrieval.in_rank_order(relevant, order), np.take_along_axis(relevant, order, 1))


def test_average_precision_of_hits_at_ranks_1_3_5_is_0_7556():
    hits = np.array([[True, False, True, False, True, False]])
    assert retrieval.average_precision(hits)[0] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3, abs=1e-15)


@given(HITS, st.sampled_from([None, 1, 3, 50]))
def test_average_precision_equals_the_loop(hits, cut):
    expected = [loop_ap(row, cut) for row in hits]
    np.testing.assert_allclose(retrieval.average_precision(hits, cut), expected, rtol=0, atol=1e-12)


@given(HITS, st.sampled_from([None, 1, 3, 50]))
def test_average_precision_lies_between_0_and_1(hits, cut):
    found = retrieval.average_precision(hits, cut)
    assert ((found >= 0) & (found <= 1 + 1e-15)).all()


@given(HITS)
def test_average_precision_is_1_exactly_when_all_relevant_items_come_first(hits):
    ideal = np.sort(hits, axis=1)[:, ::-1]
    np.testing.assert_allclose(retrieval.average_precision(ideal), ideal.any(axis=1), atol=1e-12)


def test_map_at_50_divides_by_no_more_than_50():
    hits = np.ones((1, 200), bool)
    assert retrieval.average_precision(hits, 50)[0] == pytest.approx(1)


def test_a_query_without_a_relevant_item_scores_0():
    hits = np.zeros((2, 4), bool)
    order = np.tile(np.arange(4), (2, 1))
    found = retrieval.figures(hits, order, np.array([0, 3]))
    assert all(found[name].tolist() == [0, 0] for name in retrieval.PER_QUERY)


@given(HITS)
def test_precisions_equal_the_loop(hits):
    for k in (1, 5, 10):
        expected = [sum(row[:k]) / k for row in hits.tolist()]
        np.testing.assert_allclose(retrieval.precision_at(hits, k), expected)
    expected = [sum(row[: sum(row)]) / max(1, sum(row)) for row in hits.tolist()]
    np.testing.assert_allclose(retrieval.r_precision(hits), expected)


def test_recall_is_of_the_paired_item_and_not_of_its_class():
    order = np.array([[2, 0, 1], [2, 0, 1]])
    pair = np.array([2, 1])
    assert retrieval.recall_of_pair(order, pair, 1).tolist() == [1, 0]
    assert retrieval.recall_of_pair(order, pair, 5).tolist() == [1, 1]


def test_recall_is_left_out_where_the_gallery_holds_no_pairs():
    hits, order = np.ones((1, 3), bool), np.arange(3)[None]
    assert not set(retrieval.figures(hits, order, None)) & set(retrieval.PAIRED)
    assert not set(retrieval.chance_figures(np.array([2]), 3, False)) & set(retrieval.PAIRED)


@pytest.mark.parametrize(("relevant", "size"), [(1, 1), (1, 7), (3, 7), (7, 7), (20, 130), (70, 130)])
def test_chance_equals_simulation(relevant, size):
    rng = np.random.default_rng(relevant + size)
    draws = 20_000 if size < 100 else 4_000
    order = rng.permuted(np.tile(np.arange(size), (draws, 1)), axis=1)
    simulated = retrieval.figures(order < relevant, order, np.zeros(draws, int))
    closed = retrieval.chance_figures(np.array([relevant]), size, True)
    for name, values in simulated.items():
        margin = 5 * values.std() / math.sqrt(draws) + 1e-12
        assert closed[name][0] == pytest.approx(values.mean(), abs=margin), name


def test_chance_of_average_precision_is_the_published_formula():
    n, r = 40, 6
    harmonic = sum(1 / j for j in range(1, n + 1))
    expected = (harmonic + (r - 1) / (n - 1) * (n - harmonic)) / n
    assert retrieval.chance_figures(np.array([r]), n, True)["mAP"][0] == pytest.approx(expected, abs=1e-14)


def test_chance_without_a_relevant_item_is_0():
    found = retrieval.chance_figures(np.array([0]), 9, False)
    assert all(values[0] == 0 for values in found.values())


def test_the_macro_mean_gives_a_small_class_the_weight_of_a_large_one():
    values = np.array([1.0, 1.0, 1.0, 0.0])
    labels = [("big",), ("big",), ("big", "small"), ("small",)]
    assert retrieval.macro_mean(values, labels, ["big", "empty", "small"]) == pytest.approx((1 + 0.5) / 2)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_permuting_the_queries_permutes_their_figures(seed):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((6, 9)).astype(np.float32)
    relevant, turn = rng.random((6, 9)) < 0.4, rng.permutation(6)

    def of(rows: np.ndarray) -> np.ndarray:
        return retrieval.average_precision(retrieval.in_rank_order(relevant[rows], retrieval.rank(scores[rows])))

    assert np.array_equal(of(np.arange(6))[turn], of(turn))


def test_means_hold_every_metric_in_the_order_of_the_tables():
    hits, order = np.ones((2, 3), bool), np.tile(np.arange(3), (2, 1))
    found = retrieval.means(retrieval.figures(hits, order, np.array([0, 1])), [("a",), ("b",)], ["a", "b"])
    assert tuple(found) == retrieval.METRICS
    assert found["macro-mAP"] == 1
    assert found["P@5"] == pytest.approx(3 / 5)
