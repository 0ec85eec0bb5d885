"""SCM against DESIGN section 6, steps 2 to 4, written out in float64, and on data whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import linalg
from threadpoolctl import threadpool_limits

from cache.episodes import ROLES, Episode
from cache.errors import MissingError, UserError
from stages.heads.files import load_head, save_head
from stages.items import MODALITIES, Captions, Items, Modality, unit
from stages.retrieval import average_precision, in_rank_order, rank, score, share_label
from stages.train.episode import TrainEpisode, space, train_episode
from stages.train.methods import scm
from stages.train.params import ScmSection
from tests.stages.train import build
from tests.stages.train.test_whitening import covariance_by_loop

VOTES = {"vote_image": 0.15, "vote_text": 0.35}
RAW = {"image": 30, "text": 9}  # more dimensions than rows, and fewer
SETTINGS = {
    "names alone": {"vote_image": 0.0, "vote_text": 0.0},
    "no names": {"names": False, "vote_image": 0.0, "vote_text": 0.0},
    "votes": {"vote_image": 0.15, "vote_text": 0.35, "covariance": "total"},
    "votes without names": {"names": False, "vote_image": 0.3, "vote_text": 0.7},
    "target classes alone": {"vote_image": 0.15, "vote_text": 0.35, "all_classes": False},
    "all captions": {"vote_image": 0.15, "vote_text": 0.35, "captions": "all"},
    "neighbours": {"vote_neighbours": 0.5, "neighbours_tau": 0.1},
    "neighbours of all captions": {**VOTES, "vote_neighbours": 0.5, "neighbours_tau": 0.1, "captions": "all"},
    "a vote for texts, and cosines": {"vote_image": 0.0, "vote_text": 0.7, "cosine": 0.4, "name_weight": 4.0},
}


def items(aligned: bool = True) -> Items:
    """The small world's pairs with the towers' own vectors and names in both spaces; two pairs have two classes."""
    rng = np.random.default_rng(4)
    known = build.items(aligned)
    place = {name: row for row, name in enumerate(build.CLASSES)}
    middle = {m: rng.standard_normal((len(place), width)) for m, width in RAW.items()}
    of = [place[own[0]] for own in known.labels]
    raw = {m: (middle[m][of] + rng.standard_normal((len(of), RAW[m]))).astype(np.float32) for m in MODALITIES}
    names = {name: rng.standard_normal(RAW["text"]).astype(np.float32) for name in build.CLASSES}
    return replace(
        known,
        pooled_raw=raw if aligned else None,
        names={"joint": build.names(), **({"raw": names} if aligned else {})},
        captions=captions(known, raw if aligned else None),
    )


def captions(given: Items, raw: dict[Modality, np.ndarray] | None, count: int = 0) -> Captions:
    """One to three captions of every item, or `count`: its text first, then others not far from it."""
    counts = np.array([count or 1 + place % 3 for place in range(len(given))])
    first = np.cumsum(counts) - counts
    spread = 0.8 * (~np.isin(np.arange(counts.sum()), first))[:, None]

    def several(values: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(5).standard_normal((counts.sum(), values.shape[1]))
        return (np.repeat(values, counts, axis=0) + spread * noise).astype(np.float32)

    return Captions(several(given.pooled["text"]), None if raw is None else several(raw["text"]), counts)


def fitted_on(shots: int, aligned: bool = True, given: Items | None = None) -> TrainEpisode:
    episode = build.episode(shots)
    two = {"bee-1": ("bee", "fox"), episode.ids["support"][0] if shots else "bee-2": None}
    labels = {**episode.labels, **{name: own or (*episode.labels[name], *TWICE[shots]) for name, own in two.items()}}
    return train_episode(replace(episode, labels=labels), given or items(aligned), build.ALIGN)


TWICE = {0: ("dog",), 2: ("eel",)}  # the second class of one more pair


def section(**changes: Any) -> ScmSection:
    base = {"names": True, "covariance": "within", "shrinkage": 0.5, "name_weight": 2.0, "tau": 0.1, "cosine": 0.0}
    return build.scm_section(**{**base, "vote_image": 0.0, "vote_text": 0.0, "vote_shrinkage": 0.9, **changes})


def sphere(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def features(given: Items, where: str, m: str, align: Any) -> np.ndarray:
    """Step 1: the joint unit vectors of an aligned encoder, else CCA; `raw` the tower's own."""
    if where == "raw":
        return sphere((given.pooled_raw or given.pooled)[m])
    return sphere(given.pooled[m]) if given.aligned else sphere((given.pooled[m] - align[m].mean) @ align[m].map)


def caption_features(given: Items, where: str, align: Any) -> np.ndarray:
    """The same of every caption (T, d), one item's after the other."""
    told = given.captions
    alone = replace(
        given, pooled={"text": told.pooled}, pooled_raw={"text": told.pooled_raw} if given.aligned else None
    )
    return features(alone, where, "text", align)


def ends(given: Items) -> list[int]:
    """Where an item's captions end and the next one's begin."""
    return np.cumsum(given.captions.counts)[:-1].tolist()


def named(given: Items, where: str, classes: list[str], align: Any) -> np.ndarray:
    vectors = np.stack([given.names[where if given.aligned else "joint"][name] for name in classes])
    apart = where == "joint" and not given.aligned
    return sphere((vectors - align["text"].mean) @ align["text"].map if apart else vectors)


def root(rows: np.ndarray, members: np.ndarray, kind: str, s: float) -> np.ndarray:
    """Step 2: ((1-s) C + s tr(C)/d I)^(-1/2) of centred rows, on their span where they are fewer than dimensions."""
    basis = linalg.orth(rows.T) if len(rows) <= rows.shape[1] else np.eye(rows.shape[1])
    c = covariance_by_loop(rows @ basis, members, kind)
    mixed = (1 - s) * c + s * np.trace(c) / len(c) * np.eye(len(c))
    return basis @ linalg.inv(linalg.sqrtm(mixed).real)


def scores_by_loop(fit: TrainEpisode, given: Items, at: ScmSection, gallery: str) -> np.ndarray:
    """Steps 2 to 4: S of every picture with every text, in float64."""
    align, shots, classes = space(fit), fit.support.any(), [*fit.target, *fit.source]
    members = np.array([[name in own for name in classes] for own in fit.items.labels])
    share = {"image": at.vote_image if shots else 0.0, "text": at.vote_text}
    logits, place = dict.fromkeys(MODALITIES, 0.0), {}
    for where in ("joint", "raw") if at.vote_image or at.vote_text or at.vote_neighbours else ("joint",):
        known = {m: features(fit.items, where, m, align) for m in MODALITIES}
        mean = {m: known[m].mean(axis=0) for m in MODALITIES}
        centred = {m: known[m] - mean[m] for m in MODALITIES}
        if where == "joint":
            both = root(np.concatenate([*centred.values()]), np.concatenate([members] * 2), at.covariance, at.shrinkage)
            white = dict.fromkeys(MODALITIES, both)
        else:
            white = {m: root(centred[m], members, at.covariance, at.vote_shrinkage) for m in MODALITIES}
        u = {m: sphere((features(given, where, m, align) - mean[m]) @ white[m]) for m in MODALITIES}
        own = {m: sphere(centred[m] @ white[m]) for m in MODALITIES}
        if at.captions == "all":
            told = sphere((caption_features(fit.items, where, align) - mean["text"]) @ white["text"])
            own["text"] = np.stack([rows.mean(axis=0) for rows in np.split(told, ends(fit.items))])
        names = named(given, where, classes, align)
        names = sphere((names - names.mean(axis=0)) @ white["text"]) * at.name_weight * at.names
        for m in MODALITIES:
            votes = []
            for c in range(len(classes)):
                of = MODALITIES if where == "joint" else (m,)
                total = sum(own[k][members[:, c]].sum(axis=0) for k in of)
                total = total + names[c] if where == "joint" or m == "text" else total
                votes.append(u[m] @ (total / max(np.linalg.norm(total), 1e-30)))
            if where == "raw" and shots and at.vote_neighbours:
                keys, of = own[m], members
                if m == "text" and at.captions == "all":
                    keys, of = told, np.repeat(members, fit.items.captions.counts, axis=0)
                logits[m] = logits[m] + np.stack([nearness(u[m], keys[of[:, c]], at) for c in range(len(classes))], 1)
            weight = 1 - share[m] if where == "joint" else share[m]
            logits[m] = logits[m] + weight * np.stack(votes, axis=1)
        place = place or u
    cosines = place["image"] @ place["text"].T
    if not shots and not at.names:
        return cosines
    count = len(classes) if gallery == "all" and at.all_classes else len(fit.target)
    likely = {m: np.exp(logits[m][:, :count] / at.tau) for m in MODALITIES}
    image, text = (likely[m] / likely[m].sum(axis=1, keepdims=True) for m in MODALITIES)
    return (1 - at.cosine) * image @ text.T + at.cosine * cosines


def nearness(u: np.ndarray, keys: np.ndarray, at: ScmSection) -> np.ndarray:
    """What the keys of one class say of places u."""
    likely = np.exp(u @ keys.T / at.neighbours_tau).mean(axis=1)
    return at.vote_neighbours * at.neighbours_tau * np.log(likely)


def scores(head: Any, given: Items, gallery: str) -> np.ndarray:
    image, text = (head.vectors(given, m, gallery).values for m in MODALITIES)
    return score(image, text, "dot")


@pytest.mark.parametrize("gallery", ["target", "all"])
@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "two towers"])
@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_scores_are_those_of_the_loop(setting, shots, aligned, gallery):
    fit, given, at = fitted_on(shots, aligned), items(aligned), section(**SETTINGS[setting])
    expected = scores_by_loop(fit, given, at, gallery)
    assert scores(scm.fit(fit, at, 0), given, gallery) == pytest.approx(expected, abs=2e-5)


def test_the_world_of_the_loop_has_a_row_of_several_classes():
    assert {len(own) for own in fitted_on(2).items.labels} == {len(own) for own in fitted_on(0).items.labels} == {1, 2}


def centred_cosines(fit: TrainEpisode, given: Items) -> np.ndarray:
    mean = {m: sphere(fit.items.pooled[m]).mean(axis=0) for m in MODALITIES}
    image, text = (sphere(sphere(given.pooled[m]) - mean[m]) for m in MODALITIES)
    return image @ text.T


@pytest.mark.parametrize("covariance", ["within", "total"])
def test_full_shrinkage_only_centres(covariance):
    fit, given = fitted_on(0), items()
    found = scores(scm.fit(fit, section(names=False, shrinkage=1.0, covariance=covariance), 0), given, "target")
    assert found == pytest.approx(centred_cosines(fit, given), abs=1e-5)


def test_without_shots_and_names_it_is_the_whitened_cosine_whatever_the_posteriors_are_set_to():
    fit, given = fitted_on(0), items()
    one, other = (scm.fit(fit, section(names=False, cosine=w, tau=tau), 0) for w, tau in ((0.0, 0.1), (0.5, 2.0)))
    assert one.about["classes"] == {"target": [], "source": []}
    found = one.vectors(given, "image", "all").values
    assert found.shape == (len(given), 1, build.WIDTH)
    assert np.linalg.norm(found, axis=2) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(found, other.vectors(given, "image", "target").values)


def test_without_a_shot_no_picture_judges_in_its_own_tower():
    at = section(vote_image=0.3, vote_text=0.7)
    weights = [[vote.weight for vote in scm.fit(fitted_on(shots), at, 0).votes] for shots in (0, 2)]
    assert weights[0] == [{"image": 1.0, "text": pytest.approx(0.3)}, {"image": 0.0, "text": 0.7}]
    assert weights[1] == [{"image": 0.7, "text": pytest.approx(0.3)}, {"image": 0.3, "text": 0.7}]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("setting", ["votes", "votes without names", "neighbours of all captions"])
def test_the_order_of_the_training_rows_changes_nothing(setting, aligned):
    fit, given, at = fitted_on(2, aligned), items(aligned), section(**SETTINGS[setting])
    order = np.random.default_rng(0).permutation(len(fit.items))
    shuffled = replace(fit, items=fit.items.take(order), support=fit.support[order])
    plain, other = (scores(scm.fit(one, at, 0), given, "all") for one in (fit, shuffled))
    assert other == pytest.approx(plain, abs=1e-6)


def test_what_is_prepared_once_fits_every_section_as_if_alone():
    fit = fitted_on(2)
    prepared = scm.prepare(fit, 0)
    for changes in (*SETTINGS.values(), {"shrinkage": 0.9}, {"covariance": "total"}):
        alone, shared = scm.fit(fit, section(**changes), 0), prepared(section(**changes))
        assert alone.about == shared.about
        assert {k: v.tobytes() for k, v in alone.tensors().items()} == {
            k: v.tobytes() for k, v in shared.tensors().items()
        }


def test_threads_change_no_bit():
    found = []
    for count in (1, 2):
        with threadpool_limits(limits=count):
            found.append(scm.fit(fitted_on(2, aligned=False), section(**SETTINGS["votes"]), 0).tensors())
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("shots", [0, 2])
def test_a_head_of_target_classes_alone_is_the_first_part_of_the_whole_one(shots, tmp_path):
    at = {**VOTES, "vote_neighbours": 0.2}
    whole, part = (scm.fit(fitted_on(shots), section(**at, all_classes=wide), 0) for wide in (True, False))
    count = len(build.TARGET)
    assert part.about["classes"] == {"target": build.TARGET, "source": []}
    for name, values in whole.tensors().items():
        own = part.tensors()[name]
        assert np.array_equal(own, values[: len(own)])
        assert len(own) == count or not name.endswith(("prototypes", "counts"))
    save_head(tmp_path / "head", part)
    for m in MODALITIES:
        assert np.array_equal(part.logits(items(), m), whole.logits(items(), m)[:, :count])
        found, expected = load_head(tmp_path / "head").vectors(items(), m, "all"), whole.vectors(items(), m, "target")
        assert np.array_equal(found.values, expected.values)


# neighbours


@pytest.mark.parametrize("access", ["inductive", "semi-supervised"])
def test_without_a_support_no_neighbour_judges(access):
    fit = replace(fitted_on(0), unlabelled=items().take(range(40, 48)))
    at = {**VOTES, "access": access, "rounds": 2 * (access != "inductive"), "unlabelled_weight": 1.0}
    with_them, without = (scm.fit(fit, section(**at, vote_neighbours=weight), 0) for weight in (0.3, 0.0))
    assert with_them.about["votes"] == without.about["votes"]
    one, other = with_them.tensors(), without.tensors()
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_target_class_without_an_example_leaves_every_score_finite():
    fit = fitted_on(2)
    kept = [row for row, own in enumerate(fit.items.labels) if build.TARGET[0] not in own]
    lacking = replace(fit, items=fit.items.take(kept), support=fit.support[kept])
    head = scm.fit(lacking, section(**VOTES, vote_neighbours=0.3), 0)
    assert head.votes[1].neighbours["image"].counts[0] == 0
    assert np.isfinite(scores(head, items(), "all")).all()


# captions


@pytest.mark.parametrize("aligned", [True, False])
def test_all_captions_are_the_one_there_is_where_an_item_has_one(aligned):
    given = items(aligned)
    alone = replace(given, captions=captions(given, given.pooled_raw, count=1))
    fit = fitted_on(2, aligned, alone)
    one, other = (scm.fit(fit, section(**VOTES, captions=told), 0).tensors() for told in ("ingest", "all"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("rounds", [0, 2])
def test_captions_move_prototypes_alone(rounds):
    fit = replace(fitted_on(2), unlabelled=items().take(range(40, 48)))
    learnt = {"access": "semi-supervised", "rounds": rounds, "unlabelled_weight": 1.0, "unlabelled_tau": 0.1}
    one, other = (
        scm.fit(fit, section(**VOTES, **learnt, unlabelled_space=False, captions=told), 0).tensors()
        for told in ("ingest", "all")
    )
    for name, values in one.items():
        moved = name.endswith("prototypes") and (rounds > 0 or name != "1.image.prototypes")
        assert np.array_equal(values, other[name]) != moved


def test_captions_that_were_not_kept_are_named_with_what_to_do():
    fit = fitted_on(2, given=replace(items(), captions=None))
    scm.fit(fit, section(captions="ingest"), 0)
    with pytest.raises(MissingError) as caught:
        scm.fit(fit, section(captions="all"), 0)
    told = "train.scm.captions is all, and the items lack their captions; load them with apart=True"
    assert str(caught.value) == told


# class names


def unnamed(given: Items, where: str, vector: np.ndarray | None) -> Items:
    """The items where the name `cat` has another vector in one space, or none."""
    names = {name: v for name, v in given.names[where].items() if name != "cat"}
    return replace(given, names={**given.names, where: names if vector is None else {**names, "cat": vector}})


@pytest.mark.parametrize("vector", [None, 0.0, np.nan], ids=["absent", "zero", "not finite"])
@pytest.mark.parametrize("where", ["joint", "raw"])
def test_a_class_whose_name_has_no_vector_is_named_where_names_are_to_judge(where, vector):
    width = build.WIDTH if where == "joint" else RAW["text"]
    given = unnamed(items(), where, None if vector is None else np.full(width, vector, np.float32))
    fit = fitted_on(2, given=given)
    with pytest.raises(UserError) as caught:
        scm.fit(fit, section(**SETTINGS["votes"]), 0)
    assert str(caught.value) == (
        "class 'cat': its name has no vector to judge by; rename the class, or set train.scm.names to false"
    )
    found = scores(scm.fit(fit, section(**SETTINGS["votes without names"]), 0), given, "all")
    assert np.array_equal(
        found, scores(scm.fit(fitted_on(2), section(**SETTINGS["votes without names"]), 0), given, "all")
    )


@pytest.mark.parametrize("setting", ["no names", "votes without names"])
def test_features_without_any_names_serve_where_names_do_not_judge(setting):
    given = replace(items(), names={})
    found = scores(scm.fit(fitted_on(2, given=given), section(**SETTINGS[setting]), 0), given, "all")
    assert np.isfinite(found).all()


# bad vectors


def test_votes_in_the_towers_own_spaces_need_their_vectors():
    fit = fitted_on(2, given=replace(items(), pooled_raw=None))
    assert len(scm.fit(fit, section(), 0).votes) == 1
    with pytest.raises(MissingError, match=r"^this head judges in the towers' own spaces .*; run 'extract' again$"):
        scm.fit(fit, section(vote_text=0.5), 0)


@pytest.mark.parametrize("rows", [[0], list(range(len(build.IDS)))], ids=["one", "all"])
def test_zero_vectors_leave_every_score_finite(rows):
    given = items()
    given.pooled["image"][rows] = 0
    given.pooled_raw["image"][rows] = 0
    fit = fitted_on(2, given=given)
    assert np.isfinite(scores(scm.fit(fit, section(**SETTINGS["votes"]), 0), given, "all")).all()


# known truth

SIGNAL, NOISE, PER_CLASS = 8, 16, 24


def planted(seed: int = 0) -> tuple[Items, np.ndarray]:
    """Classes that differ in SIGNAL directions, items that differ far more in NOISE others, and a modality gap along
    them. Each picture's noise is another class's text's, so that raw cosines lead astray. With the items, the log
    likelihood (N, C) of a picture under each class: what the Bayes classifier judges by."""
    rng = np.random.default_rng(seed)
    classes, n = len(build.CLASSES), len(build.CLASSES) * PER_CLASS
    of = np.repeat(np.arange(classes), PER_CLASS)
    middle = 2.5 * linalg.orth(rng.standard_normal((SIGNAL, classes))).T
    noise = 2.0 * rng.standard_normal((n, NOISE))
    gap = np.concatenate([np.zeros(SIGNAL), np.full(NOISE, 0.8)])
    signal = {m: middle[of] + 0.7 * rng.standard_normal((n, SIGNAL)) for m in MODALITIES}
    image = np.concatenate([signal["image"], noise], axis=1) + gap
    text = np.concatenate([signal["text"], np.roll(noise, PER_CLASS, axis=0)], axis=1) - gap
    likelihood = -(((signal["image"][:, None] - middle) / 0.7) ** 2).sum(axis=2) / 2
    names = np.concatenate([middle, np.zeros((classes, NOISE))], axis=1) - gap
    turn = linalg.orth(rng.standard_normal((SIGNAL + NOISE,) * 2))  # no axis is special
    ids = [f"{name}-{i}" for name in build.CLASSES for i in range(PER_CLASS)]
    given = Items(
        ids=ids,
        labels=[(name.split("-")[0],) for name in ids],
        aligned=True,
        encoder="tiny",
        pooled={"image": (image @ turn).astype(np.float32), "text": (text @ turn).astype(np.float32)},
        pooled_raw=None,
        views=None,
        weights=None,
        live=None,
        names={"joint": dict(zip(build.CLASSES, (names @ turn).astype(np.float32), strict=True))},
        keys={name: name[0] * 32 for name in ("image", "text", "name")},
    )
    return given, likelihood


def drawn(given: Items, shots: int) -> tuple[TrainEpisode, Items]:
    """An episode on planted data, half of a class's items being its train half; and its test items."""
    ids: dict[str, list[str]] = {role: [] for role in ROLES}
    for name in given.ids:
        kind, number = name.split("-")
        held = "support" if int(number) < shots else "target-rest"
        train, test = (held, "test") if kind in build.TARGET else ("source-train", "source-test")
        ids[test if int(number) >= PER_CLASS // 2 else train].append(name)
    labels = dict(zip(given.ids, given.labels, strict=True))
    episode = Episode("parity", 0, shots, 0, ids, labels, build.SOURCE, build.TARGET)
    return train_episode(episode, given, build.ALIGN), given.take(given.rows_of(ids["test"]))


def mean_ap(found: np.ndarray, given: Items) -> float:
    return float(average_precision(in_rank_order(share_label(given.labels, given.labels), rank(found))).mean())


@pytest.mark.parametrize(("shots", "names"), [(0, True), (1, True), (5, True), (5, False)])
def test_planted_classes_are_found_as_the_bayes_classifier_finds_them_where_raw_cosines_are_lost(shots, names):
    given, likelihood = planted()
    fit, asked = drawn(given, shots)
    head = scm.fit(fit, section(names=names, shrinkage=0.1), 0)
    judged = head.logits(asked, "image")[:, : len(fit.target)].argmax(axis=1)
    classes = [build.CLASSES.index(name) for name in fit.target]
    best = likelihood[given.rows_of(asked.ids)][:, classes].argmax(axis=1)
    assert (judged == best).mean() > 0.9
    raw = unit(asked.pooled["image"]) @ unit(asked.pooled["text"]).T
    assert mean_ap(raw, asked) < 0.5
    assert mean_ap(scores(head, asked, "target"), asked) > 0.93
