"""CMM (arXiv 2412.20110): a linear map brings pictures to the names of their classes; texts stay as they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from stages.heads.head import Affine, Head
from stages.heads.linear import LinearHead
from stages.items import Modality
from stages.train.episode import TrainEpisode, describe_linear, fitted, space
from stages.train.loop import Batch, Objective, Weights, classes_of, mapped_names, prepare, residual, train_from, zeros
from stages.train.losses import cross_entropy, triplet
from stages.train.params import CmmLossSection, CmmSection


def fit(episode: TrainEpisode, section: CmmSection, seed: int) -> Head:
    """Train v' = norm(v + vW) of the pictures on cross-entropy and triplet loss against the names of their classes.

    The head ranks by v' and texts as they are. UserError where a class of the rows has a name without a vector."""
    align = space(episode)
    data = prepare(episode, align, views=False)
    names = prototypes(episode, align)
    width = names.shape[1]
    start: Weights = {"image": (zeros(width, width), torch.zeros(width))}  # no bias: nothing to train in it
    weights, curve = train_from(data, start, section, objective(section, names), seed)
    about = {**describe_linear(episode, "cmm", "pooled"), **fitted(episode, section), "seed": seed}
    return LinearHead(about, align, weights, curve)


def prototypes(episode: TrainEpisode, align: Mapping[Modality, Affine]) -> Tensor:
    """The names of the classes that the rows of an episode have, (C, d) in their sorted order: see mapped_names."""
    return mapped_names(episode, classes_of(episode.items.labels), align, "leave cmm out of train.methods")


def class_logits(pictures: Tensor, mapped: Tensor, names: Tensor, section: CmmLossSection) -> Tensor:
    """The classifier: v T / tau + a v' T / tau, (B, C), of pictures v (B, d), mapped v' (B, d) and names T (C, d)."""
    return (pictures + section.alpha * mapped) @ names.T / section.tau


def objective(section: CmmLossSection, names: Tensor) -> Objective:
    """Cross-entropy of the logits and, by its weight, the triplet loss of the mapped pictures."""

    def figures(batch: Batch, weights: Weights) -> dict[str, Tensor]:
        pictures = batch.pooled["image"]
        mapped = residual(pictures, *weights["image"])
        entropy = cross_entropy(class_logits(pictures, mapped, names, section), batch.classes)
        apart = triplet(mapped, names, batch.classes, section.margin)
        return {"loss": entropy + section.triplet * apart, "cross_entropy": entropy, "triplet": apart}

    return figures
