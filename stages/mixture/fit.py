"""The mixtures of all items of one modality: batch by batch through EM, into the arrays that are kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cache.files import digest_bytes
from cache.mixtures import MixtureRows
from stages.batches import Rows, plan_shares
from stages.em import Mixture, fit_mixture, shuffle_responsibilities, views_of
from stages.mixture.params import MixtureSection
from stages.progress import reporter, working
from stages.threads import side_by_side
from stages.tokens import Tokens, read_tokens


def fit_items(source: Tokens, ids: list[str], section: MixtureSection, components: int) -> MixtureRows:
    """Fit `components` to every item; rows in the order of `ids`, whatever batch an item was in."""
    what = f"mixture {source.modality}"
    width = read_tokens(source, np.array([0]))[0].shape[2]
    rows = _room(source.lengths, components, width, section.iterations)

    def fit_batch(items: Rows) -> tuple[int, int]:
        tokens, mask = map(torch.from_numpy, read_tokens(source, items))
        mixture = _fit(tokens, mask, section, components)
        owners = _groups(mixture, mask, [ids[item] for item in items], section)
        _put(rows, items, mixture, owners, mask, views_of(tokens, mask, owners))
        return len(items), tokens.nbytes

    batches = plan_shares(source.lengths, width, section.covariance, torch.get_num_threads())
    with working(what, len(ids)):
        for count, size in side_by_side(fit_batch, batches):
            reporter().advance(what, count, size / 1e6)
    return rows


def _room(lengths: Rows, components: int, width: int, iterations: int) -> MixtureRows:
    n = len(lengths)
    return MixtureRows(
        views=np.empty((n, components, width), np.float32),
        weights=np.empty((n, components), np.float32),
        responsibilities=np.empty((int(lengths.sum()), components), np.float16),
        offsets=np.cumsum([0, *lengths.tolist()], dtype=np.int64),
        objective=np.empty((n, iterations), np.float32),
        live=np.empty((n, components), np.bool_),
    )


def _fit(tokens: Tensor, mask: Tensor, section: MixtureSection, components: int) -> Mixture:
    temperature = section.given_temperature
    return fit_mixture(tokens, mask, components, section.covariance, section.iterations, temperature, section.floor)


def _groups(mixture: Mixture, mask: Tensor, ids: list[str], section: MixtureSection) -> Tensor:
    """Which token goes to which view: as EM says, or dealt at random by the item's id."""
    if section.groups == "em":
        return mixture.responsibilities
    seeds = [int(digest_bytes(name.encode()), 16) for name in ids]
    return shuffle_responsibilities(mixture.responsibilities, mask, seeds)


def _put(rows: MixtureRows, items: Rows, mixture: Mixture, owners: Tensor, mask: Tensor, views: Tensor) -> None:
    """Store a batch; the ragged responsibilities go to their items' places one by one."""
    rows.views[items] = views.numpy()
    rows.weights[items] = mixture.weights.numpy()
    rows.objective[items] = mixture.objective.numpy()
    rows.live[items] = mixture.live.numpy()
    real = torch.split(owners[mask], mask.sum(1).tolist())
    for item, own in zip(items, real, strict=True):
        rows.responsibilities[rows.offsets[item] : rows.offsets[item + 1]] = own.numpy()
