"""CCA: the closed-form alignment alone, fitted on the pooled vectors of the training pairs."""

from __future__ import annotations

from stages.heads import Head, LinearHead
from stages.train.episode import TrainEpisode, describe, fit_pooled, fitted
from stages.train.params import CcaSection


def fit(episode: TrainEpisode, section: CcaSection, seed: int) -> Head:  # noqa: ARG001
    """Regularised CCA of the episode's pairs; on an aligned encoder, of the joint vectors."""
    align = fit_pooled(episode, section)
    return LinearHead({**describe(episode, "cca", "pooled"), **fitted(episode, section)}, align, residual={})
