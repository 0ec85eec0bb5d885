"""GCRDP (arXiv 2505.13306): component views that contrast, similarity across the modalities, and relative
distances preserved between them. The views of items were made before, by the stage `mixture` (`over: tokens`), or are
gathered here of tokens that went through the head (`space: head`). Those of classes are made here (`over: class`,
ours), and L_GC then reads classes where it else reads items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.heads.head import Affine, Head
from stages.heads.linear import LinearHead
from stages.heads.per_token import parted, require_tokens
from stages.items import MODALITIES, Items, Modality
from stages.threads import one_blas_thread
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
    """What L_GC contrasts: the components of A items or classes in both modalities, after the head; alike (A, A) bool,
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
    per_token = of_items and section.space == "head"
    read = _reader(episode, align, data, section)
    weights, curve = train_residuals(data, section, objective(section, read), seed)
    about = {**describe_linear(episode, "gcrdp", section.retrieve), **fitted(episode, section), "seed": seed}
    return LinearHead({**about, **({"per_token": True} if per_token else {})}, align, weights, curve)


def _reader(episode: TrainEpisode, align: Mapping[Modality, Affine], data: Batch, section: GcrdpSection) -> Read:
    if section.over == "class":
        return class_reader(data, section)
    return token_reader(episode.items, align) if section.space == "head" else read_items


def read_items(batch: Batch, weights: Weights) -> Components:
    """The components of a batch's items: the views that the stage `mixture` made, each mapped as a whole."""
    views = {m: residual(batch.views[m], *weights[m]) for m in MODALITIES}
    return _of_items(batch, views)


def token_reader(items: Items, align: Mapping[Modality, Affine]) -> Read:
    """The components of a batch's items, of whose tokens each went through the head: norm(sum_n gamma_nk |x_n|
    norm(h(x_n / |x_n|))). Whose a token is stays as the stage `mixture` found it (ours: decision 13).

    items: those of the episode, by the numbers of Batch.item; their tokens are read a batch at a time. UsageError where
    there are none to be mapped."""
    require_tokens(items)

    def read(batch: Batch, weights: Weights) -> Components:
        with one_blas_thread():
            found = {m: parted(items, m, batch.item.numpy(), align.get(m)) for m in MODALITIES}
        tokens = {m: (torch.from_numpy(own.directions), torch.from_numpy(own.shares)) for m, own in found.items()}
        gathered = {m: shares.mT @ residual(x, *weights[m]) for m, (x, shares) in tokens.items()}
        return _of_items(batch, {m: normalize(values, dim=-1) for m, values in gathered.items()})

    return read


def _of_items(batch: Batch, views: dict[Modality, Tensor]) -> Components:
    mixed = {m: Mixed(views[m], batch.weights[m], batch.live[m]) for m in MODALITIES}
    return Components(mixed, batch.same_class)


def class_reader(data: Batch, section: GcrdpSection) -> Read:
    """The components of all classes of an episode, whatever the batch: fitted to its rows once, or with `space: head`
    at every step to what the head then makes of them, without gradient (ours)."""

    def found(seen: dict[Modality, Tensor]) -> dict[Modality, Mixed]:
        return {m: fit_classes(data.pooled[m], seen[m], data.classes, section.class_mixture) for m in MODALITIES}

    def refit(weights: Weights) -> dict[Modality, Mixed]:
        with torch.no_grad():
            return found({m: residual(data.pooled[m], *weights[m]) for m in MODALITIES})

    with one_thread():
        fixed = found(data.pooled) if section.space == "cached" else None
    alike = torch.eye(data.classes.shape[1], dtype=torch.bool)

    def read(batch: Batch, weights: Weights) -> Components:  # noqa: ARG001
        before = fixed or refit(weights)
        return Components({m: own._replace(views=residual(own.views, *weights[m])) for m, own in before.items()}, alike)

    return read


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
    image, text = (residual(batch.pooled[m], *weights[m]) for m in MODALITIES)
    mixed, alike = components
    pooled, views = (image, text), (mixed["image"].views, mixed["text"].views)
    contrast = [
        contrast_components(z, mixed[m].live, alike, section.tau, section.positives)
        for m, z in zip(MODALITIES, views, strict=True)
    ]
    near = similarity(pooled, views, mixed, section)
    distance = relative_distance(image, text, batch.distinct, section.theta, section.theta_kind)
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


def _mean(views: Tensor, weights: Tensor) -> Tensor:
    return normalize(torch.einsum("bk,bkd->bd", weights, views), dim=-1)
