"""FLEX-CLIP's stage A (arXiv 2411.17454): a conditional VAE-GAN for each modality, which makes up features for classes
of which few items or none are known. Unit vectors in and out; a class is told by its name as a text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, normalize

from stages.heads.head import Affine, Step
from stages.items import MODALITIES, Array, Modality
from stages.train.episode import TrainEpisode, members_of
from stages.train.loop import (
    Batch,
    descend_once,
    draw_batches,
    mapped_names,
    one_thread,
    prepare,
    require_finite_weights,
    stream,
)
from stages.train.params import GeneratorSection

SLOPE = 0.2  # of the leaky ReLU below 0
BETAS = (0.5, 0.9)  # of Adam, as is usual where a gradient penalty holds the critic (Gulrajani et al. 2017)


class Layers(NamedTuple):
    """x -> leaky_relu(x V + c) U + e: inner V (D, H), inner_bias (H,), outer U (H, d), outer_bias (d,)."""

    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor

    def __call__(self, *parts: Tensor) -> Tensor:
        """Map the rows (B, D) that the parts make side by side to (B, d)."""
        return leaky_relu(self.hidden(*parts), SLOPE) @ self.outer + self.outer_bias

    def hidden(self, *parts: Tensor) -> Tensor:
        """(B, H), before the leaky ReLU."""
        return torch.cat(parts, dim=1) @ self.inner + self.inner_bias


class VaeGan(NamedTuple):
    """E([f; a]) -> (mean, logvar), G([z; a]) -> f, which is the VAE's decoder too, and D([f; a]) -> a score."""

    encoder: Layers
    generator: Layers
    critic: Layers


class Generated(NamedTuple):
    """Made-up pairs of n items: features[m] (n, d) unit vectors, classes (n,) int64 the row of each one's name."""

    features: dict[Modality, Tensor]
    classes: Tensor

    def by_class(self) -> dict[Modality, Array]:
        """The same features class by class, (C, n / C, d) float32."""
        count = int(self.classes.max()) + 1
        return {m: values.numpy().reshape(count, -1, values.shape[1]) for m, values in self.features.items()}


class Made(NamedTuple):
    """What a method learns from: an episode's items with classes (N, C), target classes first, also those that no item
    is of; the names of these classes (C, d) as unit vectors; made-up pairs of the target classes; training curves."""

    data: Batch
    names: Tensor
    pairs: Generated
    curve: tuple[Step, ...]


@dataclass(frozen=True)
class Known:
    """What one modality's networks learn from: features f and conditions a (N, d), unit vectors; support (N,) bool."""

    features: Tensor
    conditions: Tensor
    support: Tensor


def layers(sizes: tuple[int, int, int], lengths: tuple[float, float], generator: torch.Generator) -> Layers:
    """Two layers of D, H and d units, drawn so that inputs of the first length make hidden units of deviation 1, and
    outputs are of about the second length; float32, to be trained."""
    inputs, hidden, outputs = sizes
    inner = torch.randn(inputs, hidden, generator=generator) / lengths[0]
    outer = torch.randn(hidden, outputs, generator=generator) * lengths[1] / math.sqrt(hidden * outputs)
    parts = inner, torch.zeros(hidden), outer, torch.zeros(outputs)
    return Layers(*(part.requires_grad_() for part in parts))


def start(width: int, hidden: int, latent: int, generator: torch.Generator) -> VaeGan:
    """Untrained networks for vectors of d = width, as wide conditions, and z of `latent` dimensions."""
    pair = math.sqrt(2)  # the length of two unit vectors side by side
    return VaeGan(
        encoder=layers((2 * width, hidden, 2 * latent), (pair, 1.0), generator),
        generator=layers((latent + width, hidden, width), (math.sqrt(latent + 1), 1.0), generator),
        critic=layers((2 * width, hidden, 1), (pair, 1.0), generator),
    )


def decode(generator: Layers, latents: Tensor, conditions: Tensor) -> Tensor:
    """G(z, a) = norm(a + layers([z; a])), (B, d). (ours) It starts from the name, which lies in the same space and so
    near its class already; a few classes cannot teach it that of classes it never meets."""
    return normalize(conditions + generator(latents, conditions), dim=1)


def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, I)) in nats, averaged over the rows (B, latent)."""
    return (mean.square() + logvar.exp() - 1 - logvar).sum(dim=1).mean() / 2


def reconstruction(real: Tensor, found: Tensor) -> Tensor:
    """|f - G(z, a)|^2, averaged over the rows (B, d)."""
    return (real - found).square().sum(dim=1).mean()


def gradient_penalty(critic: Layers, between: Tensor, conditions: Tensor) -> Tensor:
    """(|dD/df| - 1)^2 at points (B, d) between real and made-up features, averaged (Gulrajani et al. 2017).

    The gradient of two layers is (slope * u) V^T; written out, it needs no second pass through the graph."""
    above = (critic.hidden(between, conditions) > 0).to(between.dtype)
    slopes = (SLOPE + (1 - SLOPE) * above) * critic.outer[:, 0]
    gradient = slopes @ critic.inner[: between.shape[1]].T
    length: Tensor = gradient.norm(dim=1)
    return (length - 1).square().mean()


def critic_terms(nets: VaeGan, real: Tensor, conditions: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """`gap`, the mean score of real less that of made-up features, and `penalty`, at one random point between each."""
    with torch.no_grad():
        found = decode(nets.generator, _noise(nets, len(real), generator), conditions)
    share = torch.rand(len(real), 1, generator=generator)
    gap = nets.critic(real, conditions).mean() - nets.critic(found, conditions).mean()
    return {"gap": gap, "penalty": gradient_penalty(nets.critic, torch.lerp(found, real, share), conditions)}


def generator_terms(nets: VaeGan, real: Tensor, conditions: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """`divergence` and `reconstruction` of the VAE, and `doubt`, the critic's mean score of features made from noise
    with the sign turned."""
    mean, logvar = nets.encoder(real, conditions).chunk(2, dim=1)
    latents = mean + (logvar / 2).exp() * torch.randn(mean.shape, generator=generator)
    made = decode(nets.generator, _noise(nets, len(real), generator), conditions)
    return {
        "divergence": divergence(mean, logvar),
        "reconstruction": reconstruction(real, decode(nets.generator, latents, conditions)),
        "doubt": -nets.critic(made, conditions).mean(),
    }


def train_generator(
    known: Known, section: GeneratorSection, seed: int, modality: Modality
) -> tuple[VaeGan, list[dict[str, float]]]:
    """Train one modality's networks, `critic_steps` of the critic before each step of encoder and generator; returns
    them and the figures of every step. One thread, so that the numbers do not depend on how many cores there are."""
    drawn = {what: stream(seed, "generator", modality, what) for what in ("weights", "batches", "noise")}
    nets = start(known.features.shape[1], section.hidden, section.latent, drawn["weights"])
    makers, judges = [*nets.encoder, *nets.generator], list(nets.critic)
    adams = [torch.optim.Adam(part, lr=section.lr, betas=BETAS) for part in (makers, judges)]
    count = section.steps * section.critic_steps
    batches = draw_batches(known.support, section.model_copy(update={"steps": count}), drawn["batches"])
    curve: list[dict[str, float]] = []
    with one_thread():
        for step in range(section.steps):
            for rows in islice(batches, section.critic_steps):
                given = known.features[rows], known.conditions[rows]
                judged = critic_terms(nets, *given, drawn["noise"])
                descend_once(adams[1], section.penalty * judged["penalty"] - judged["gap"], step)
            made = generator_terms(nets, *given, drawn["noise"])
            descend_once(adams[0], generator_loss(made, section, known.features.shape[1]), step)
            curve.append({name: float(value.detach()) for name, value in {**judged, **made}.items()})
    require_finite_weights([*makers, *judges])
    return nets, curve


def generator_loss(terms: Mapping[str, Tensor], section: GeneratorSection, width: int) -> Tensor:
    """The VAE's loss and `adversarial` times the doubt. (ours) A feature's d dimensions count as Gaussians of variance
    1/d about the decoder's, and all is in units of d/2 nats, so that the two weigh alike in any width."""
    vae = terms["reconstruction"] + 2 / width * terms["divergence"]
    return vae + section.adversarial * terms["doubt"]


def train_generators(
    data: Batch, conditions: Tensor, section: GeneratorSection, seed: int
) -> tuple[dict[Modality, VaeGan], tuple[Step, ...]]:
    """The networks of both modalities, trained on an episode's items and the names (N, d) of their classes, and the
    curves, `generator_<modality>_<figure>`."""
    nets: dict[Modality, VaeGan] = {}
    curve: list[Step] = []
    for m in MODALITIES:
        nets[m], figures = train_generator(Known(data.pooled[m], conditions, data.support), section, seed, m)
        for step, own in enumerate(figures):
            curve += [Step(step, f"generator_{m}_{name}", value) for name, value in own.items()]
    return nets, tuple(curve)


def generate(nets: Mapping[Modality, VaeGan], names: Tensor, count: int, seed: int) -> Generated:
    """`count` made-up pairs for each class: names (C, d) unit vectors; n = C * count, classes one after the other.

    A pair shares its class and nothing else: each modality has its own noise. One thread; carries no gradient."""
    classes = torch.arange(len(names)).repeat_interleave(count)
    with torch.no_grad(), one_thread():
        noise = {m: _noise(own, len(classes), stream(seed, "made-up pairs", m)) for m, own in nets.items()}
        features = {m: decode(own.generator, noise[m], names[classes]) for m, own in nets.items()}
    return Generated(features, classes)


def make_pairs(
    episode: TrainEpisode,
    align: dict[Modality, Affine],
    section: GeneratorSection,
    count: int,
    seed: int,
    otherwise: str,
) -> Made:
    """Train the networks of both modalities on an episode's rows, in the space that `align` maps to, and let them make
    `count` pairs of each target class. UserError where a class has a name without a vector (see mapped_names)."""
    classes = [*episode.target, *episode.source]
    names = mapped_names(episode, classes, align, otherwise)
    members = torch.tensor(members_of(episode.items.labels, classes))
    data = replace(prepare(episode, align, views=False), classes=members)
    with one_thread():
        named = conditions(members, names)
    nets, curve = train_generators(data, named, section, seed)
    return Made(data, names, generate(nets, names[: len(episode.target)], count, seed), curve)


def conditions(classes: Tensor, names: Tensor) -> Tensor:
    """What an item's features are made under, (N, d): its class's name, (ours) of several the norm of their sum."""
    return normalize(classes.float() @ names, dim=1)


def _noise(nets: VaeGan, rows: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, nets.encoder.outer.shape[1] // 2, generator=generator)
