"""Tip-Adapter (Zhang et al. 2022): a cache of the supports beside zero-shot CLIP, nothing trained."""

from __future__ import annotations

from itertools import product

import numpy as np

from stages.heads.classifier import ClassHead, Keys
from stages.items import Array
from stages.train.episode import TrainEpisode
from stages.train.params import TipAdapterSection
from stages.train.shots import Shots, about_of, best_of, every, names_of, shots_of


def fit(episode: TrainEpisode, section: TipAdapterSection, seed: int) -> ClassHead:  # noqa: ARG001
    """scale f T^T + alpha exp(-beta (1 - f F^T)) L, F the supports' pictures, T the names of the classes; alpha and
    beta are chosen on the validation rows."""
    shots = shots_of(episode, shared=True)
    names = names_of(episode, shots, "tip_adapter")
    keys = chosen_keys(shots, names, shots.pictures, section)
    return head_of(episode, "tip_adapter", section, shots, names, keys)


def chosen_keys(shots: Shots, names: Array, keys: Array, section: TipAdapterSection) -> Keys:
    """The keys (N, d) of the labelled rows under the listed alpha and beta that serve the validation rows best."""
    plain = np.asarray(section.scale * (shots.judged @ names.T), np.float32)
    owners = shots.members.astype(np.float32)
    points = [Keys(keys, owners, alpha, beta) for alpha, beta in product(every(section.alpha), every(section.beta))]
    return best_of(points, shots, lambda own: np.asarray(plain + own.logits(shots.judged), np.float32))


def head_of(
    episode: TrainEpisode, method: str, section: TipAdapterSection, shots: Shots, names: Array, keys: Keys
) -> ClassHead:
    """The head of names and keys."""
    told = {"scale": section.scale, "keys": {"alpha": keys.alpha, "beta": keys.beta}}
    about = about_of(episode, method, section, shots.classes, chosen=told["keys"], **told)
    return ClassHead(about, shots.align, names, np.zeros(len(names), np.float32), keys=keys)
