"""EM on the tokens of many items at once, against sklearn's GaussianMixture item by item."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from bench.row import Row, median_seconds
from stages.batches import plan_shares
from stages.covariance import Covariance
from stages.em import Start, farthest_start, fit_mixture
from stages.mixture.threads import side_by_side

ITEMS, TOKENS, WIDTH, COMPONENTS, ITERATIONS, FLOOR = 200, 49, 512, 3, 5, 1e-9
PROMISED: dict[Covariance, float] = {"diag": 5.0, "spherical": 16.0}
AGREEMENT = 1e-6  # relative, of the log-likelihood

Array = NDArray[np.float64]


def rows() -> list[Row]:
    """Both covariance types: the same tokens, start, steps and float64; the log-likelihoods must agree."""
    return [_row(covariance, promised) for covariance, promised in PROMISED.items()]


def _row(covariance: Covariance, promised: float) -> Row:
    tokens = _tokens()
    start = farthest_start(torch.from_numpy(tokens), _mask(ITEMS), COMPONENTS, covariance, FLOOR)
    models = _theirs(tokens, covariance, start)
    theirs = np.array([model.score(own) * TOKENS for model, own in zip(models, tokens, strict=True)])
    apart = float(np.abs(_ours(tokens, covariance) / theirs - 1).max())
    if apart > AGREEMENT:
        raise ArithmeticError(f"EM, {covariance}: log-likelihoods differ by {apart:.1e}, relative")
    quick = median_seconds(lambda: _ours(tokens, covariance), repeats=9)
    slow = median_seconds(lambda: _theirs(tokens, covariance, start), repeats=3)
    what = f"{ITEMS} items of {TOKENS} x {WIDTH} tokens, K = {COMPONENTS}, {ITERATIONS} steps, float64"
    note = f"{what}, {torch.get_num_threads()} threads; log-likelihoods equal to {apart:.0e}"
    if covariance == "spherical":
        gram = median_seconds(lambda: _products(tokens), repeats=9)
        note += (
            f"; the inner products of the tokens alone take {gram:.3g} s, which bounds the ratio by {slow / gram:.1f}"
        )
    return Row(f"EM, {covariance}", quick, slow, slow / quick, promised, "sklearn GaussianMixture an item", note=note)


def _tokens() -> Array:
    """Tokens (B, N, D) around three centres an item, of a spread that leaves them overlapping."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(ITEMS, COMPONENTS, WIDTH))
    owner = draw.integers(0, COMPONENTS, (ITEMS, TOKENS, 1))
    return np.asarray(0.3 * np.take_along_axis(centres, owner, 1) + draw.normal(size=(ITEMS, TOKENS, WIDTH)))


def _mask(items: int) -> torch.Tensor:
    return torch.ones(items, TOKENS, dtype=torch.bool)


def _ours(tokens: Array, covariance: Covariance) -> Array:
    """The log-likelihood (B,) of each item, in batches and on threads as in the stage `mixture`."""

    def fit_batch(items: NDArray[np.int64]) -> Array:
        batch = torch.from_numpy(tokens[items[0] : items[-1] + 1])  # all are as long, so a batch is a run
        fitted = fit_mixture(batch, _mask(len(items)), COMPONENTS, covariance, ITERATIONS, 1.0, FLOOR)
        return np.asarray(fitted.objective[:, -1])

    batches = plan_shares(np.full(len(tokens), TOKENS, np.int64), WIDTH, covariance, torch.get_num_threads())
    found = np.empty(len(tokens))
    found[np.concatenate(batches)] = np.concatenate(list(side_by_side(fit_batch, batches)))
    return found


def _products(tokens: Array) -> None:
    """What no way through the Gram matrices can do without: these matrices, all threads at work."""
    shares = np.array_split(np.arange(len(tokens)), torch.get_num_threads())

    def products(items: NDArray[np.int64]) -> torch.Tensor:
        batch = torch.from_numpy(tokens[items[0] : items[-1] + 1])
        return batch @ batch.mT

    list(side_by_side(products, shares))


def _theirs(tokens: Array, covariance: Covariance, start: Start) -> list[GaussianMixture]:
    """A fitted model an item: as many steps from the same start, and like ours one more E-step at the end."""
    models = [
        GaussianMixture(
            COMPONENTS,
            covariance_type=covariance,
            tol=0,
            reg_covar=0,
            max_iter=ITERATIONS,
            weights_init=start.weights[i].numpy(),
            means_init=start.means[i].numpy(),
            precisions_init=1 / start.variances[i].numpy(),
        )
        for i in range(len(tokens))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they have not converged: they are stopped
        return [model.fit(own) for model, own in zip(models, tokens, strict=True)]
