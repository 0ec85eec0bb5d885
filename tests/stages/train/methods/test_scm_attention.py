"""SCM's token attention against DESIGN section 6, step 5: whom it asks, what it changes and what it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.errors import UsageError
from stages.heads.attention import Attention
from stages.heads.files import load_head, save_head
from stages.heads.head import to_sphere
from stages.heads.posterior import PosteriorHead
from stages.items import MODALITIES, Captions, Items
from stages.train.episode import TrainEpisode, space, train_episode
from stages.train.methods import scm
from stages.train.params import ScmSection
from tests.stages.heads.test_attention import REFUSED, by_loop, kept, sphere, tokens_in
from tests.stages.train import build

ON = {"attention": True, "attention_image": 0.4, "attention_text": 0.1, "attention_support": 0.2}


@pytest.fixture(scope="module", params=[True, False], ids=["aligned", "two towers"])
def items(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Items:
    return kept(tmp_path_factory.mktemp("items"), aligned=request.param)


def section(**changes: Any) -> ScmSection:
    own = {"vote_image": 0.0, "vote_text": 0.0, "name_weight": 2.0, "attention_share": 0.5, **changes}
    return build.scm_section(**own)


def fitted_on(given: Items, shots: int) -> TrainEpisode:
    """An episode of which one support has two classes."""
    episode = build.episode(shots)
    two = {name: (*episode.labels[name], "eel") for name in episode.ids["support"][:1]}
    return train_episode(replace(episode, labels={**episode.labels, **two}), given, build.ALIGN)


def prototypes_by_loop(fit: TrainEpisode, head: PosteriorHead, at: ScmSection) -> list[np.ndarray]:
    """unit(lambda name_c + sum z(x_ic) of the supports of both modalities + sum z of the source rows), in float64; the
    whitening is the head's own, which has tests elsewhere."""
    vote, align, given = head.votes[0], space(fit), fit.items
    classes = [*fit.target, *fit.source]
    names = np.stack([given.names["joint"][name] for name in classes])
    placed = to_sphere(names, given.aligned, align.get("text")).astype(np.float64)
    root = vote.whiten["text"].map.astype(np.float64)
    named = [sphere((name - placed.mean(axis=0)) @ root) for name in placed]
    found = []
    for c, name in enumerate(classes):
        total = at.name_weight * named[c]
        for m in MODALITIES:
            for row in [row for row, own in enumerate(given.labels) if name in own]:
                total = total + example(fit, vote.whiten[m], align, m, row, named[c], at)
        found.append(sphere(total))
    return found


def example(
    fit: TrainEpisode, whiten: Any, align: Mapping[Any, Any], m: Any, row: int, name: np.ndarray, at: ScmSection
) -> np.ndarray:
    """Where one row stands for a class: a support by what of its tokens speaks of the name, another row as it is."""
    own = align.get(m)
    if fit.support[row]:
        tokens = tokens_in(fit.items, m, row)
        placed = tokens if own is None else [(x - own.mean) @ own.map.astype(np.float64) for x in tokens]
        return by_loop(placed, whiten, name, at.attention_support)
    x = to_sphere(fit.items.pooled[m][row], fit.items.aligned, own).astype(np.float64)
    return sphere((x - whiten.mean) @ whiten.map)


@pytest.mark.parametrize("shots", [0, 2])
def test_supports_are_cleaned_by_the_names_of_their_classes(items: Items, shots: int) -> None:
    fit, at = fitted_on(items, shots), section(**ON)
    head = scm.fit(fit, at, 0)
    assert any(len(own) == 2 for own in fit.items.labels) == bool(shots)
    for found, expected in zip(head.votes[0].prototypes["image"], prototypes_by_loop(fit, head, at), strict=True):
        assert found == pytest.approx(expected, abs=2e-5)


def test_the_votes_attention_is_what_the_section_says(items: Items) -> None:
    head = scm.fit(fitted_on(items, 2), section(**ON, attention_share=0.3), 0)
    assert head.votes[0].attention == Attention({"image": 0.4, "text": 0.1}, 0.3)


def tensors(head: PosteriorHead) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in head.tensors().items()}


def test_off_it_is_as_if_there_were_no_tokens_whatever_it_is_set_to(items: Items) -> None:
    off = section(**{**ON, "attention": False})
    alone = replace(items, tokens=None)
    found, plain = scm.fit(fitted_on(items, 2), off, 0), scm.fit(fitted_on(alone, 2), section(), 0)
    assert tensors(found) == tensors(plain)
    assert found.about["votes"] == plain.about["votes"]
    assert found.votes[0].attention is None
    for m in MODALITIES:
        assert np.array_equal(found.logits(items, m), plain.logits(alone, m))


def test_without_names_a_support_stays_as_it_is(items: Items) -> None:
    on, off = (scm.fit(fitted_on(items, 2), section(**how, names=False), 0) for how in (ON, {}))
    assert tensors(on) == tensors(off)
    assert on.votes[0].attention is not None


def test_a_text_of_several_captions_stays_as_it_is_and_its_picture_does_not(items: Items) -> None:
    counts = np.ones(len(items), np.int64)
    told = replace(items, captions=Captions(items.pooled["text"], None, counts))
    rows = fitted_on(told, 2)
    all_of_them, first = (scm.fit(rows, section(**ON, captions=own), 0) for own in ("all", "ingest"))
    off = scm.fit(rows, section(captions="all"), 0)
    assert len({tensors(head)["0.image.prototypes"] for head in (all_of_them, first, off)}) == 3


def test_the_vote_in_the_towers_own_spaces_attends_to_nothing(items: Items) -> None:
    given = replace(items, pooled_raw=items.pooled, names={**items.names, "raw": items.names["joint"]})
    on, off = (scm.fit(fitted_on(given, 2), section(**how, vote_text=0.5, vote_image=0.2), 0) for how in (ON, {}))
    assert on.votes[1].attention is None
    own = [{name: v for name, v in tensors(head).items() if name.startswith("1.")} for head in (on, off)]
    assert own[0] == own[1]


def test_self_training_starts_from_cleaned_supports_and_judges_by_pooled_vectors(items: Items) -> None:
    fit = replace(fitted_on(items, 2), unlabelled=items.take(range(40, 48)))
    learnt = {"access": "semi-supervised", "rounds": 2, "unlabelled_weight": 1.0, "unlabelled_tau": 0.1}
    one, other, hot = (
        scm.fit(fit, section(**{**ON, **learnt, "unlabelled_space": False, **how}), 0)
        for how in ({}, {"attention_image": 9.0, "attention_text": 9.0}, {"attention_support": 9.0})
    )
    assert tensors(one) == tensors(other)
    assert tensors(one) != tensors(hot)


def test_a_head_read_back_says_the_same(items: Items, tmp_path: Path) -> None:
    before = scm.fit(fitted_on(items, 2), section(**ON, all_classes=False), 0)
    save_head(tmp_path / "head", before)
    after = load_head(tmp_path / "head")
    for m in MODALITIES:
        assert np.array_equal(*(one.vectors(items, m, "all").values for one in (before, after)))


@pytest.mark.parametrize("shots", [0, 2])
def test_items_without_tokens_are_refused_before_anything_is_fitted(items: Items, shots: int) -> None:
    with pytest.raises(UsageError) as caught:
        scm.fit(fitted_on(replace(items, tokens=None), shots), section(**ON), 0)
    assert str(caught.value) == REFUSED


@pytest.mark.parametrize("changes", [{"attention": False}, {"attention": True, "names": False}])
def test_what_nobody_reads_is_no_part_of_a_key(changes: dict[str, Any]) -> None:
    one, other = (
        section(**{**ON, **changes, "attention_support": tau}).at_work().model_dump() for tau in (0.2, [0.1, 0.5])
    )
    assert one == other


def test_what_is_read_is_part_of_a_key() -> None:
    told = section(**ON, attention_share=0.3).at_work().model_dump()
    assert {name: value for name, value in told.items() if name.startswith("attention")} == {
        **ON,
        "attention_share": 0.3,
    }
