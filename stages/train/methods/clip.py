"""Raw CLIP: the aligned features as they are, nothing trained."""

from __future__ import annotations

from cache.errors import UsageError
from stages.heads.head import Head
from stages.heads.linear import LinearHead
from stages.train.episode import TrainEpisode, describe_linear
from stages.train.plan import refusal


def fit(episode: TrainEpisode, section: None, seed: int) -> Head:  # noqa: ARG001
    """The head that only normalises; UsageError on an encoder whose towers share no space."""
    if not episode.items.aligned:
        raise UsageError(refusal("clip", episode.items.encoder))
    return LinearHead(describe_linear(episode, "clip", "pooled"), align={}, residual={})
