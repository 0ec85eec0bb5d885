"""GCRDP (arXiv 2505.13306): component views that contrast, similarity across the modalities, and relative
distances preserved between them. The views were made before, by the stage `mixture` (`over: tokens`)."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.heads.head import Head
from stages.heads.linear import LinearHead
from stages.items import MODALITIES, Modality
from stages.train.episode import TrainEpisode, describe_linear, fitted, require_joint_views, space
from stages.train.loop import Batch, Objective, Weights, prepare, residual, train_residuals
from stages.train.losses import (
    best_match,
    contrast_components,
    contrast_pairs,
    mixed_similarity,
    relative_distance,
)
from stages.train.params import GcrdpSection

Pair = tuple[Tensor, Tensor]  # image, text


def fit(episode: TrainEpisode, section: GcrdpSection, seed: int) -> Head:
    """Train norm(x + xW + b) of both modalities on L_GC^v + L_GC^t + alpha L_reg + lambda L_RDP."""
    require_joint_views(episode, "gcrdp")
    align = space(episode)
    data = prepare(episode, align, views=True)
    weights, curve = train_residuals(data, section, objective(section), seed)
    about = {**describe_linear(episode, "gcrdp", section.retrieve), **fitted(episode, section), "seed": seed}
    return LinearHead(about, align, weights, curve)


def objective(section: GcrdpSection) -> Objective:
    """The weighted sum of the terms; a term of weight 0 is recorded and takes no part in the gradient."""
    parts = {
        "contrast_image": section.contrast,
        "contrast_text": section.contrast,
        "regularisation": section.alpha,
        "distance": section.lambda_,
    }

    def figures(batch: Batch, weights: Weights) -> dict[str, Tensor]:
        found = terms(batch, weights, section)
        loss = sum((weight * found[name] for name, weight in parts.items() if weight), torch.zeros(()))
        return {"loss": loss, **found, **mixture_weights(batch)}

    return figures


def terms(batch: Batch, weights: Weights, section: GcrdpSection) -> dict[str, Tensor]:
    """Every loss of DESIGN section 6 before its weight, the density of the RDP mask and the mean |D_v - D_t|."""
    pooled = _both(batch.pooled, weights)
    views = _both(batch.views, weights)
    same = batch.same_class
    contrast = [
        contrast_components(z, batch.live[m], same, section.tau, section.positives)
        for m, z in zip(MODALITIES, views, strict=True)
    ]
    near = similarity(pooled, views, batch, section)
    distance = relative_distance(*pooled, batch.distinct, section.theta, section.theta_kind)
    return {
        "contrast_image": contrast[0],
        "contrast_text": contrast[1],
        "regularisation": contrast_pairs(near, same, section.tau, "out"),
        "distance": distance.loss,
        "mask_density": distance.density,
        "drift": distance.drift,
    }


def similarity(pooled: Pair, views: Pair, batch: Batch, section: GcrdpSection) -> Tensor:
    """Image-text similarity (B, B), the same that the head is retrieved by."""
    if section.retrieve == "mix":
        return mixed_similarity(pooled, views)
    if section.retrieve == "max":
        return best_match(*views)
    if section.retrieve == "mean":
        image, text = (_mean(z, batch.weights[m]) for m, z in zip(MODALITIES, views, strict=True))
        return image @ text.T
    return pooled[0] @ pooled[1].T


def mixture_weights(batch: Batch) -> dict[str, Tensor]:
    """The mean over the batch of the heaviest component's weight, of the next one's, and so on, by modality."""
    means = {m: values.sort(dim=1, descending=True).values.mean(dim=0) for m, values in batch.weights.items()}
    return {f"weight_{m}_{k}": value for m, mean in means.items() for k, value in enumerate(mean, 1)}


def _both(values: dict[Modality, Tensor], weights: Weights) -> Pair:
    image, text = (residual(values[m], *weights[m]) for m in MODALITIES)
    return image, text


def _mean(views: Tensor, weights: Tensor) -> Tensor:
    return torch.nn.functional.normalize(torch.einsum("bk,bkd->bd", weights, views), dim=-1)
