from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cache.errors import UsageError, UserError
from stages.items import unit
from stages.train.align import fit_cca
from stages.train.episode import fit_pooled, require_joint_views, require_names, space, train_episode
from tests.stages.train import build


def test_only_source_train_and_support_rows_are_given_to_a_fit():
    drawn = build.episode(shots=2)
    found = train_episode(drawn, build.items(), build.ALIGN)
    assert found.items.ids == drawn.ids["source-train"] + drawn.ids["support"]
    assert np.flatnonzero(found.support).tolist() == list(range(12, 18))


def test_no_shots_mean_no_support():
    found = train_episode(build.episode(shots=0), build.items(), build.ALIGN)
    assert len(found.items) == 12
    assert not found.support.any()


def test_labels_are_the_episodes_and_not_the_manifests():
    poisoned = replace(build.items(), labels=[("poison",)] * len(build.IDS))
    found = train_episode(build.episode(), poisoned, build.ALIGN)
    assert found.items.labels == build.fit_on().items.labels


def test_an_aligned_encoder_needs_no_map():
    assert space(build.fit_on(aligned=True)) == {}


def test_two_towers_are_mapped_by_the_episodes_pairs_alone():
    episode = build.fit_on(aligned=False)
    pooled = episode.items.pooled
    expected = fit_cca(pooled["image"], pooled["text"], build.ALIGN)
    assert np.array_equal(space(episode)["text"].map, expected["text"].map)


def test_joint_vectors_count_by_their_direction():
    episode = build.fit_on(aligned=True)
    longer = {m: 3 * values for m, values in episode.items.pooled.items()}
    again = replace(episode, items=replace(episode.items, pooled=longer))
    found, other = (fit_pooled(one, build.ALIGN)["image"].map for one in (episode, again))
    assert np.abs(found) == pytest.approx(np.abs(other), rel=1e-3)
    assert fit_pooled(episode, build.ALIGN)["image"].mean == pytest.approx(
        unit(episode.items.pooled["image"]).mean(0), abs=1e-6
    )


def test_views_of_another_width_are_refused_with_what_to_set():
    episode = build.fit_on()
    narrow = {m: values[..., :4] for m, values in episode.items.views.items()}
    for views in (narrow, None):
        with pytest.raises(UsageError, match=r"^method 'gcrdp' needs component views .*set extract\.tokens to joint"):
            require_joint_views(replace(episode, items=replace(episode.items, views=views)), "gcrdp")


def test_renaming_a_class_is_advised_only_where_other_names_have_a_vector():
    with pytest.raises(UserError, match=r"^class 'b': its name has no vector to judge by; rename the class, or go$"):
        require_names(["a", "b"], np.array([[1, 0], [0, 0]], np.float32), "go")
    with pytest.raises(UserError, match=r"^no class name has a vector to judge by; go$"):
        require_names(["a", "b"], np.zeros((2, 2), np.float32), "go")
