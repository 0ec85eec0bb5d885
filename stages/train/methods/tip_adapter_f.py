"""Tip-Adapter-F (Zhang et al. 2022): the keys of Tip-Adapter, trained."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from stages.heads.classifier import ClassHead, Keys
from stages.heads.head import Step
from stages.items import Array
from stages.train.episode import TrainEpisode
from stages.train.loop import array_of, descend
from stages.train.losses import cross_entropy
from stages.train.methods.tip_adapter import chosen_keys, head_of
from stages.train.params import TipAdapterFSection
from stages.train.shots import Shots, names_of, shots_of


def fit(episode: TrainEpisode, section: TipAdapterFSection, seed: int) -> ClassHead:  # noqa: ARG001
    """Keys that start as the supports' pictures and learn from the cross-entropy of all of them; then alpha and beta
    are chosen anew. (ours) They learn under the alpha and beta that Tip-Adapter chose, every step from all rows."""
    shots = shots_of(episode, shared=True)
    names = names_of(episode, shots, "tip_adapter_f")
    start = chosen_keys(shots, names, shots.pictures, section)
    trained, curve = train(shots, names, start, section)
    keys = chosen_keys(shots, names, trained, section)
    return replace(head_of(episode, "tip_adapter_f", section, shots, names, keys), history=curve)


def train(shots: Shots, names: Array, start: Keys, section: TipAdapterFSection) -> tuple[Array, tuple[Step, ...]]:
    """The trained keys (N, d) and their curve."""
    pictures, classes = torch.tensor(shots.pictures), torch.tensor(shots.members)
    keys = torch.tensor(start.keys).requires_grad_()
    owners, plain = torch.tensor(start.owners), section.scale * pictures @ torch.tensor(names).T

    def figures(rows: Tensor) -> dict[str, Tensor]:
        told = class_logits(pictures[rows], plain[rows], keys, owners, start.alpha, start.beta)
        return {"loss": cross_entropy(told, classes[rows])}

    curve = descend([keys], [torch.arange(len(pictures))] * section.steps, figures, section.lr)
    return array_of(keys), curve


def class_logits(pictures: Tensor, plain: Tensor, keys: Tensor, owners: Tensor, alpha: float, beta: float) -> Tensor:
    """plain + alpha exp(-beta (1 - f K^T)) L, (B, C), of pictures f (B, d), keys K (N, d) and owners L (N, C)."""
    return plain + alpha * (beta * (pictures @ keys.T - 1)).exp() @ owners
