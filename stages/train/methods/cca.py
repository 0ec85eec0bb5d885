"""CCA: the closed-form alignment alone, fitted on the pooled vectors of the training pairs."""

from __future__ import annotations

from stages.heads.head import Head
from stages.heads.linear import LinearHead
from stages.train.episode import TrainEpisode, describe_linear, fit_pooled, fitted
from stages.train.params import CcaSection


def fit(episode: TrainEpisode, section: CcaSection, seed: int) -> Head:  # noqa: ARG001
    """Regularised CCA of the episode's pairs; on an aligned encoder, of the joint vectors."""
    align = fit_pooled(episode, section)
    return LinearHead({**describe_linear(episode, "cca", "pooled"), **fitted(episode, section)}, align, residual={})
