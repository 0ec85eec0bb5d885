from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from cache.errors import UserError
from stages.items import MODALITIES, unit
from stages.train import generator as stage
from stages.train.generator import Known, Layers, VaeGan
from stages.train.loop import Batch
from tests.stages.train import build

WIDTH, CLASSES, EACH = 8, 3, 40


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def critic(hidden: int = 5) -> Layers:
    parts = some(2 * WIDTH, hidden), some(hidden, seed=1), some(hidden, 1, seed=2), some(1, seed=3)
    return Layers(*(part.requires_grad_() for part in parts))


def toy(seed: int = 0) -> Known:
    """Three classes, each a tight cloud away from its name; the last class has supports."""
    names = normalize(torch.eye(WIDTH)[:CLASSES], dim=1)
    away = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(CLASSES * EACH, WIDTH, generator=torch.Generator().manual_seed(seed))
    classes = torch.arange(CLASSES).repeat_interleave(EACH)
    features = normalize(2 * names[classes] + away + 0.3 * noise, dim=1)
    return Known(features, names[classes], classes == CLASSES - 1)


def section(**changes):
    return build.generator_section(**{"hidden": 16, "latent": 4, "batch": 32, "lr": 3e-3, "steps": 60, **changes})


def trained(**changes) -> tuple[VaeGan, list[dict[str, float]]]:
    return stage.train_generator(toy(), section(**changes), 0, "image")


def made(nets: VaeGan, known: Known, seed: int = 1) -> Tensor:
    """A feature for every item, of its class."""
    noise = torch.randn(len(known.features), 4, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return stage.decode(nets.generator, noise, known.conditions)


def discrepancy(one: Tensor, other: Tensor) -> float:
    """The squared MMD of two samples under a Gaussian kernel of width 1."""

    def mean(x: Tensor, y: Tensor) -> float:
        return float(torch.exp(-torch.cdist(x, y).square() / 2).mean())

    return mean(one, one) + mean(other, other) - 2 * mean(one, other)


def test_the_divergence_is_that_of_two_gaussians():
    mean, logvar = some(6, 4), some(6, 4, seed=1)
    closed = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (logvar / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    assert float(stage.divergence(mean, logvar)) == pytest.approx(float(closed.sum(1).mean()), rel=1e-12)
    assert float(stage.divergence(0 * mean, 0 * logvar)) == 0


def test_the_reconstruction_is_the_loop_over_rows_and_dimensions():
    one, other = some(6, WIDTH).tolist(), some(6, WIDTH, seed=1).tolist()
    expected = sum((a - b) ** 2 for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)) / 6
    assert float(stage.reconstruction(torch.tensor(one), torch.tensor(other))) == pytest.approx(expected, rel=1e-6)


def test_the_penalty_is_that_of_the_gradient_that_autograd_finds():
    own, conditions = critic(), some(7, WIDTH, seed=5)
    points = some(7, WIDTH, seed=4).requires_grad_()
    (slope,) = torch.autograd.grad(own(points, conditions).sum(), points, create_graph=True)
    expected = sum((math.sqrt(float(row @ row)) - 1) ** 2 for row in slope.detach()) / 7
    found = stage.gradient_penalty(own, points, conditions)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12)
    learned = [own.inner, own.outer]
    autograd = torch.autograd.grad((slope.norm(dim=1) - 1).square().mean(), learned)
    for one, other in zip(torch.autograd.grad(found, learned), autograd, strict=True):
        assert one.numpy() == pytest.approx(other.numpy(), rel=1e-9, abs=1e-12)


def test_the_penalty_is_0_for_a_critic_of_slope_1():
    direction = normalize(some(WIDTH, 1), dim=0)
    flat = Layers(torch.cat([direction, 0 * direction]), some(1).abs() + 9, torch.ones(1, 1).double(), some(1))
    assert float(stage.gradient_penalty(flat, normalize(some(7, WIDTH), dim=1), some(7, WIDTH))) == pytest.approx(0)


@pytest.mark.parametrize("name", ["divergence", "reconstruction", "decode", "penalty"])
def test_gradients_are_those_of_the_formulas(name):
    own, given = critic(), (some(3, WIDTH), some(3, WIDTH, seed=1))
    makes = Layers(some(4 + WIDTH, 5), some(5, seed=1), some(5, WIDTH, seed=2), some(WIDTH, seed=3))
    formulas = {
        "divergence": (stage.divergence, given),
        "reconstruction": (stage.reconstruction, given),
        "decode": (lambda z, *parts: stage.decode(Layers(*parts), z, given[1]), (some(3, 4), *makes)),
        "penalty": (lambda *parts: stage.gradient_penalty(Layers(*parts), *given), tuple(own)),
    }
    formula, inputs = formulas[name]
    assert torch.autograd.gradcheck(formula, tuple(part.detach().requires_grad_() for part in inputs))


def test_made_up_features_are_unit_vectors_and_start_from_the_name():
    nets, known = trained(steps=0)[0], toy()
    assert made(nets, known).norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    silent = Layers(nets.generator.inner, nets.generator.inner_bias, 0 * nets.generator.outer, torch.zeros(WIDTH))
    assert torch.allclose(stage.decode(silent, torch.zeros(len(known.features), 4), known.conditions), known.conditions)


def test_a_generator_loss_has_its_three_terms():
    terms = {"divergence": torch.tensor(3.0), "reconstruction": torch.tensor(5.0), "doubt": torch.tensor(7.0)}
    assert float(stage.generator_loss(terms, section(adversarial=0.5), 12)) == pytest.approx(5 + 2 / 12 * 3 + 0.5 * 7)


def test_a_critic_learns_to_tell_real_features_from_noise():
    known, adam_of = toy(), section(lr=1e-2)
    nets = stage.start(WIDTH, 16, 4, torch.Generator().manual_seed(0))
    adam = torch.optim.Adam(list(nets.critic), lr=adam_of.lr)
    draws = torch.Generator().manual_seed(0)
    for _ in range(100):  # the generator stays as it was drawn
        found = stage.critic_terms(nets, known.features, known.conditions, draws)
        adam.zero_grad()
        (10 * found["penalty"] - found["gap"]).backward()
        adam.step()
    fresh = toy(seed=9)
    with torch.no_grad():
        real, noise = (nets.critic(x, fresh.conditions)[:, 0] for x in (fresh.features, made(nets, fresh)))
    assert float((real[:, None] > noise[None, :]).double().mean()) > 0.9
    assert float(found["penalty"]) < 0.1  # and does so with slopes near 1


def test_a_trained_generator_comes_nearer_to_the_real_features_of_every_class():
    fresh, untrained, nets = toy(seed=9), trained(steps=0)[0], trained()[0]
    before, after = (discrepancy(made(net, fresh), fresh.features) for net in (untrained, nets))
    assert after < 0.3 * before
    centres = normalize(fresh.features.view(CLASSES, EACH, WIDTH).mean(1), dim=1)
    nearest = (made(nets, fresh) @ centres.T).argmax(1).view(CLASSES, EACH)
    assert float((nearest == torch.arange(CLASSES)[:, None]).double().mean()) > 0.9


def test_made_up_features_are_not_one_point_a_class():
    nets, known = trained()[0], toy()
    spread = made(nets, known).view(CLASSES, EACH, WIDTH).std(1).mean()
    real = known.features.view(CLASSES, EACH, WIDTH).std(1).mean()
    assert 0.3 * real < spread < 2 * real


def test_the_reconstruction_falls():
    curve = [figures["reconstruction"] for figures in trained()[1]]
    assert len(curve) == 60
    assert np.mean(curve[-10:]) < 0.5 * np.mean(curve[:10])


@pytest.mark.parametrize(
    "change", [{"penalty": 1.0}, {"adversarial": 0.0}, {"critic_steps": 1}, {"support_share": 0.1}]
)
def test_every_value_moves_the_generator(change):
    usual, other = (trained(**{"steps": 3, **own})[0].generator.outer for own in ({}, change))
    assert not torch.equal(usual, other)


def pair() -> tuple[Batch, Tensor]:
    known = toy()
    classes = torch.eye(CLASSES).bool().repeat_interleave(EACH, dim=0)
    pooled = {m: toy(seed).features for seed, m in enumerate(MODALITIES)}
    return Batch(pooled, {}, {}, {}, classes, torch.arange(len(classes)), known.support), known.conditions


def test_generated_pairs_say_their_class_and_both_modalities():
    nets, curve = stage.train_generators(*pair(), section(steps=2), 0)
    names = torch.eye(WIDTH)[3:5]
    found = stage.generate(nets, names, 6, 0)
    assert found.classes.tolist() == [0] * 6 + [1] * 6
    for m in MODALITIES:
        assert found.features[m].shape == (12, WIDTH)
        assert not found.features[m].requires_grad
        assert found.features[m].norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    assert not torch.equal(found.features["image"], found.features["text"])
    figures = ("gap", "penalty", "divergence", "reconstruction", "doubt")
    assert [step.name for step in curve if step.step == 0] == [
        f"generator_{m}_{name}" for m in MODALITIES for name in figures
    ]


def test_the_same_seed_generates_the_same_bits_and_another_does_not():
    def bits(seed: int, own: int) -> bytes:
        nets, _ = stage.train_generators(*pair(), section(steps=2), seed)
        return stage.generate(nets, torch.eye(WIDTH)[3:5], 6, own).features["text"].numpy().tobytes()

    assert bits(0, 0) == bits(0, 0)
    assert bits(0, 0) != bits(1, 0)
    assert bits(0, 0) != bits(0, 1)


def test_networks_that_blow_up_in_their_last_step_are_refused():
    with pytest.raises(UserError, match=r"^train: the weights are no usable numbers after the last step; lower lr"):
        trained(steps=1, critic_steps=1, lr=1e17)


def test_an_item_of_two_classes_is_made_under_both_names():
    classes = torch.tensor([[True, True, False], [False, False, True]])
    expected = [[math.sqrt(0.5), math.sqrt(0.5), 0], [0, 0, 1]]
    assert stage.conditions(classes, torch.eye(3)).numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_names_are_those_of_all_classes_target_classes_first():
    made = stage.make_pairs(build.fit_on(), {}, section(steps=0), 1, 0, "give up")
    expected = unit(np.stack([build.names()[name] for name in (*build.TARGET, *build.SOURCE)]))
    assert made.names.numpy() == pytest.approx(expected, abs=1e-6)
    assert [own.tolist() for own in made.data.classes] == [
        [name in own for name in (*build.TARGET, *build.SOURCE)] for own in build.fit_on().items.labels
    ]
