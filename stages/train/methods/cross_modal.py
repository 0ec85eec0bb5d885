"""The cross-modal linear probe: a text is one more shot of its class (Lin et al. 2023), in the same classifier."""

from __future__ import annotations

import numpy as np

from stages.heads.classifier import ClassHead
from stages.items import Array
from stages.train.episode import TrainEpisode
from stages.train.logistic import chosen_logistic
from stages.train.params import CrossModalSection
from stages.train.shots import Members, Shots, about_of, names_of, shots_of


def fit(episode: TrainEpisode, section: CrossModalSection, seed: int) -> ClassHead:  # noqa: ARG001
    """Logistic regression on pictures and texts side by side, in one space, its L2 chosen on validation rows."""
    shots = shots_of(episode, shared=True)
    told, members = texts_of(episode, shots, section)
    rows = np.concatenate([shots.pictures, told]), np.concatenate([shots.members, members])
    found, chosen = chosen_logistic(shots, *rows, section)
    about = about_of(episode, "cross_modal", section, shots.classes, chosen=chosen)
    return ClassHead(about, shots.align, *found.arrays)


def texts_of(episode: TrainEpisode, shots: Shots, section: CrossModalSection) -> tuple[Array, Members]:
    """The extra shots: the names of the classes, the texts of the supports (ours), or both; vectors and members."""
    own: list[tuple[Array, Members]] = []
    if section.texts != "captions":
        own.append((names_of(episode, shots, "cross_modal"), np.eye(len(shots.classes), dtype=np.bool_)))
    if section.texts != "names":
        own.append((shots.texts, shots.members))
    vectors, members = zip(*own, strict=True)
    return np.concatenate(vectors), np.concatenate(members)
