"""The base that GCRDP is measured against: a residual head on pooled vectors, trained by InfoNCE."""

from __future__ import annotations

from torch import Tensor

from stages.heads.head import Head
from stages.heads.linear import LinearHead
from stages.items import MODALITIES
from stages.train.episode import TrainEpisode, describe_linear, fitted, space
from stages.train.loop import Batch, Objective, Weights, prepare, residual, train_residuals
from stages.train.losses import contrast_pairs
from stages.train.params import GapSection


def fit(episode: TrainEpisode, section: GapSection, seed: int) -> Head:
    """Train norm(h(x)) of both modalities, h a residual map, on image-text pairs with class-aware positives."""
    align = space(episode)
    data = prepare(episode, align, views=False)
    weights, curve = train_residuals(data, section, objective(section), seed)
    about = {**describe_linear(episode, "gap", "pooled"), **fitted(episode, section), "seed": seed}
    return LinearHead(about, align, weights, curve)


def objective(section: GapSection) -> Objective:
    """InfoNCE of the pooled vectors, both directions."""

    def figures(batch: Batch, weights: Weights) -> dict[str, Tensor]:
        image, text = (residual(batch.pooled[m], *weights[m]) for m in MODALITIES)
        return {"loss": contrast_pairs(image @ text.T, batch.same_class, section.tau, section.positives)}

    return figures
