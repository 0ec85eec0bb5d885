"""Mixtures over the rows of a class (ours: GCRDP's reading `over: class`): a class has components, an item has none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from stages.batches import BUDGETS, Rows, plan_batches
from stages.covariance import EmSection
from stages.em import fit_mixture, views_of


class Mixed(NamedTuple):
    """The components of A items or classes: views (A, K, d) float32, weights (A, K) float32, live (A, K) bool."""

    views: Tensor
    weights: Tensor
    live: Tensor


@torch.no_grad()
def fit_classes(values: Tensor, seen: Tensor, classes: Tensor, section: EmSection) -> Mixed:
    """K components of each of C classes by EM over its rows, as GCRDP's Eqs. 1-3 have them over an item's tokens.

    values, seen (N, d) float32; classes (N, C) bool, a row of several classes counting in each, every class with a row.
    The mixtures are fitted to `seen`; view k of a class is norm(sum_n gamma_nk x_n) over its rows of `values`. A class
    of fewer distinct rows than K has fewer live components; a dead one repeats the heaviest. Carries no gradient."""
    rows = [torch.nonzero(of_class).flatten() for of_class in classes.T]
    lengths = np.array([len(own) for own in rows], np.int64)
    count = len(rows), section.components
    mixed = Mixed(values.new_empty(*count, values.shape[1]), values.new_empty(count), torch.empty(count).bool())
    for batch in plan_batches(lengths, values.shape[1], BUDGETS[section.covariance]):
        fitted = _fit(values, seen, pad_sequence([rows[c] for c in batch], batch_first=True), lengths[batch], section)
        for whole, part in zip(mixed, fitted, strict=True):
            whole[torch.from_numpy(batch)] = part
    return mixed


def _fit(values: Tensor, seen: Tensor, rows: Tensor, lengths: Rows, section: EmSection) -> Mixed:
    """The components of B classes whose rows are padded to (B, N)."""
    mask = torch.arange(rows.shape[1]) < torch.from_numpy(lengths)[:, None]
    mixture = fit_mixture(
        seen[rows],
        mask,
        section.components,
        section.covariance,
        section.iterations,
        section.given_temperature,
        section.floor,
    )
    views = views_of(values[rows], mask, mixture.responsibilities)
    return Mixed(normalize(views.float(), dim=-1), mixture.weights.float(), mixture.live)
