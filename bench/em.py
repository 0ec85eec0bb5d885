"""EM on the tokens of many items at once, against sklearn's GaussianMixture item by item, each from tokens to a fitted
mixture: sklearn is given our start, whose seconds count on both sides."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from bench.row import Row, best_in_turns
from stages.batches import plan_shares
from stages.covariance import Covariance
from stages.em import Start, farthest_start, fit_mixture, product
from stages.threads import side_by_side

ITEMS, TOKENS, WIDTH, COMPONENTS, ITERATIONS, FLOOR = 200, 49, 512, 3, 5, 1e-9
PROMISED: dict[Covariance, float] = {"diag": 5.0, "spherical": 16.0}
ROUNDS = 9
AGREEMENT = 1e-6  # relative, of the log-likelihood

Array = NDArray[np.float64]
Done = TypeVar("Done")


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
    took = best_in_turns(
        {
            "ours": lambda: _ours(tokens, covariance),
            "start": lambda: _starts(tokens, covariance),
            "theirs": lambda: _theirs(tokens, covariance, start),
        },
        ROUNDS,
    )
    quick, slow = took["ours"], took["start"] + took["theirs"]
    what = f"{ITEMS} items of {TOKENS} x {WIDTH} tokens, K = {COMPONENTS}, {ITERATIONS} steps, float64"
    note = f"{what}, {torch.get_num_threads()} threads; log-likelihoods equal to {apart:.0e}"
    named, least = LEAST[covariance]
    bound = best_in_turns({"least": lambda: _in_batches(least, tokens, covariance)}, ROUNDS)["least"]
    note += f"; {named} alone take {bound:.3g} s, which bounds the ratio by {slow / bound:.1f}"
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
    """The log-likelihood (B,) of each item."""

    def fit_batch(batch: torch.Tensor) -> Array:
        fitted = fit_mixture(batch, _mask(len(batch)), COMPONENTS, covariance, ITERATIONS, 1.0, FLOOR)
        return np.asarray(fitted.objective[:, -1])

    return np.concatenate(_in_batches(fit_batch, tokens, covariance))


def _starts(tokens: Array, covariance: Covariance) -> None:
    """What sklearn is given, made in our batches: the least that its user would pay for it."""
    _in_batches(
        lambda batch: farthest_start(batch, _mask(len(batch)), COMPONENTS, covariance, FLOOR), tokens, covariance
    )


def _in_batches(run: Callable[[torch.Tensor], Done], tokens: Array, covariance: Covariance) -> list[Done]:
    """`run` on batches and on threads as in the stage `mixture`; all items are as long, so that a batch is a run."""
    lengths = np.full(len(tokens), TOKENS, np.int64)
    batches = plan_shares(lengths, WIDTH, covariance, torch.get_num_threads())
    return list(side_by_side(run, [torch.from_numpy(tokens[items[0] : items[-1] + 1]) for items in batches]))


def _inner_products(batch: torch.Tensor) -> None:
    """What no way through the Gram matrices can do without."""
    product(batch, batch.mT)


def _passes(batch: torch.Tensor) -> None:
    """What no way with a variance a dimension can do without: K rows by the tokens and by their squares, there and
    back, at the start and at each step."""
    second, owners = batch.square(), torch.ones(len(batch), COMPONENTS, TOKENS, dtype=batch.dtype)
    for _ in range(1 + ITERATIONS):
        for values in (batch, second):
            product(product(owners, values), values.mT)


LEAST: dict[Covariance, tuple[str, Callable[[torch.Tensor], None]]] = {
    "diag": ("the products with the tokens and with their squares", _passes),
    "spherical": ("the inner products of the tokens", _inner_products),
}


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
