"""Gaussian mixtures of the tokens of many items at once, by EM (GCRDP, Eqs. 1-3). Pure torch.

Letters: B items, N tokens, D token width, K components. All arithmetic is float64: in float32 the variance
E[x^2] - mu^2 goes negative. Nothing here carries a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.covariance import Covariance

LEAST_MASS = 1e-3  # tokens; a component that holds less than this is dead
TIE = 1e-9  # squared distances closer than this part of each other count as equal
TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Mixture:
    """The mixtures of B items, float64.

    weights (B, K), each row summing to 1; means (B, K, D); variances (B, K) if spherical, (B, K, D) if diag, at or
    above the floor; responsibilities (B, N, K) under these parameters, rows summing to 1, 0 where there is no token;
    live (B, K) bool; objective (B, iterations), T sum_n log sum_k (pi_k N_k)^(1/T) in nats after each iteration.
    A component that is dead from the start has weight 0, mean 0, and the floor for a variance.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor
    responsibilities: Tensor
    live: Tensor
    objective: Tensor


@dataclass(frozen=True)
class Start:
    """Where EM begins, float64: weights (B, K), means (B, K, D), and one variance for all components of an item,
    (B, K) if spherical, (B, K, D) if diag."""

    weights: Tensor
    means: Tensor
    variances: Tensor


@dataclass(frozen=True)
class _Fit:
    """One M-step: weights (B, K), means (B, K, D), made only if asked for, variances, and log_joint (B, K, N), the
    log pi_k N(x_n | mu_k, Sigma_k). Inside this file K comes before N: sums over K are then quick."""

    weights: Tensor
    means: Callable[[], Tensor]
    variances: Tensor
    log_joint: Tensor


@dataclass(frozen=True)
class _Space:
    """What a covariance type makes of the tokens: their squared distances (B, N) to the item's mean, and to one of
    its tokens (B,); and the M-step, told whether all components share one variance."""

    to_mean: Tensor
    to_token: Callable[[Tensor], Tensor]
    refit: Callable[[Tensor, bool], _Fit]


@torch.no_grad()
def fit_mixture(
    tokens: Tensor,
    mask: Tensor,
    components: int,
    covariance: Covariance,
    iterations: int,
    temperature: float | None,
    floor: float,
) -> Mixture:
    """Fit K Gaussian components to the tokens of each item by EM (GCRDP, Eqs. 2-3).

    tokens (B, N, D) of any float type; mask (B, N) bool, False where there is no token, whatever stands there.
    Responsibilities are proportional to (pi_k N_k)^(1/T) (ours; T = 1 is the paper's, None is D/5): with it the
    tempered objective never falls, and the likelihood itself at T = 1. No seed: the start is farthest_start. An item
    with fewer distinct tokens than K has fewer live components. Variances are kept at or above `floor`, in squared
    token units. Raises ValueError if mask and tokens disagree or, naming the row, if an item has no token.
    """
    x = _tokens_alone(tokens, mask)
    space = _space_of(x, mask, covariance, floor)
    tempered = x.shape[2] / 5 if temperature is None else temperature
    fit = space.refit(_first_owners(x, space, mask, components), True)
    owners, _ = _expect(fit.log_joint, mask, tempered)
    objective = []
    for _ in range(iterations):
        fit = space.refit(owners, False)
        owners, value = _expect(fit.log_joint, mask, tempered)
        objective.append(value)
    live = owners.sum(2) >= LEAST_MASS
    return Mixture(fit.weights, fit.means(), fit.variances, owners.mT, live, torch.stack(objective, 1))


@torch.no_grad()
def farthest_start(tokens: Tensor, mask: Tensor, components: int, covariance: Covariance, floor: float) -> Start:
    """The parameters that fit_mixture begins with: each token belongs to the nearest of K tokens, which are the one
    farthest from the mean, then again and again the one farthest from those taken; their pooled variance is shared,
    so that a lone outlier does not begin with none (ours). Shapes and errors as in fit_mixture."""
    x = _tokens_alone(tokens, mask)
    space = _space_of(x, mask, covariance, floor)
    fit = space.refit(_first_owners(x, space, mask, components), True)
    return Start(fit.weights, fit.means(), fit.variances)


@torch.no_grad()
def views_of(tokens: Tensor, mask: Tensor, responsibilities: Tensor) -> Tensor:
    """Component views sum_n gamma_nk x_n / sum_n gamma_nk (GCRDP, before the head), (B, K, D) float64.

    tokens (B, N, D), mask (B, N) bool, responsibilities (B, N, K). A dead component repeats the view of the item's
    heaviest one: a copy changes no maximum over views, where a zero vector would.
    """
    owners = torch.where(mask[..., None], responsibilities.double(), 0.0)
    mass = owners.sum(1)  # (B, K)
    views = product(owners.mT, _tokens_alone(tokens, mask)) / mass.clamp_min(TINY)[..., None]
    heaviest = mass.argmax(1, keepdim=True)
    kept = torch.where(mass >= LEAST_MASS, torch.arange(mass.shape[1], device=mass.device), heaviest)
    return views.take_along_dim(kept[..., None], 1)


def shuffle_responsibilities(responsibilities: Tensor, mask: Tensor, seeds: Sequence[int]) -> Tensor:
    """Deal each item's rows of responsibilities to its tokens at random: the placebo of EM (ours).

    responsibilities (B, N, K), mask (B, N) bool, one seed an item, so that neither the order of the items nor their
    batch counts. The groups keep their sizes; only which token is in which group changes.
    """
    dealt = torch.zeros_like(responsibilities)
    for row, seed in enumerate(seeds):
        places = mask[row].nonzero().squeeze(1)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(places)))
        dealt[row, places] = responsibilities[row, places[order.to(places.device)]]
    return dealt


def product(left: Tensor, right: Tensor) -> Tensor:
    """left (B, M, L) @ right (B, L, P), (B, M, P). On a CPU by numpy, whose BLAS is twice as quick as torch's for the
    few rows of K components."""
    if left.device.type != "cpu":
        return left @ right
    return torch.from_numpy(np.matmul(left.numpy(), right.numpy()))


def _tokens_alone(tokens: Tensor, mask: Tensor) -> Tensor:
    """The tokens (B, N, D) in float64, 0 where there is none; not copied where they are that already."""
    if tokens.dim() != 3 or mask.shape != tokens.shape[:2]:
        raise ValueError(f"tokens {tuple(tokens.shape)} and mask {tuple(mask.shape)}: expected (B, N, D) and (B, N)")
    without = ~mask.any(1)
    if bool(without.any()):
        raise ValueError(f"item {int(without.nonzero()[0])} of the batch has no token")
    return (tokens if bool(mask.all()) else torch.where(mask[..., None], tokens, 0)).detach().double()


def _space_of(x: Tensor, mask: Tensor, covariance: Covariance, floor: float) -> _Space:
    return _spherical(x, mask, floor) if covariance == "spherical" else _diagonal(x, mask, floor)


def _spherical(x: Tensor, mask: Tensor, floor: float) -> _Space:
    """One variance a component. Only inner products of tokens are needed: G = X X^T once, then every step is N x N."""
    gram = product(x, x.mT)  # (B, N, N)
    squares = gram.diagonal(dim1=1, dim2=2)  # |x_n|^2
    real = mask.double()[..., None]
    cross = (gram @ real).squeeze(2) / real.sum(1)  # x_n . mean
    to_mean = squares - 2 * cross + (cross * mask).sum(1, keepdim=True) / real.sum(1)
    width = x.shape[2]

    def refit(owners: Tensor, shared: bool) -> _Fit:
        weights, shares = _shares(owners)
        cross = product(shares, gram)  # mu_k . x_n
        own = (shares * cross).sum(2, keepdim=True)  # |mu_k|^2
        squared = torch.add(squares[:, None] + own, cross, alpha=-2)  # |x_n - mu_k|^2
        variances = ((shares * squared).sum(2) / width).clamp_min_(floor)  # (B, K)
        variances = _pooled(variances, weights) if shared else variances
        constant = weights.log() - 0.5 * width * (2 * math.pi * variances).log()
        log_joint = torch.addcmul(constant[..., None], squared, (-0.5 / variances)[..., None])
        return _Fit(weights, lambda: product(shares, x), variances, log_joint)

    def to_token(chosen: Tensor) -> Tensor:
        return _apart(squares, chosen, gram.take_along_dim(chosen[:, None, None], 1).squeeze(1))

    return _Space(to_mean.clamp_min_(0.0) * mask, to_token, refit)


def _diagonal(x: Tensor, mask: Tensor, floor: float) -> _Space:
    """A variance a component and dimension: a step is two products with the tokens, and two with their squares."""
    width = x.shape[2]
    second = x.square()  # (B, N, D)
    squares = second.sum(2)  # |x_n|^2
    mean = x.sum(1, keepdim=True) / mask.sum(1)[:, None, None]
    to_mean = squares - 2 * product(mean, x.mT).squeeze(1) + mean.square().sum(2)

    def refit(owners: Tensor, shared: bool) -> _Fit:
        weights, shares = _shares(owners)
        means = product(shares, x)  # (B, K, D)
        variances = product(shares, second).addcmul_(means, means, value=-1).clamp_min_(floor)
        variances = _pooled(variances, weights) if shared else variances
        scaled = means / variances
        terms = variances.log().addcmul_(means, scaled).sum(2)  # (B, K)
        constant = weights.log() - 0.5 * (terms + width * math.log(2 * math.pi))
        log_joint = product(scaled, x.mT).add_(constant[..., None])
        log_joint.add_(product(variances.reciprocal(), second.mT), alpha=-0.5)
        return _Fit(weights, lambda: means, variances, log_joint)

    def to_token(chosen: Tensor) -> Tensor:
        return _apart(squares, chosen, product(x.take_along_dim(chosen[:, None, None], 1), x.mT).squeeze(1))

    return _Space(to_mean.clamp_min_(0.0) * mask, to_token, refit)


def _first_owners(x: Tensor, space: _Space, mask: Tensor, components: int) -> Tensor:
    """One-hot owners (B, K, N) float64 of the farthest-point start."""
    least = TIE * space.to_mean.amax(1, keepdim=True)
    distance, owner = space.to_mean, torch.zeros_like(mask, dtype=torch.long)
    for k in range(components):
        apart, chosen = _farthest(x, distance.masked_fill(~mask, -1.0))
        fresh = space.to_token(chosen)
        closer = (fresh < distance * (1 - TIE)) & (apart > least) if k else torch.ones_like(mask)
        owner = torch.where(closer, k, owner)
        distance = torch.where(closer, fresh, distance)
    return torch.stack([(owner == k) & mask for k in range(components)], 1).double()


def _farthest(x: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest distance (B, 1), and whose it is (B,)."""
    greatest = distance.amax(1, keepdim=True)
    among = distance >= greatest * (1 - TIE)
    if not bool((among.sum(1) > 1).any()):
        return greatest, distance.argmax(1)
    # Equal ones are settled by a fixed direction, not by place, for the order of the tokens must not count: two
    # tokens, say, are always equally far from their mean.
    direction = torch.cos(torch.arange(x.shape[2], dtype=x.dtype, device=x.device))
    return greatest, torch.where(among, x @ direction, -math.inf).argmax(1)


def _apart(squares: Tensor, chosen: Tensor, inner: Tensor) -> Tensor:
    """Squared distances (B, N) to the chosen tokens (B,), from squared lengths and inner products (B, N)."""
    return (squares + squares.gather(1, chosen[:, None]) - 2 * inner).clamp_min_(0.0)


def _shares(owners: Tensor) -> tuple[Tensor, Tensor]:
    """The weight (B, K) of each component, and the part (B, K, N) that each token has in it."""
    mass = owners.sum(2)
    return mass / mass.sum(1, keepdim=True), owners / mass.clamp_min(TINY)[..., None]


def _pooled(variances: Tensor, weights: Tensor) -> Tensor:
    """The mean of the components' variances by weight, for each of them."""
    parts = weights.reshape(*weights.shape, *[1] * (variances.dim() - 2))
    return (parts * variances).sum(1, keepdim=True).expand_as(variances)


def _expect(log_joint: Tensor, mask: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The E-step (GCRDP, Eq. 2) at a temperature: responsibilities (B, K, N) and the objective (B,). A component that
    is dead has log_joint = -inf, and no responsibility."""
    scores = log_joint / temperature
    greatest = scores.amax(1, keepdim=True)
    owners = scores.sub_(greatest).exp_()
    total = owners.sum(1, keepdim=True)
    value = temperature * ((greatest + total.log()).squeeze(1) * mask).sum(1)
    return owners.mul_(mask[:, None] / total), value
