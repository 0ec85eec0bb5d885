"""One head on one gallery, against plain loops in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cache.errors import UserError
from stages.evaluate import ranking
from stages.evaluate.plan import Task
from stages.heads.head import Head, Vectors
from tests.stages.evaluate import build

CONTENDER = {"method": "spoilt", "variant": "default", "access": "inductive", "names": False}


def task(gallery="target", shots=1, seed=0):
    return Task("0" * 32, CONTENDER, build.episode(shots, seed), gallery, seed)


def loop_ap(one: Task, head: Head, query: str, asked: str, offered: str) -> float:
    """Average precision of one query from the definition, in float64."""
    items = build.items()

    def vector(name: str, modality: str) -> np.ndarray:
        row = items.take(items.rows_of([name]))
        return head.vectors(row, modality, one.gallery).values[0, 0].astype(float)  # type: ignore[arg-type]

    names = sorted(one.candidates, key=items.ids.index)
    scores = [float(vector(query, asked) @ vector(name, offered)) for name in names]
    order = sorted(range(len(names)), key=lambda j: (-scores[j], j))
    hits, total = 0, 0.0
    for place, j in enumerate(order, 1):
        if set(one.episode.labels[query]) & set(one.episode.labels[names[j]]):
            hits += 1
            total += hits / place
    return total / hits if hits else 0.0


@pytest.mark.parametrize("gallery", ["target", "rest", "all"])
def test_average_precision_equals_the_loop_over_vectors(gallery):
    one, head = task(gallery), build.head("spoilt", 1)
    result = build.ranked(one, head, build.items())
    for direction, (asked, offered) in ranking.DIRECTIONS.items():
        expected = [loop_ap(one, head, query, asked, offered) for query in result.queries]
        np.testing.assert_allclose(result.directions[direction].figures["mAP"], expected, atol=1e-12)


def test_blocks_of_queries_change_nothing(monkeypatch):
    whole = build.ranked(task(), build.head("spoilt", 1), build.items())
    monkeypatch.setattr(ranking, "_SCORES", 1)
    blocks = build.ranked(task(), build.head("spoilt", 1), build.items())
    for direction in ranking.DIRECTIONS:
        for name, values in whole.directions[direction].figures.items():
            assert np.array_equal(values, blocks.directions[direction].figures[name])
        assert np.array_equal(whole.directions[direction].top, blocks.directions[direction].top)
    assert np.array_equal(whole.relevant, blocks.relevant)


def test_the_paired_item_is_found_wherever_it_stands_in_the_gallery():
    items = build.items()
    same = replace(items, pooled={"image": items.pooled["text"], "text": items.pooled["text"]})
    for gallery in ("target", "all"):
        result = build.ranked(task(gallery), build.head("raw", 0), same)
        assert result.directions["i2t"].figures["recall@1"].tolist() == [1] * len(result.queries)
        assert result.directions["i2t"].top[:, 0].tolist() == result.queries


def test_recall_of_the_pair_is_not_written_for_rest():
    result = build.ranked(task("rest"), build.head("raw", 0), build.items())
    assert not [name for name in result.directions["i2t"].figures if name.startswith("recall")]


def test_relevance_comes_from_the_labels_of_the_episode():
    one = task()
    poisoned = replace(one.episode, labels=dict.fromkeys(one.episode.labels, ("same",)))
    changed = replace(one, episode=replace(poisoned, target_classes=["same"]))
    result = build.ranked(changed, build.head("raw", 0), build.items())
    assert result.ap == pytest.approx(1)


def test_relevant_items_are_counted_over_all_labels_of_the_gallery():
    one = task("all")
    several = {name: (*own, "cat") if name.endswith("-4") else own for name, own in one.episode.labels.items()}
    changed = replace(one, episode=replace(one.episode, labels=several))
    result = build.ranked(changed, build.head("raw", 0), build.items())
    expected = [sum(bool(set(several[q]) & set(several[g])) for g in one.candidates) for q in result.queries]
    assert result.relevant.tolist() == expected


def test_a_query_without_a_relevant_item_is_counted_and_scores_0():
    one = task("rest")
    lonely = one.episode.ids["test"][0]
    labels = {**one.episode.labels, lonely: ("nobody",)}
    result = build.ranked(
        replace(one, episode=replace(one.episode, labels=labels)), build.head("raw", 0), build.items()
    )
    row = result.queries.index(lonely)
    assert (result.relevant == 0).tolist() == [i == row for i in range(len(result.queries))]
    assert result.ap[row] == 0


def test_scores_that_are_not_finite_say_whose_they_are_and_name_no_key_that_may_be_absent():
    head = build.head("spoilt", 0)
    head.turn[0, 0] = np.nan
    with pytest.raises(UserError) as caught:
        build.ranked(task(), head, build.items())
    assert str(caught.value) == (
        f"heads/{'0' * 32}: the scores of 'spoilt' at 1 shot are not finite; look at the values of"
        " train.spoilt and at the features, then run 'train' again"
    )


def test_the_modality_gap_is_the_distance_of_the_mean_unit_vectors():
    image = np.array([[[3, 0]], [[1, 0]]], np.float32)
    text = np.array([[[0, 2]], [[0, 5]]], np.float32)
    both = np.arange(2)
    assert ranking.modality_gap(Vectors(image, "dot"), Vectors(text, "dot"), both) == pytest.approx(2**0.5)


def test_the_modality_gap_is_of_the_rows_that_ask_and_of_all_blocks_of_them(monkeypatch):
    image, text = (np.random.default_rng(seed).standard_normal((9, 3, 4)).astype(np.float32) for seed in (0, 1))
    rows = np.array([1, 2, 5, 7, 8])
    firsts = [values[rows, 0].astype(float) for values in (image, text)]
    means = [(x / np.linalg.norm(x, axis=1, keepdims=True)).mean(axis=0) for x in firsts]
    for cells in (1, 30, 1000):
        monkeypatch.setattr(ranking, "_SCORES", cells)
        found = ranking.modality_gap(Vectors(image, "mix"), Vectors(text, "mix"), rows)
        assert found == pytest.approx(float(np.linalg.norm(means[0] - means[1])), abs=1e-6)


def test_the_modality_gap_of_mix_is_that_of_its_pooled_vectors():
    image = np.array([[[1, 0], [0, 1]]], np.float32)
    text = np.array([[[1, 0], [0, -1]]], np.float32)
    one = np.arange(1)
    assert ranking.modality_gap(Vectors(image, "mix"), Vectors(text, "mix"), one) == 0
    assert ranking.modality_gap(Vectors(image, "max"), Vectors(text, "max"), one) == pytest.approx(2**0.5)
