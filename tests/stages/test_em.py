"""EM against sklearn, against its own promises, and on tokens whose components are known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from torch import Tensor

from stages.covariance import Covariance
from stages.em import LEAST_MASS, Mixture, farthest_start, fit_mixture, shuffle_responsibilities, views_of

COVARIANCES: list[Covariance] = ["spherical", "diag"]
FLOOR = 1e-4


def some_tokens(items: int = 4, n: int = 12, width: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Tokens around three centres an item, and a mask that leaves out some of the last ones."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(items, 3, width))
    tokens = centres[:, draw.integers(0, 3, n)] + 0.4 * draw.normal(size=(items, n, width))
    lengths = draw.integers(n // 2, n + 1, items)
    return torch.from_numpy(tokens), torch.from_numpy(np.arange(n) < lengths[:, None])


def fit(
    tokens: Tensor,
    mask: Tensor,
    components: int = 3,
    covariance: Covariance = "spherical",
    iterations: int = 5,
    temperature: float | None = 1.0,
) -> Mixture:
    return fit_mixture(tokens, mask, components, covariance, iterations, temperature, FLOOR)


def sklearn_from(
    tokens: Tensor, mask: Tensor, covariance: Covariance, iterations: int
) -> list[tuple[np.ndarray, GaussianMixture]]:
    """sklearn's mixture of each item after as many steps from our start."""
    start = farthest_start(tokens, mask, 3, covariance, FLOOR)
    fitted = []
    for i in range(len(tokens)):
        model = GaussianMixture(
            3,
            covariance_type="diag" if covariance == "diag" else "spherical",
            tol=0,
            reg_covar=0,
            max_iter=iterations,
            weights_init=start.weights[i].numpy(),
            means_init=start.means[i].numpy(),
            precisions_init=1 / start.variances[i].numpy(),
        )
        own = tokens[i, mask[i]].numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted.append((own, model.fit(own)))
    return fitted


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("iterations", [1, 5])
def test_em_is_sklearns_after_the_same_steps_from_the_same_start(covariance: Covariance, iterations: int) -> None:
    tokens, mask = some_tokens(items=6, n=40, width=5)
    ours = fit(tokens, mask, covariance=covariance, iterations=iterations)
    for i, (own, model) in enumerate(sklearn_from(tokens, mask, covariance, iterations)):
        np.testing.assert_allclose(ours.objective[i, -1], model.score(own) * len(own), rtol=1e-6)
        np.testing.assert_allclose(ours.weights[i], model.weights_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ours.means[i], model.means_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ours.variances[i], model.covariances_, rtol=1e-6)
        np.testing.assert_allclose(ours.responsibilities[i, mask[i]], model.predict_proba(own), atol=1e-8)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_objective_is_the_formula_in_a_plain_loop(covariance: Covariance) -> None:
    tokens, mask = some_tokens(items=2)
    mixture, heat = fit(tokens, mask, covariance=covariance, temperature=3.0), 3.0
    for i in range(2):
        total = 0.0
        for x in tokens[i, mask[i]].numpy():
            terms = []
            for k in range(3):
                variance = mixture.variances[i, k].numpy() * np.ones(len(x))
                density = np.prod(np.exp(-((x - mixture.means[i, k].numpy()) ** 2) / (2 * variance)))
                density /= np.sqrt(np.prod(2 * np.pi * variance))
                terms.append((float(mixture.weights[i, k]) * density) ** (1 / heat))
            total += heat * np.log(sum(terms))
        assert float(mixture.objective[i, -1]) == pytest.approx(total, rel=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from(COVARIANCES), st.sampled_from([None, 0.5, 1.0, 4.0]))
@settings(max_examples=60, deadline=None)
def test_the_objective_never_falls_and_responsibilities_sum_to_one(
    seed: int, components: int, covariance: Covariance, temperature: float | None
) -> None:
    tokens, mask = some_tokens(items=3, n=10, seed=seed)
    mixture = fit(tokens, mask, components, covariance, iterations=12, temperature=temperature)
    steps = mixture.objective.diff(dim=1)
    assert bool((steps >= -1e-9 * mixture.objective.abs().amax().clamp_min(1.0)).all())
    torch.testing.assert_close(mixture.responsibilities.sum(2), mask.double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(mixture.weights.sum(1), torch.ones(3).double())
    assert bool((mixture.variances >= FLOOR).all())


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_in_wide_tokens_without_clusters_the_tempered_objective_rises(covariance: Covariance) -> None:
    draw = np.random.default_rng(2)
    tokens = torch.from_numpy(draw.normal(size=(8, 49, 256)) / np.sqrt(1 + np.arange(256))).half()
    mixture = fit(tokens, torch.ones(8, 49, dtype=torch.bool), covariance=covariance, iterations=10, temperature=None)
    steps = mixture.objective.diff(dim=1)
    assert bool((steps >= -1e-9 * mixture.objective.abs()[:, 1:]).all())
    assert bool((steps.sum(1) > 0).all())


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("temperature", [None, 1.0])
def test_the_order_of_tokens_and_items_permutes_the_result(covariance: Covariance, temperature: float | None) -> None:
    tokens, mask = some_tokens(items=5)
    draw = np.random.default_rng(1)
    items, places = torch.from_numpy(draw.permutation(5)), torch.from_numpy(draw.permutation(12))
    plain = fit(tokens, mask, covariance=covariance, temperature=temperature)
    mixed = fit(tokens[items][:, places], mask[items][:, places], covariance=covariance, temperature=temperature)
    close = {"rtol": 1e-8, "atol": 1e-8}
    torch.testing.assert_close(mixed.means, plain.means[items], **close)
    torch.testing.assert_close(mixed.weights, plain.weights[items], **close)
    torch.testing.assert_close(mixed.responsibilities, plain.responsibilities[items][:, places], **close)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_equally_far_tokens_are_told_apart_by_value_not_by_place(covariance: Covariance) -> None:
    pair = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    one, other = (fit(tokens, mask, 2, covariance).means for tokens in (pair, pair.flip(1)))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("rubbish", [0.0, 7.0, float("nan"), float("inf")])
def test_masked_tokens_never_count(covariance: Covariance, rubbish: float) -> None:
    tokens, mask = some_tokens()
    spoilt = torch.where(mask[..., None], tokens, rubbish)
    mixture = fit(spoilt, mask, covariance=covariance)
    views = views_of(spoilt, mask, mixture.responsibilities)
    for i in range(len(tokens)):
        alone = fit(tokens[i : i + 1, mask[i]], mask[i : i + 1, mask[i]], covariance=covariance)
        torch.testing.assert_close(mixture.means[i], alone.means[0])
        torch.testing.assert_close(mixture.objective[i], alone.objective[0])
        owners = alone.responsibilities
        torch.testing.assert_close(views[i], views_of(tokens[i : i + 1, mask[i]], mask[i : i + 1, mask[i]], owners)[0])
    assert float(mixture.responsibilities[~mask].abs().sum()) == 0.0


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("tokens_left", [1, 2, 3])
def test_fewer_tokens_than_components_gives_fewer_live_ones(covariance: Covariance, tokens_left: int) -> None:
    tokens, _ = some_tokens(items=3)
    mask = torch.arange(12).expand(3, 12) < tokens_left
    mixture = fit(tokens, mask, components=5, covariance=covariance)
    assert mixture.live.sum(1).tolist() == [tokens_left] * 3
    assert float(mixture.weights[~mixture.live].abs().sum()) == 0.0
    assert all(bool(t.isfinite().all()) for t in (mixture.means, mixture.variances, mixture.objective))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_repeated_tokens_count_as_one_place(covariance: Covariance) -> None:
    draw = np.random.default_rng(4)
    pairs = torch.from_numpy(draw.normal(size=(20, 2, 97)))
    tokens = pairs[:, torch.from_numpy(draw.integers(0, 2, 13))]
    mixture = fit(tokens, torch.ones(20, 13, dtype=torch.bool), components=5, covariance=covariance)
    assert mixture.live.sum(1).tolist() == [2] * 20


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_tokens_that_are_all_the_same_are_one_component_at_the_floor(covariance: Covariance) -> None:
    tokens = torch.full((1, 7, 4), 0.3)
    mixture = fit(tokens, torch.ones(1, 7, dtype=torch.bool), covariance=covariance, temperature=None)
    assert mixture.live.tolist() == [[True, False, False]]
    torch.testing.assert_close(mixture.means[0, 0], torch.full((4,), 0.3).double())
    assert float(mixture.variances.min()) == float(mixture.variances.max()) == FLOOR


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_component_is_exactly_the_mean_of_the_tokens(covariance: Covariance) -> None:
    tokens, mask = some_tokens()
    tokens = tokens.half()  # sums of float16 values are exact in float64, in whatever order
    mixture = fit(tokens, mask, components=1, covariance=covariance, temperature=None)
    views = views_of(tokens, mask, mixture.responsibilities)
    for i in range(len(tokens)):
        mean = tokens[i, mask[i]].double().sum(0) / mask[i].sum()
        assert torch.equal(views[i, 0], mean)
        torch.testing.assert_close(mixture.means[i, 0], mean, rtol=1e-13, atol=1e-13)
    assert torch.equal(mixture.weights, torch.ones(4, 1).double())
    assert torch.equal(mixture.responsibilities[..., 0], mask.double())


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("temperature", [None, 1.0])
def test_planted_components_are_found(covariance: Covariance, temperature: float | None) -> None:
    draw = np.random.default_rng(3)
    truth = draw.integers(0, 3, (20, 60))
    centres = draw.normal(size=(20, 3, 32))
    spread = np.array([0.2, 0.3, 0.4])[truth][..., None]
    tokens = np.take_along_axis(centres, truth[..., None], 1) + spread * draw.normal(size=(20, 60, 32))
    mask = torch.ones(20, 60, dtype=torch.bool)
    mixture = fit(torch.from_numpy(tokens), mask, covariance=covariance, temperature=temperature)
    found = mixture.responsibilities.argmax(2).numpy()
    assert min(adjusted_rand_score(truth[i], found[i]) for i in range(20)) > 0.95


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_tokens_far_from_the_origin_lose_nothing(covariance: Covariance) -> None:
    tokens, mask = some_tokens()
    near, far = fit(tokens, mask, covariance=covariance), fit(tokens + 1000.0, mask, covariance=covariance)
    torch.testing.assert_close(far.means - 1000.0, near.means, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(far.objective, near.objective, rtol=1e-6, atol=1e-6)


def test_a_dead_component_repeats_the_heaviest_view() -> None:
    tokens = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 5.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, True, False]])
    owners = torch.tensor([[[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]]])
    views = views_of(tokens, mask, owners)
    assert views.tolist() == [[[2.0, 0.0], [2.0, 0.0], [0.0, 5.0]]]


def test_live_means_holding_a_thousandth_of_a_token() -> None:
    tokens, mask = some_tokens()
    mixture = fit(tokens, mask, temperature=None)
    assert torch.equal(mixture.live, mixture.responsibilities.sum(1) >= LEAST_MASS)


def test_random_groups_keep_their_sizes_and_know_no_batch() -> None:
    tokens, mask = some_tokens()
    owners = fit(tokens, mask).responsibilities
    dealt = shuffle_responsibilities(owners, mask, [5, 6, 7, 8])
    torch.testing.assert_close(dealt.sum(1), owners.sum(1))
    assert not torch.equal(dealt, owners)
    assert float(dealt[~mask].abs().sum()) == 0.0
    alone = shuffle_responsibilities(owners[2:3], mask[2:3], [7])
    assert torch.equal(alone[0], dealt[2])


def test_no_gradient_passes() -> None:
    tokens, mask = some_tokens()
    tokens.requires_grad_(True)
    mixture = fit(tokens, mask)
    assert not mixture.responsibilities.requires_grad
    assert not views_of(tokens, mask, mixture.responsibilities).requires_grad


def test_an_item_without_tokens_is_named_by_its_row() -> None:
    tokens, mask = some_tokens()
    mask[2] = False
    with pytest.raises(ValueError, match="item 2 of the batch has no token"):
        fit(tokens, mask)


def test_a_mask_of_another_shape_is_refused() -> None:
    tokens, mask = some_tokens()
    with pytest.raises(ValueError, match=r"tokens \(4, 12, 6\) and mask \(4, 11\)"):
        fit(tokens, mask[:, 1:])


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_items_of_one_length_are_the_same_to_the_last_bit_wherever_eights_are_cut(covariance: Covariance) -> None:
    """So that batches of them may depend on the number of threads (see batches.plan_shares)."""
    tokens, mask = torch.randn(40, 49, 64, generator=torch.Generator().manual_seed(0)), torch.ones(40, 49).bool()
    whole = fit(tokens, mask, covariance=covariance)
    for size in (8, 16, 24):
        parts = [fit(*own, covariance=covariance) for own in zip(tokens.split(size), mask.split(size), strict=True)]
        for name, values in vars(whole).items():
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), values), name


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_tokens_given_are_left_as_they_were(covariance: Covariance) -> None:
    tokens, _ = some_tokens()
    before = tokens.clone()
    fit(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool), covariance=covariance)
    assert torch.equal(tokens, before)
