from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import MissingError, UserError
from stages.evaluate.plan import Task
from stages.evaluate.ranking import evaluate_task, look
from stages.heads.files import load_head, save_head
from stages.heads.head import Affine
from stages.heads.posterior import KIND, Neighbours, PosteriorHead, Vote, about_votes, raw_of
from stages.items import MODALITIES, Items, unit
from stages.retrieval import score
from tests.stages.train import build

WIDTH, RAW = 6, {"image": 9, "text": 7}
CLASSES = {"target": build.TARGET, "source": build.SOURCE}
COUNT = len(build.CLASSES)


def items(aligned: bool = True) -> Items:
    """The small world's pairs, with the towers' own vectors where the encoder is aligned."""
    rng = np.random.default_rng(4)
    raw = {m: rng.standard_normal((len(build.IDS), width)).astype(np.float32) for m, width in RAW.items()}
    return replace(build.items(aligned), pooled_raw=raw if aligned else None)


def head(cosine: float = 0.3, aligned: bool = True, votes: int = 2, **about: Any) -> PosteriorHead:
    """A head of one or two votes with everything drawn at random, its target classes first."""
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return (0.4 * rng.standard_normal(shape)).astype(np.float32)

    joint = dict.fromkeys(MODALITIES, build.WIDTH if aligned else WIDTH)
    raw = RAW if aligned else dict.fromkeys(MODALITIES, build.WIDTH)
    align = {} if aligned else {m: Affine(some(build.WIDTH), some(build.WIDTH, WIDTH)) for m in MODALITIES}
    prototypes = dict.fromkeys(MODALITIES, unit(some(COUNT, 5)))
    first = Vote("joint", {m: Affine(some(w), some(w, 5)) for m, w in joint.items()}, prototypes, SHARES[0])
    own = {m: unit(some(COUNT, 4)) for m in MODALITIES}
    second = Vote("raw", {m: Affine(some(w), some(w, 4)) for m, w in raw.items()}, own, SHARES[1])
    kept = (first, second)[:votes]
    told = {"kind": KIND, "method": "scm", "encoder": "tiny", "aligned": aligned, "tau": 0.2, "cosine": cosine}
    return PosteriorHead({**told, "classes": CLASSES, "votes": about_votes(kept), **about}, align, kept)


SHARES = ({"image": 0.8, "text": 0.4}, {"image": 0.2, "text": 0.6})


def by_loop(one: PosteriorHead, given: Items, m: str, row: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The posterior over `count` classes and the whitened place of one item, in float64."""
    joint = given.pooled[m][row].astype(np.float64)
    if given.aligned:
        joint /= np.linalg.norm(joint)
    else:
        joint = (joint - one.align[m].mean) @ one.align[m].map
        joint /= np.linalg.norm(joint)
    raw = (given.pooled_raw or given.pooled)[m][row].astype(np.float64)
    places = []
    for vote, x in zip(one.votes, (joint, raw / np.linalg.norm(raw)), strict=False):
        moved = (x - vote.whiten[m].mean) @ vote.whiten[m].map
        places.append(moved / np.linalg.norm(moved))
    logits = [
        sum(vote.weight[m] * float(u @ vote.prototypes[m][c]) for vote, u in zip(one.votes, places, strict=True))
        for c in range(count)
    ]
    likely = np.exp([value / one.about["tau"] for value in logits])
    return likely / likely.sum(), places[0]


@pytest.mark.parametrize("votes", [1, 2])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("gallery", "count"), [("target", 3), ("rest", 3), ("all", 6)])
def test_vectors_are_the_posterior_and_the_place_of_the_loop(gallery, count, aligned, votes):
    one, given = head(0.3, aligned, votes), items(aligned)
    for m in MODALITIES:
        found = one.vectors(given, m, gallery)
        assert found.match == "dot"
        assert found.values.dtype == np.float32
        assert found.values.shape == (len(given), 1, count + 5)
        for row in range(0, len(given), 7):
            posterior, place = by_loop(one, given, m, row, count)
            expected = np.concatenate([np.sqrt(0.7) * posterior, np.sqrt(0.3) * place])
            assert found.values[row, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("cosine", [0.0, 0.25, 1.0])
def test_a_dot_product_is_that_of_the_posteriors_and_the_cosine_in_their_shares(cosine):
    one, given = head(cosine), items()
    image, text = (one.vectors(given, m, "target").values for m in MODALITIES)
    found = score(image, text, "dot")
    for i, j in ((0, 0), (3, 40), (17, 5)):
        (p, z), (q, y) = by_loop(one, given, "image", i, 3), by_loop(one, given, "text", j, 3)
        assert found[i, j] == pytest.approx((1 - cosine) * (p @ q) + cosine * (z @ y), abs=1e-5)


def test_only_the_gallery_of_all_classes_asks_for_source_classes():
    one, given = head(0.0), items()
    found = {gallery: one.vectors(given, "image", gallery).values[:, 0] for gallery in ("target", "rest", "all")}
    assert np.array_equal(found["target"], found["rest"])
    assert found["target"][:, :3].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert found["all"][:, :3].sum(axis=1).max() < 1 - 1e-3
    assert found["all"][:, :COUNT].sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("gallery", ["target", "all"])
def test_with_no_class_to_judge_the_vector_is_the_place_alone(gallery):
    found = head(0.0, classes={"target": [], "source": []}).vectors(items(), "text", gallery).values
    assert found.shape == (len(build.IDS), 1, 5)
    assert np.linalg.norm(found, axis=2) == pytest.approx(1, abs=1e-5)
    assert found[0, 0] == pytest.approx(by_loop(head(), items(), "text", 0, 3)[1], abs=1e-5)


@pytest.mark.parametrize("votes", [1, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_a_head_read_back_says_the_same(aligned, votes, tmp_path):
    before = head(0.3, aligned, votes, episode="e", params={"tau": 0.2})
    save_head(tmp_path / "head", before)
    after = load_head(tmp_path / "head")
    assert isinstance(after, PosteriorHead)
    assert after.about == before.about
    for m in MODALITIES:
        for gallery in ("target", "all"):
            assert np.array_equal(*(one.vectors(items(aligned), m, gallery).values for one in (before, after)))
        assert np.array_equal(*(one.logits(items(aligned), m) for one in (before, after)))


def test_features_of_another_encoder_are_refused_whatever_is_asked():
    one = head(encoder="ViT-B-32/openai")
    told = r"^head expects ViT-B-32/openai, the cache holds tiny; pass --encoder ViT-B-32/openai$"
    for ask in (lambda: one.vectors(items(), "image", "target"), lambda: one.logits(items(), "image")):
        with pytest.raises(UserError, match=told):
            ask()


def test_features_without_the_towers_own_vectors_name_the_command():
    bare = build.items()
    assert len(head(votes=1).vectors(bare, "image", "target").values) == len(bare)
    with pytest.raises(MissingError, match=r"^this head judges in the towers' own spaces and .*; run 'extract' again$"):
        head().vectors(bare, "image", "target")


def test_a_vote_without_weight_is_not_asked():
    one = head()
    votes = (
        replace(one.votes[0], weight=dict.fromkeys(MODALITIES, 1.0)),
        replace(one.votes[1], weight={"image": 0.0, "text": 0.0}),
    )
    found = replace(one, votes=votes).logits(build.items(), "image")  # which have no vectors of the towers' own
    assert found.shape == (len(build.IDS), COUNT)


# neighbours


def neighbours(tau: float = 0.3, counts: Sequence[int] = (2, 0, 1, 3, 1, 2)) -> Neighbours:
    """Examples of six classes in four dimensions, none of the second class."""
    keys = np.random.default_rng(1).standard_normal((sum(counts), 4)).astype(np.float32)
    return Neighbours(unit(keys), np.array(counts, np.int64), 0.2, tau)


def with_neighbours() -> PosteriorHead:
    one = head()
    votes = (one.votes[0], replace(one.votes[1], neighbours={"image": neighbours(), "text": neighbours(0.1)}))
    return replace(one, votes=votes, about={**one.about, "votes": about_votes(votes)})


def near_by_loop(near: Neighbours, place: np.ndarray) -> list[float]:
    """weight tau log mean_s exp(u s / tau) of one place for every class, in float64."""
    ends, found = np.cumsum(near.counts), []
    for end, count in zip(ends, near.counts, strict=True):
        likely = [np.exp(float(place @ key.astype(float)) / near.tau) for key in near.keys[end - count : end]]
        found.append(near.weight * near.tau * np.log(np.mean(likely)) if likely else 0.0)
    return found


@pytest.mark.parametrize("tau", [0.02, 0.3, 5.0])
def test_neighbours_judge_as_the_loop_does(tau):
    near = neighbours(tau)
    places = unit(np.random.default_rng(2).standard_normal((9, 4)))
    found = near.logits(places)
    assert (found.dtype, found.shape) == (np.float32, (9, 6))
    for row, place in zip(found, places.astype(float), strict=True):
        assert row == pytest.approx(near_by_loop(near, place), abs=1e-6)


def test_neighbours_at_a_very_low_temperature_are_the_nearest_example_alone():
    near, places = neighbours(1e-4, (2, 4)), unit(np.random.default_rng(2).standard_normal((9, 4)))
    cosines = places @ near.keys.T
    best = np.stack([cosines[:, :2].max(axis=1), cosines[:, 2:].max(axis=1)], axis=1)
    assert near.logits(places) == pytest.approx(0.2 * best, abs=1e-4)


def test_neighbours_of_the_first_classes_say_the_same_of_them():
    places = unit(np.random.default_rng(2).standard_normal((9, 4)))
    few = neighbours().first(3)
    assert len(few.keys) == 3
    assert np.array_equal(few.logits(places), neighbours().logits(places)[:, :3])


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_neighbours_count_beside_the_votes_and_with_a_vote_of_no_weight(share):
    one, given = with_neighbours(), items()
    raw = replace(one.votes[1], weight={"image": share, "text": share})
    one, plain = (replace(one, votes=(one.votes[0], own)) for own in (raw, replace(raw, neighbours={})))
    added = one.logits(given, "text") - plain.logits(given, "text")
    place = one.votes[1].place(raw_of(given, "text"), "text")
    assert added == pytest.approx(one.votes[1].neighbours["text"].logits(place), abs=1e-6)


def test_a_head_with_neighbours_read_back_says_the_same(tmp_path):
    before = with_neighbours()
    save_head(tmp_path / "head", before)
    after = load_head(tmp_path / "head")
    assert after.about == before.about
    for m in MODALITIES:
        assert after.votes[1].neighbours[m].counts.dtype == np.int64
        assert np.array_equal(*(one.vectors(items(), m, "all").values for one in (before, after)))


def test_the_towers_own_vectors_are_those_before_the_joint_space_or_all_there_is():
    assert raw_of(items(), "text") == pytest.approx(unit(items().pooled_raw["text"]))
    assert raw_of(items(aligned=False), "text") == pytest.approx(unit(items(aligned=False).pooled["text"]))


@settings(deadline=None)
@given(order=st.permutations(range(len(build.IDS))))
def test_permuting_items_permutes_their_vectors(order):
    plain, shuffled = (head().vectors(given, "image", "all").values for given in (items(), items().take(order)))
    assert shuffled == pytest.approx(plain[order], abs=1e-6)


def test_a_zero_vector_has_a_finite_posterior():
    given = items()
    given.pooled["image"][3] = 0
    found = head().vectors(given, "image", "all").values
    assert np.isfinite(found).all()
    assert found[3, 0, :COUNT].sum() == pytest.approx(np.sqrt(0.7), abs=1e-5)


def test_evaluate_asks_for_the_posteriors_that_a_gallery_needs():
    one, given, episode = head(0.3), items(), build.episode(0)
    tasks = [Task("k", {"method": "scm"}, episode, gallery, 0) for gallery in ("target", "rest", "all")]
    seen = look(tasks, one, given)
    for task in tasks:
        rows = [seen.items.rows_of(ids) for ids in (task.queries, task.candidates)]
        query, others = (seen.items.take(np.sort(own)) for own in rows)
        image, text = one.vectors(query, "image", task.gallery).values, one.vectors(others, "text", task.gallery).values
        best = np.argsort(-score(image, text, "dot"), axis=1, kind="stable")[:, 0]
        found = evaluate_task(task, seen).directions["i2t"].top[:, 0]
        assert found.tolist() == [others.ids[place] for place in best]
