"""CMM (arXiv 2412.20110) as a classifier: pictures mapped to the names of their classes, which are the prototypes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.heads.classifier import ClassHead
from stages.heads.head import Step
from stages.heads.linear import Residual
from stages.items import Array, unit
from stages.train.episode import TrainEpisode
from stages.train.loop import Batch, array_of, descend, prepare, zeros
from stages.train.methods.cmm import objective
from stages.train.params import CmmClassifierSection
from stages.train.shots import about_of, best_of, every, names_of, shots_of


class Point(NamedTuple):
    """A map W (d, d) after so many steps at a rate, and the curve of that training."""

    lr: float
    step: int
    weight: Array
    curve: tuple[Step, ...]


def fit(episode: TrainEpisode, section: CmmClassifierSection, seed: int) -> ClassHead:  # noqa: ARG001
    """(v + alpha v') T^T, v' = norm(v + v W), W trained as of `cmm` from 0.

    (ours) Every step reads all rows; at which rate, and after how many steps, is chosen on the validation rows."""
    shots = shots_of(episode, shared=True)
    names = names_of(episode, shots, "cmm_classifier")
    data = prepare(episode, dict(shots.align), views=False)
    points = [point for lr in every(section.lr) for point in train(data, names, section, lr)]
    best = best_of(points, shots, lambda point: class_logits(shots.judged, point.weight, names, section.alpha))
    chosen = {"lr": best.lr, "step": best.step}
    about = about_of(episode, "cmm_classifier", section, shots.classes, share=section.alpha, chosen=chosen)
    nothing = np.zeros(names.shape[1], np.float32), np.zeros(len(names), np.float32)
    return ClassHead(about, shots.align, names, nothing[1], Residual(best.weight, nothing[0]), history=best.curve)


def train(data: Batch, names: Array, section: CmmClassifierSection, lr: float) -> list[Point]:
    """The maps after 0, `every`, ... and `steps` steps at one rate."""
    width = names.shape[1]
    weight, bias = zeros(width, width), torch.zeros(width)
    figures_of, kept = objective(section, torch.tensor(names)), {}

    def figures(rows: Tensor) -> dict[str, Tensor]:
        if not (step := len(seen)) % section.every:
            kept[step] = array_of(weight)
        seen.append(step)
        return figures_of(data.take(rows), {"image": (weight, bias)})

    seen: list[int] = []
    curve = descend([weight], [torch.arange(len(data.item))] * section.steps, figures, lr)
    kept[section.steps] = array_of(weight)
    return [Point(lr, step, found, curve) for step, found in sorted(kept.items())]


def class_logits(pictures: Array, weight: Array, names: Array, alpha: float) -> Array:
    """(v + alpha norm(v + v W)) T^T, (N, C) float32, of pictures v (N, d) and names T (C, d)."""
    mapped = unit(pictures + pictures @ weight)
    return np.asarray((pictures + np.float32(alpha) * mapped) @ names.T, np.float32)
