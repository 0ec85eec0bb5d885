"""GCRDP (arXiv 2505.13306): component views that contrast, similarity across the modalities, and relative
distances preserved between them. The views of items were made before, by the stage `mixture` (`over: tokens`); those of
classes are made here (`over: class`, ours), and L_GC then reads classes where it else reads items."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stages.heads.head import Head
from stages.heads.linear import LinearHead
from stages.items import MODALITIES, Modality
from stages.train.class_mixture import Mixed, fit_classes
from stages.train.episode import TrainEpisode, describe_linear, fitted, require_joint_views, space, without_views
from stages.train.loop import Batch, Objective, Weights, one_thread, prepare, residual, train_residuals
from stages.train.losses import (
    best_match,
    contrast_components,
    contrast_pairs,
    mixed_similarity,
    relative_distance,
)
from stages.train.params import GcrdpSection

Pair = tuple[Tensor, Tensor]  # image, text


class Components(NamedTuple):
    """What L_GC contrasts: the components of A items or classes in both modalities, before the head; alike (A, A) bool,
    whose components do not repel each other."""

    mixed: dict[Modality, Mixed]
    alike: Tensor


Read = Callable[[Batch, Weights], Components]


def fit(episode: TrainEpisode, section: GcrdpSection, seed: int) -> Head:
    """Train norm(h(x)) of both modalities on L_GC^v + L_GC^t + alpha L_reg + lambda L_RDP, h a residual map."""
    of_items = section.over == "tokens"
    if of_items:
        require_joint_views(episode, "gcrdp")
    else:
        episode = without_views(episode)
    align = space(episode)
    data = prepare(episode, align, views=of_items)
    read = read_items if of_items else class_reader(data, section)
    weights, curve = train_residuals(data, section, objective(section, read), seed)
    about = {**describe_linear(episode, "gcrdp", section.retrieve), **fitted(episode, section), "seed": seed}
    return LinearHead(about, align, weights, curve)


def read_items(batch: Batch, weights: Weights) -> Components:  # noqa: ARG001
    """The components of a batch's items, as the stage `mixture` found them."""
    mixed = {m: Mixed(batch.views[m], batch.weights[m], batch.live[m]) for m in MODALITIES}
    return Components(mixed, batch.same_class)


def class_reader(data: Batch, section: GcrdpSection) -> Read:
    """The components of all classes of an episode, whatever the batch: fitted to its rows once, or with `space: head`
    at every step to what the head then makes of them, without gradient (ours)."""

    def components(seen: dict[Modality, Tensor]) -> Components:
        mixed = {m: fit_classes(data.pooled[m], seen[m], data.classes, section.class_mixture) for m in MODALITIES}
        return Components(mixed, torch.eye(data.classes.shape[1], dtype=torch.bool))

    def refit(batch: Batch, weights: Weights) -> Components:  # noqa: ARG001
        with torch.no_grad():
            return components({m: residual(data.pooled[m], *weights[m]) for m in MODALITIES})

    if section.space == "head":
        return refit
    with one_thread():
        fixed = components(data.pooled)
    return lambda *_: fixed


def objective(section: GcrdpSection, read: Read) -> Objective:
    """The weighted sum of the terms; a term of weight 0 is recorded and takes no part in the gradient."""
    parts = {
        "contrast_image": section.contrast,
        "contrast_text": section.contrast,
        "regularisation": section.alpha,
        "distance": section.lambda_,
    }

    def figures(batch: Batch, weights: Weights) -> dict[str, Tensor]:
        components = read(batch, weights)
        found = terms(batch, components, weights, section)
        loss = sum((weight * found[name] for name, weight in parts.items() if weight), torch.zeros(()))
        return {"loss": loss, **found, **mixture_weights(components)}

    return figures


def terms(batch: Batch, components: Components, weights: Weights, section: GcrdpSection) -> dict[str, Tensor]:
    """Every loss of DESIGN section 6 before its weight, the density of the RDP mask and the mean |D_v - D_t|."""
    pooled = _both(batch.pooled, weights)
    mixed, alike = components
    views = _both({m: own.views for m, own in mixed.items()}, weights)
    contrast = [
        contrast_components(z, mixed[m].live, alike, section.tau, section.positives)
        for m, z in zip(MODALITIES, views, strict=True)
    ]
    near = similarity(pooled, views, mixed, section)
    distance = relative_distance(*pooled, batch.distinct, section.theta, section.theta_kind)
    return {
        "contrast_image": contrast[0],
        "contrast_text": contrast[1],
        "regularisation": contrast_pairs(near, batch.same_class, section.tau, "out"),
        "distance": distance.loss,
        "mask_density": distance.density,
        "drift": distance.drift,
    }


def similarity(pooled: Pair, views: Pair, mixed: dict[Modality, Mixed], section: GcrdpSection) -> Tensor:
    """Image-text similarity (B, B), the same that the head is retrieved by; `pooled` reads no views."""
    if section.retrieve == "mix":
        return mixed_similarity(pooled, views)
    if section.retrieve == "max":
        return best_match(*views)
    if section.retrieve == "mean":
        image, text = (_mean(z, mixed[m].weights) for m, z in zip(MODALITIES, views, strict=True))
        return image @ text.T
    return pooled[0] @ pooled[1].T


def mixture_weights(components: Components) -> dict[str, Tensor]:
    """The mean over items or classes of the heaviest component's weight, of the next one's, and so on, by modality."""
    means = {m: own.weights.sort(dim=1, descending=True).values.mean(dim=0) for m, own in components.mixed.items()}
    return {f"weight_{m}_{k}": value for m, mean in means.items() for k, value in enumerate(mean, 1)}


def _both(values: dict[Modality, Tensor], weights: Weights) -> Pair:
    image, text = (residual(values[m], *weights[m]) for m in MODALITIES)
    return image, text


def _mean(views: Tensor, weights: Tensor) -> Tensor:
    return torch.nn.functional.normalize(torch.einsum("bk,bkd->bd", weights, views), dim=-1)
