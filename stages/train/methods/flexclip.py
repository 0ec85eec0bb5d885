"""FLEX-CLIP (arXiv 2411.17454): made-up features for the target classes stand beside the real ones, and what is learned
from both is blended into the features by a gate, so that they degrade as little as may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.heads import gated
from stages.heads.gated import Gate, GatedHead
from stages.heads.head import Head, Step
from stages.heads.linear import Residual
from stages.items import MODALITIES, Modality
from stages.train.episode import TrainEpisode, describe, fitted, space
from stages.train.generator import Generated, make_pairs
from stages.train.loop import (
    Batch,
    array_of,
    by_seed,
    descend,
    draw_batches,
    projected,
    stream,
    zeros,
)
from stages.train.losses import contrast_pairs, cross_entropy
from stages.train.params import FlexclipSection


class Blend(NamedTuple):
    """One modality's gate and projector as they train, named as in heads.Gate and heads.Residual."""

    hidden_weight: Tensor
    hidden_bias: Tensor
    weight: Tensor
    bias: Tensor
    gate_weight: Tensor
    gate_bias: Tensor

    def share(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """P(f) and g of vectors f (B, d), each (B, d)."""
        moved = projected(values, self.weight, self.bias, self.hidden_weight, self.hidden_bias)
        return moved, torch.sigmoid(torch.cat([values, moved], dim=1) @ self.gate_weight + self.gate_bias)


Blends = dict[Modality, Blend]


def fit(episode: TrainEpisode, section: FlexclipSection, seed: int) -> Head:
    """Train the generators, let them make pairs of the target classes, and train the head on these and the real ones.

    UserError where a class has a name without a vector."""
    align = space(episode)
    how = section.generator, section.generated, seed
    data, names, made, generator_curve = make_pairs(episode, align, *how, "leave flexclip out of train.methods")
    blends, curve = train_blends(with_generated(data, made), len(data.item), names, section, seed)
    about = {**describe(episode, "flexclip", gated.KIND), **fitted(episode, section), "seed": seed}
    return GatedHead(about, align, {m: as_gate(blend) for m, blend in blends.items()}, (*generator_curve, *curve))


def with_generated(data: Batch, made: Generated) -> Batch:
    """The items with the made-up pairs after them, each of them an item of its own."""
    rows, width = len(made.classes), data.classes.shape[1]
    return replace(
        data,
        pooled={m: torch.cat([data.pooled[m], made.features[m]]) for m in MODALITIES},
        classes=torch.cat([data.classes, torch.nn.functional.one_hot(made.classes, width).bool()]),
        item=torch.arange(len(data.item) + rows),
        support=torch.cat([data.support, torch.zeros(rows, dtype=torch.bool)]),
    )


def batches(data: Batch, real: int, section: FlexclipSection, seed: int) -> Iterator[Tensor]:
    """Row numbers: `batch` of the first `real` rows and, where there are made-up ones behind them, as many of these as
    make them `generated_share` of all."""
    generator = stream(seed, "made-up rows")
    made = len(data.item) - real
    wanted = round(section.batch * section.generated_share / (1 - section.generated_share)) if made else 0
    for rows in draw_batches(data.support[:real], section, by_seed(seed)):
        yield torch.cat([rows, real + torch.randint(max(made, 1), (wanted,), generator=generator)])


def start(width: int, section: FlexclipSection, generator: torch.Generator) -> Blend:
    """A projector that adds nothing yet, its hidden units of deviation 1 on unit vectors, and a gate that is equally
    open for every item, by its bias."""
    hidden = torch.randn(width, section.hidden, generator=generator).requires_grad_()
    bias = torch.full((width,), float(section.gate), requires_grad=True)
    return Blend(
        hidden, zeros(section.hidden), zeros(section.hidden, width), zeros(width), zeros(2 * width, width), bias
    )


def blended(values: Tensor, blend: Blend) -> tuple[Tensor, Tensor]:
    """h = norm(g P(f) + (1 - g) f) of unit vectors f (B, d), and the mean of g."""
    moved, share = blend.share(values)
    return normalize(share * moved + (1 - share) * values, dim=1), share.mean()


def terms(batch: Batch, blends: Blends, classifier: Tensor, section: FlexclipSection) -> dict[str, Tensor]:
    """The InfoNCE of the pairs, class-aware, the classification loss of both modalities by one classifier (C, d), and
    how open the gates are."""
    (image, open_image), (text, open_text) = (blended(batch.pooled[m], blends[m]) for m in MODALITIES)
    contrast = contrast_pairs(image @ text.T, batch.same_class, section.tau, section.positives)
    judged = [cross_entropy(values @ classifier.T / section.tau, batch.classes) for values in (image, text)]
    classification = (judged[0] + judged[1]) / 2
    return {
        "loss": contrast + section.classification * classification,
        "contrast": contrast,
        "classification": classification,
        "gate_image": open_image,
        "gate_text": open_text,
    }


def train_blends(
    data: Batch, real: int, names: Tensor, section: FlexclipSection, seed: int
) -> tuple[Blends, tuple[Step, ...]]:
    """Train gates, projectors and the classifier, which starts from the names (ours): see descend."""
    generator = stream(seed, "weights")
    blends: Blends = {m: start(names.shape[1], section, generator) for m in MODALITIES}
    classifier = names.clone().requires_grad_()
    trained = [classifier, *(part for blend in blends.values() for part in blend)]

    def figures(rows: Tensor) -> dict[str, Tensor]:
        return terms(data.take(rows), blends, classifier, section)

    return blends, descend(trained, batches(data, real, section, seed), figures, section.lr)


def as_gate(blend: Blend) -> Gate:
    """The trained tensors as a head holds them."""
    hidden_weight, hidden_bias, weight, bias, *gate = (array_of(part) for part in blend)
    return Gate(Residual(weight, bias, hidden_weight, hidden_bias), *gate)
