"""Raw CLIP: the aligned features as they are, nothing trained."""

from __future__ import annotations

from cache.errors import UsageError
from stages.heads import Head, LinearHead
from stages.train.episode import TrainEpisode, describe
from stages.train.plan import refusal


def fit(episode: TrainEpisode, section: None, seed: int) -> Head:  # noqa: ARG001
    """The head that only normalises; UsageError on an encoder whose towers share no space."""
    if not episode.items.aligned:
        raise UsageError(refusal("clip", episode.items.encoder))
    return LinearHead(describe(episode, "clip", "pooled"), align={}, residual={})
