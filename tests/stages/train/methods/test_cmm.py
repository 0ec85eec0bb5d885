"""CMM: its losses from their formulas, where it starts, what it mends, and what it leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from cache.errors import UserError
from stages.heads.head import to_sphere
from stages.items import MODALITIES, Items
from stages.retrieval import rank, score
from stages.train.episode import TrainEpisode, train_episode
from stages.train.loop import prepare
from stages.train.losses import cross_entropy, triplet
from stages.train.methods import clip, cmm
from tests.stages.train import build

B, C, D, MARGIN, TAU, ALPHA = 6, 4, 5, 0.3, 0.2, 0.7
OWN = [{0}, {1}, {0, 2}, {3}, {1, 2, 3}, {2}]  # some items have several classes
CLASSES = torch.tensor([[c in own for c in range(C)] for own in OWN])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def section(**changes):
    return build.cmm_section(tau=TAU, alpha=ALPHA, margin=MARGIN, **changes)


def tensors(head) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in head.tensors().items()}


def dot(a: Tensor, b: Tensor) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def test_cross_entropy_of_the_logits_is_the_loop_over_items_and_their_classes():
    pictures, mapped, names = drawn(B, D), drawn(B, D, seed=1), drawn(C, D, seed=2)
    losses = []
    for i, own in enumerate(OWN):
        logits = [dot(pictures[i], t) / TAU + ALPHA * dot(mapped[i], t) / TAU for t in names]
        total = sum(math.exp(value) for value in logits)
        losses.append(sum(-math.log(math.exp(logits[c]) / total) for c in own) / len(own))
    found = cross_entropy(cmm.class_logits(pictures, mapped, names, section()), CLASSES)
    assert float(found) == pytest.approx(sum(losses) / B, abs=1e-12)


def loop_over_triplets(values: Tensor, names: Tensor, owners: list[set[int]], margin: float) -> float:
    losses = []
    for v, own in zip(values, owners, strict=True):
        apart = [math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(v, t, strict=True))) for t in names]
        others = [apart[c] for c in range(len(names)) if c not in own]
        losses.append(sum(max(0.0, margin + apart[y] - min(others)) for y in own) / len(own))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("margin", [0.0, MARGIN, 1.5])
def test_triplet_is_the_loop_over_items_and_their_classes(margin):
    values, names = drawn(B, D), drawn(C, D, seed=2)
    values[:3] = normalize(values[:3] + 2 * names[[0, 1, 2]], dim=-1)  # some are nearest to a class of their own
    expected = loop_over_triplets(values, names, OWN, margin)
    assert expected > 0
    assert float(triplet(values, names, CLASSES, margin)) == pytest.approx(expected, abs=1e-12)


def test_gradients_are_those_of_finite_differences():
    given = [drawn(B, D).requires_grad_(), drawn(B, D, seed=1).requires_grad_(), drawn(C, D, seed=2).requires_grad_()]
    assert torch.autograd.gradcheck(lambda v, w, t: cross_entropy(cmm.class_logits(v, w, t, section()), CLASSES), given)
    assert torch.autograd.gradcheck(lambda w, t: triplet(w, t, CLASSES, 1.5), given[1:])


def test_a_picture_on_the_name_of_its_class_has_a_gradient_that_is_a_number():
    names = drawn(C, D)
    values = names[:1].clone().requires_grad_()
    triplet(values, names, CLASSES[:1], 2.5).backward()
    assert bool(torch.isfinite(values.grad).all())


@pytest.mark.parametrize("owner", [[False] * C, [True] * C])
def test_an_item_of_no_class_or_of_every_class_has_no_triplet(owner):
    values = drawn(1, D).requires_grad_()
    loss = triplet(values, drawn(C, D, seed=2), torch.tensor([owner]), MARGIN)
    loss.backward()
    assert loss.item() == 0
    assert float(values.grad.abs().max()) == 0


def test_an_item_without_a_class_adds_nothing_to_the_triplets_of_the_others():
    values, names = drawn(B, D), drawn(C, D, seed=2)
    empty = torch.cat([CLASSES, torch.zeros(1, C, dtype=torch.bool)])
    found = triplet(torch.cat([values, drawn(1, D, seed=5)]), names, empty, MARGIN)
    assert float(found) == pytest.approx(float(triplet(values, names, CLASSES, MARGIN)), abs=1e-12)


def test_the_order_of_a_batch_changes_nothing():
    episode = build.fit_on()
    data = prepare(episode, {}, views=False)
    width = build.WIDTH
    generator = torch.Generator().manual_seed(0)
    weights = {"image": (0.1 * torch.randn(width, width, generator=generator), torch.zeros(width))}
    figures = cmm.objective(section(), cmm.prototypes(episode, {}))
    rows = torch.randperm(len(data.item), generator=generator)
    straight, turned = figures(data, weights), figures(data.take(rows), weights)
    for name, value in straight.items():
        assert float(turned[name]) == pytest.approx(float(value), abs=1e-6)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("shots", "classes"), [(2, build.CLASSES), (0, build.SOURCE)])
def test_prototypes_are_the_names_of_the_classes_that_have_rows_mapped_as_texts(shots, classes, aligned):
    episode = build.fit_on(shots, aligned)
    head = cmm.fit(episode, build.cmm_section(), 0)
    named = np.stack([build.names()[name] for name in classes])
    expected = to_sphere(named, aligned, head.align.get("text"))
    assert cmm.prototypes(episode, head.align).numpy() == pytest.approx(expected, abs=1e-6)


def test_an_untrained_head_ranks_as_clip_does():
    items = build.items()
    heads = cmm.fit(build.fit_on(), build.cmm_section(steps=0), 0), clip.fit(build.fit_on(), None, 0)
    found, expected = ([head.vectors(items, m, "target") for m in MODALITIES] for head in heads)
    for own, plain in zip(found, expected, strict=True):
        assert own.match == plain.match
        assert own.values == pytest.approx(plain.values, abs=1e-6)
    for turn in (1, -1):
        orders = [rank(score(*[v.values for v in pair[::turn]], "dot")) for pair in (found, expected)]
        assert np.array_equal(*orders)


@pytest.mark.parametrize("aligned", [True, False])
def test_texts_stay_as_they_are_bit_for_bit(aligned):
    head = cmm.fit(build.fit_on(aligned=aligned), build.cmm_section(lr=1e-2), 0)
    items = build.items(aligned)
    plain = to_sphere(items.pooled["text"], aligned, head.align.get("text"))
    assert np.array_equal(head.vectors(items, "text", "target").values[:, 0], plain)
    assert not np.allclose(
        head.vectors(items, "image", "target").values[:, 0],
        to_sphere(items.pooled["image"], aligned, head.align.get("image")),
        atol=1e-3,
    )


def test_no_shift_is_learnt():
    head = cmm.fit(build.fit_on(), build.cmm_section(lr=1e-2), 0)
    assert sorted(head.tensors()) == ["image.bias", "image.weight"]
    assert not head.tensors()["image.bias"].any()
    assert head.tensors()["image.weight"].any()


@pytest.mark.parametrize("aligned", [True, False])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(aligned):
    heads = [tensors(cmm.fit(build.fit_on(aligned=aligned), build.cmm_section(), seed)) for seed in (5, 5, 6)]
    assert heads[0] == heads[1]
    assert heads[0] != heads[2]


@pytest.mark.parametrize("change", [{"alpha": 0.3}, {"triplet": 0.0}, {"margin": 0.05}, {"tau": 0.1}])
def test_every_part_of_the_loss_moves_the_head(change):
    plain, other = (
        tensors(cmm.fit(build.fit_on(), build.cmm_section(**{"margin": 1.0, **given}), 0)) for given in ({}, change)
    )
    assert plain != other


def test_the_loss_is_the_weighted_sum_of_its_terms_and_all_are_recorded():
    history = cmm.fit(build.fit_on(), build.cmm_section(triplet=3.0), 0).history
    for step in range(4):
        found = {one.name: one.value for one in history if one.step == step}
        assert sorted(found) == ["cross_entropy", "loss", "triplet"]
        assert found["loss"] == pytest.approx(found["cross_entropy"] + 3 * found["triplet"], rel=1e-6)


def test_a_class_whose_name_has_no_vector_is_refused_where_it_has_rows():
    items = build.items()
    named = {name: vector for name, vector in build.names().items() if name != "eel"}
    poor = replace(items, names={"joint": named})
    told = r"^class 'eel': its name has no vector to judge by; rename the class, or leave cmm out of train\.methods$"
    with pytest.raises(UserError, match=told):
        cmm.fit(train_episode(build.episode(2), poor, build.ALIGN), build.cmm_section(), 0)
    cmm.fit(train_episode(build.episode(0), poor, build.ALIGN), build.cmm_section(), 0)  # eel is a target class


def apart(seed: int = 0) -> Items:
    """The 48 pairs in two modalities that a turn and a shift keep apart: each picture is its class's name turned to
    the next name, plus one shift that all pictures share, plus noise; texts lie about their names."""
    rng = np.random.default_rng(seed)
    count, each = len(build.CLASSES), build.EACH
    names = np.eye(count, build.WIDTH, dtype=np.float32)
    noise = {m: 0.1 * rng.standard_normal((count * each, build.WIDTH)) for m in MODALITIES}
    shift = 2 * np.eye(build.WIDTH)[count]  # a direction in which no name lies
    clean = {"image": np.roll(names, -1, axis=0) + 0.5 * names + shift, "text": names}
    pooled = {m: (np.repeat(clean[m], each, axis=0) + noise[m]).astype(np.float32) for m in MODALITIES}
    return replace(build.items(), pooled=pooled, names={"joint": dict(zip(build.CLASSES, names, strict=True))})


def top_1(head, items: Items, episode: TrainEpisode, alpha: float) -> float:
    """The share of the pictures of test items whose class has the highest logit."""
    plain = torch.tensor(to_sphere(items.pooled["image"], items.aligned, None))
    mapped = torch.tensor(head.vectors(items, "image", "target").values[:, 0])
    names = cmm.prototypes(episode, {})
    best = cmm.class_logits(plain, mapped, names, build.cmm_section(alpha=alpha)).argmax(1)
    told = [build.CLASSES[c] for c in best]
    tested = [i for i, name in enumerate(items.ids) if name not in set(episode.items.ids)]
    return float(np.mean([told[i] == items.labels[i][0] for i in tested]))


def test_pictures_that_point_to_the_wrong_names_are_brought_to_their_own():
    items, values = apart(), build.cmm_section(steps=200, lr=1e-2, batch=18, tau=0.2)
    episode = train_episode(build.episode(2), items, build.ALIGN)
    raw, trained = clip.fit(episode, None, 0), cmm.fit(episode, values, 0)
    assert top_1(raw, items, episode, 0.0) < 0.1
    assert top_1(trained, items, episode, values.alpha) > 0.9
    text = trained.vectors(items, "text", "target").values
    same = np.array([[a == b for b in items.labels] for a in items.labels])
    first = [
        same[np.arange(len(items)), rank(score(h.vectors(items, "image", "target").values, text, "dot"))[:, 0]].mean()
        for h in (raw, trained)
    ]
    assert first[0] < 0.1
    assert first[1] > 0.9


def test_the_gap_between_the_modalities_closes():
    items, values = apart(), build.cmm_section(steps=200, lr=1e-2, batch=18, tau=0.2)
    episode = train_episode(build.episode(2), items, build.ALIGN)
    gaps = []
    for head in (clip.fit(episode, None, 0), cmm.fit(episode, values, 0)):
        means = [head.vectors(items, m, "target").values.mean(axis=(0, 1)) for m in MODALITIES]
        gaps.append(np.linalg.norm(means[0] - means[1]))
    assert gaps[1] < 0.5 * gaps[0]
