"""A class learnt from examples: against the formula in float64, and against a fit that knew it from the start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from cache.errors import UsageError
from stages.heads.files import load_head, save_head
from stages.heads.linear import LinearHead
from stages.heads.posterior import Neighbours, PosteriorHead
from stages.items import MODALITIES, Items
from stages.search.question import named
from stages.search.teach import Lesson, classes_of, posterior, require_teachable, taught
from stages.train.methods import scm
from tests.stages.heads.test_posterior import head as drawn_head
from tests.stages.heads.test_posterior import items
from tests.stages.train import build
from tests.stages.train.methods import test_scm

PARAMS = {"names": True, "name_weight": 2.5}
T = len(build.TARGET)


def head(**about: Any) -> PosteriorHead:
    return drawn_head(**{"params": PARAMS, **about})


def lesson(given: Items, name: str = "gnu", texts: int = 1, names: bool = True) -> Lesson:
    """Three pictures and some texts of it, and all names as texts."""
    rng = np.random.default_rng(8)
    count = len(build.CLASSES) + 1
    raw = None if given.pooled_raw is None else rng.standard_normal((count, given.pooled_raw["text"].shape[1]))
    own = named(given, rng.standard_normal((count, build.WIDTH)).astype(np.float32), raw)
    return Lesson(name, {"image": given.take([0, 9, 17]), "text": given.take([5, 30][:texts])}, own if names else None)


def by_loop(one: PosteriorHead, told: Lesson, number: int) -> dict[str, np.ndarray]:
    """The new prototypes of one vote, in float64."""
    vote = one.votes[number]

    def place(x: np.ndarray, m: str, about: np.ndarray | None = None) -> np.ndarray:
        x = x.astype(np.float64)
        if vote.space == "joint" and not one.about["aligned"]:
            x = (x - one.align[m].mean) @ one.align[m].map
        x = x / np.linalg.norm(x)
        if about is None:
            x = (x - vote.whiten[m].mean) @ vote.whiten[m].map
            return x / np.linalg.norm(x)
        return x

    def features(given: Items, m: str) -> np.ndarray:
        return given.pooled_raw[m] if vote.space == "raw" and given.aligned else given.pooled[m]

    sums: dict[str, np.ndarray] = {m: np.zeros(vote.prototypes[m].shape[1]) for m in MODALITIES}
    for m in MODALITIES:
        for x in features(told.examples[m], m):
            sums[m] += place(x, m)
    if told.names is not None and one.about["params"]["names"]:
        spoken = np.stack([place(x, "text", about=np.zeros(1)) for x in features(told.names, "text")])
        moved = (spoken[-1] - spoken[:-1].mean(axis=0)) @ vote.whiten["text"].map
        sums["text"] += PARAMS["name_weight"] * moved / np.linalg.norm(moved)
    if vote.space == "joint":
        sums = dict.fromkeys(MODALITIES, sums["image"] + sums["text"])
    return {m: v / max(np.linalg.norm(v), 1e-30) for m, v in sums.items()}


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("texts", [0, 1, 2])
@pytest.mark.parametrize("names", [True, False])
def test_the_new_prototype_is_the_formulas_and_the_others_stay(aligned: bool, texts: int, names: bool) -> None:
    one, given = head(aligned=aligned), items(aligned)
    told = lesson(given, texts=texts, names=names)
    found = taught(one, told)
    for number, vote in enumerate(found.votes):
        wanted = by_loop(one, told, number)
        for m in MODALITIES:
            assert vote.prototypes[m].dtype == np.float32
            np.testing.assert_allclose(vote.prototypes[m][T], wanted[m], atol=1e-5)
            np.testing.assert_array_equal(np.delete(vote.prototypes[m], T, axis=0), one.votes[number].prototypes[m])
    assert found.about["classes"] == {"target": [*build.TARGET, "gnu"], "source": build.SOURCE}
    assert one.about["classes"]["target"] == build.TARGET  # the head that learnt is another one


def test_names_count_nothing_where_the_head_was_fitted_without() -> None:
    one, given = head(params={"names": False, "name_weight": 2.5}), items()
    with_names, without = (taught(one, lesson(given, names=names)) for names in (True, False))
    assert np.array_equal(with_names.votes[0].prototypes["text"], without.votes[0].prototypes["text"])


@pytest.mark.parametrize("extra", [{}, {"vote_neighbours": 0.5, "neighbours_tau": 0.1}])
def test_what_is_taught_is_what_a_fit_with_the_same_supports_would_know(extra: dict[str, float]) -> None:
    """The class is taken from a head that was fitted with it, and given back by its supports."""
    section = test_scm.section(names=False, vote_image=0.15, vote_text=0.35, **extra)
    episode = test_scm.fitted_on(2)
    whole = scm.fit(episode, section, 0)
    last = build.TARGET[-1]
    supports = [row for row in np.flatnonzero(episode.support) if last in episode.items.labels[row]]
    examples = dict.fromkeys(MODALITIES, episode.items.take(supports))
    again = taught(without(whole, T - 1), Lesson(last, examples, None))
    for m in MODALITIES:
        np.testing.assert_allclose(again.logits(episode.items, m), whole.logits(episode.items, m), atol=1e-5)
    assert again.about["classes"] == whole.about["classes"]


def without(whole: PosteriorHead, place: int) -> PosteriorHead:
    """The head without its class at a place."""

    def keys(near: Neighbours) -> Neighbours:
        start, count = int(near.counts[:place].sum()), int(near.counts[place])
        kept = np.delete(near.keys, np.arange(start, start + count), axis=0)
        return replace(near, keys=kept, counts=np.delete(near.counts, place))

    votes = tuple(
        replace(
            vote,
            prototypes={m: np.delete(p, place, axis=0) for m, p in vote.prototypes.items()},
            neighbours={m: keys(near) for m, near in vote.neighbours.items()},
        )
        for vote in whole.votes
    )
    known = whole.about["classes"]
    fewer = {**known, "target": [name for i, name in enumerate(known["target"]) if i != place]}
    return replace(whole, about={**whole.about, "classes": fewer}, votes=votes)


@pytest.mark.parametrize(("gallery", "count"), [("target", T + 1), ("all", len(build.CLASSES) + 1)])
def test_the_posterior_is_over_the_classes_that_are_named(gallery: Any, count: int) -> None:
    given = items()
    found = taught(head(), lesson(given))
    likely = posterior(found, given, "text", gallery)
    assert likely.shape == (len(given), count)
    assert classes_of(found, gallery)[T] == "gnu"
    wanted = softmax(found.logits(given, "text")[:, :count].astype(np.float64) / found.about["tau"], axis=1)
    np.testing.assert_allclose(likely, wanted, atol=1e-6)
    shown = found.vectors(given, "text", gallery).values[:, 0, :count] / np.sqrt(1 - found.about["cosine"])
    np.testing.assert_allclose(shown, likely, atol=1e-6)


def test_a_head_that_learnt_is_read_back_as_it_was(tmp_path: Any) -> None:
    given = items()
    found = taught(head(), lesson(given))
    save_head(tmp_path / "taught.safetensors", found)
    again = load_head(tmp_path / "taught.safetensors")
    assert np.array_equal(again.vectors(given, "image", "all").values, found.vectors(given, "image", "all").values)
    assert again.about["taught"] == ["gnu"]


def test_what_cannot_be_taught_is_refused_in_one_line() -> None:
    given = items()
    with pytest.raises(UsageError, match=r"^class 'ant' is known already; give the new class another name$"):
        taught(head(), lesson(given, "ant"))
    nothing = Lesson("gnu", {m: given.take([]) for m in MODALITIES}, None)
    with pytest.raises(UsageError, match=r"^nothing says what class 'gnu' is like; give a --support, or --texts$"):
        taught(head(), nothing)
    with pytest.raises(UsageError, match=r"^method 'gap' judges no classes and can learn none; use --method scm$"):
        require_teachable(LinearHead({"method": "gap"}, {}, {}))
    with pytest.raises(UsageError, match=r"^this head judges no classes"):
        require_teachable(head(classes={"target": [], "source": []}))
