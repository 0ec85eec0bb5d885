"""SCM with FLEX-CLIP's made-up pairs as further shots: what they add to the prototypes, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from cache.errors import UserError
from stages.heads.files import load_head, save_head
from stages.heads.posterior import PosteriorHead
from stages.items import MODALITIES
from stages.train.episode import TrainEpisode, space
from stages.train.generator import make_pairs
from stages.train.methods import scm
from stages.train.params import ScmSection
from tests.stages.train import build
from tests.stages.train.methods.test_scm import VOTES, features, fitted_on, items, named, root, section, sphere

COUNT, WEIGHT = 5, 1.5


def generating(**changes: object) -> ScmSection:
    return section(**{"generated": COUNT, "generated_weight": WEIGHT, **changes})


def bits(head: PosteriorHead) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in head.tensors().items()}


def cosines_by_loop(episode: TrainEpisode, at: ScmSection, seed: int) -> dict[str, np.ndarray]:
    """z p_c of the episode's rows, p_c = unit(lambda name_c + the examples' z + w / n times the made-up z), class by
    class and pair by pair."""
    align, given = space(episode), episode.items
    classes = [*episode.target, *episode.source]
    members = np.array([[name in own for name in classes] for own in given.labels])
    known = {m: features(given, "joint", m, align) for m in MODALITIES}
    mean = {m: x.mean(axis=0) for m, x in known.items()}
    centred = {m: known[m] - mean[m] for m in MODALITIES}
    white = root(np.concatenate([*centred.values()]), np.concatenate([members] * 2), at.covariance, at.shrinkage)
    told = named(given, "joint", classes, align)
    made = make_pairs(episode, align, at.generator, at.generated, seed, "give up").pairs
    found = []
    for place, name in enumerate(sphere((told - told.mean(axis=0)) @ white)):
        total = at.name_weight * name
        for m in MODALITIES:
            for row in np.flatnonzero(members[:, place]):
                total = total + sphere(centred[m][row] @ white)
            for pair, number in zip(made.features[m].double().numpy(), made.classes.tolist(), strict=True):
                if number == place:
                    total = total + at.generated_weight / at.generated * sphere((pair - mean[m]) @ white)
        found.append(sphere(total))
    return {m: sphere(centred[m] @ white) @ np.array(found).T for m in MODALITIES}


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("shots", [0, 2])
def test_cosines_with_prototypes_are_the_sums_written_out_in_float64(aligned: bool, shots: int) -> None:
    episode, at = fitted_on(shots, aligned), generating()
    head, expected = scm.fit(episode, at, 4), cosines_by_loop(episode, at, 4)
    plain = scm.fit(episode, section(), 4).votes[0].prototypes["image"]
    for m in MODALITIES:
        assert head.logits(episode.items, m) == pytest.approx(expected[m], abs=2e-5)
        own = head.votes[0].prototypes[m]
        assert np.abs(own - plain)[:3].max(axis=1).min() > 1e-2  # of every target class
        assert own[3:].tobytes() == plain[3:].tobytes()  # and of no source class


def test_nothing_is_made_where_none_is_asked_for() -> None:
    episode = fitted_on(2)
    heads = [scm.fit(episode, section(generator=build.generator_section(latent=9)), seed) for seed in (0, 1)]
    heads += [scm.fit(episode, section(generated_weight=9.0), 0)]
    assert all(bits(head) == bits(heads[0]) for head in heads)
    assert all(head.history == () and "seed" not in head.about for head in heads)


def test_made_up_pairs_that_count_nothing_change_nothing() -> None:
    episode = fitted_on(2)
    assert bits(scm.fit(episode, generating(generated_weight=0.0), 0)) == bits(scm.fit(episode, section(), 0))


def test_they_stay_out_of_the_towers_own_spaces() -> None:
    episode, at = fitted_on(2), {**VOTES, "vote_neighbours": 0.5}
    own, plain = (bits(scm.fit(episode, one, 0)) for one in (generating(**at), section(**at)))
    assert {name for name in own if own[name] != plain[name]} == {f"0.{m}.prototypes" for m in MODALITIES}


def test_the_seed_decides_what_is_made_up() -> None:
    heads = [scm.fit(fitted_on(2), generating(), seed) for seed in (5, 5, 6)]
    assert bits(heads[0]) == bits(heads[1]) != bits(heads[2])
    assert [head.about["seed"] for head in heads] == [5, 5, 6]


def test_the_networks_are_trained_once_for_all_sections_of_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def watched(episode, align, how, count, *given):  # type: ignore[no-untyped-def]
        trained.append((how.latent, count))
        return make_pairs(episode, align, how, count, *given)

    monkeypatch.setattr(scm, "make_pairs", watched)
    fit = scm.prepare(fitted_on(2), 3)
    other = build.generator_section(latent=2)
    sections = [generating(generated_weight=w, name_weight=n) for w in (0.5, 2.0) for n in (2.0, 4.0)]
    sections += [generating(**VOTES, covariance="total"), generating(generator=other), section()]
    prepared = [bits(fit(at)) for at in sections]
    assert trained == [(3, COUNT), (2, COUNT)]
    assert prepared == [bits(scm.fit(fitted_on(2), at, 3)) for at in sections]


def test_self_training_stands_on_them_too() -> None:
    given = items()
    episode = replace(fitted_on(0), unlabelled=given.take(given.rows_of([f"{name}-0" for name in build.TARGET])))
    how = {"access": "semi-supervised", "rounds": 2, "unlabelled_tau": 0.1, "unlabelled_space": False}
    own, plain = (scm.fit(episode, one, 0).votes[0].prototypes["text"] for one in (generating(**how), section(**how)))
    assert np.abs(own - plain)[:3].max(axis=1).min() > 1e-3


def test_a_file_brings_the_head_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    head = scm.fit(fitted_on(2), generating(), 0)
    save_head(tmp_path / "head", head)
    assert bits(load_head(tmp_path / "head")) == bits(head)  # type: ignore[arg-type]
    assert {step.name for step in head.history} >= {f"generator_{m}_reconstruction" for m in MODALITIES}


def test_a_class_whose_name_has_no_vector_is_refused() -> None:
    episode = fitted_on(2)
    held = {name: vector for name, vector in build.names().items() if name != "bee"}
    bare = replace(episode, items=replace(episode.items, names={"joint": held, "raw": episode.items.names["raw"]}))
    with pytest.raises(UserError, match=r"^class 'bee': its name has no vector to judge by; rename the class, or "):
        scm.fit(bare, generating(), 0)


def test_pairs_are_not_made_without_names() -> None:
    with pytest.raises(ValidationError, match=r"pairs are made from class names, and names is false; pass 0, or names"):
        generating(names=False)
