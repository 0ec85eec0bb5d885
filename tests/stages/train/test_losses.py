"""Every loss against a plain loop from its formula, in float64, and its gradient against finite differences."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.retrieval import score
from stages.train.losses import (
    best_match,
    contrast_components,
    contrast_pairs,
    mixed_similarity,
    relative_distance,
    threshold,
)

B, K, D, TAU = 5, 3, 4, 0.3
CLASSES = torch.tensor([0, 1, 0, 2, 1])
SAME = CLASSES[:, None] == CLASSES[None, :]
DISTINCT = ~torch.eye(B, dtype=torch.bool)
LIVE = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1]], dtype=torch.bool)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def one_anchor(near: list[float], far: list[float], positives: str) -> float:
    """An anchor's loss from the similarities of its positives and negatives."""
    total = sum(math.exp(s / TAU) for s in [*near, *far])
    shares = [math.exp(s / TAU) / total for s in near]
    if positives == "out":
        return -sum(math.log(p) for p in shares) / len(shares)
    return -math.log(sum(shares) / len(shares))


@pytest.mark.parametrize("positives", ["out", "in"])
def test_contrast_of_components_is_the_loop_over_anchors(positives):
    views, losses = drawn(B, K, D), []
    for i in range(B):
        for k in range(K):
            if not LIVE[i, k]:
                continue
            near = [float(views[i, k] @ views[i, j]) for j in range(K) if j != k and LIVE[i, j]]
            others = [(a, j) for a in range(B) for j in range(K) if LIVE[a, j] and CLASSES[a] != CLASSES[i]]
            if near:
                losses.append(one_anchor(near, [float(views[i, k] @ views[a, j]) for a, j in others], positives))
    found = contrast_components(views, LIVE, SAME, TAU, positives)
    assert float(found) == pytest.approx(sum(losses) / len(losses), abs=1e-12)


@pytest.mark.parametrize("positives", ["out", "in"])
def test_contrast_of_pairs_is_the_loop_in_both_directions(positives):
    similarity, losses = drawn(B, D) @ drawn(B, D, seed=1).T, []
    for matrix in (similarity, similarity.T):
        for i in range(B):
            near = [float(matrix[i, j]) for j in range(B) if SAME[i, j]]
            far = [float(matrix[i, j]) for j in range(B) if not SAME[i, j]]
            losses.append(one_anchor(near, far, positives))
    found = contrast_pairs(similarity, SAME, TAU, positives)
    assert float(found) == pytest.approx(sum(losses) / len(losses), abs=1e-12)


def quantile(values: list[float], q: float) -> float:
    """The linear interpolation between the two neighbours in rank."""
    ranked = sorted(values)
    place = q * (len(ranked) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


@pytest.mark.parametrize(("theta", "kind"), [(0.1, "absolute"), (0.8, "quantile"), (0.0, "quantile")])
def test_relative_distance_is_the_loop_over_pairs(theta, kind):
    image, text = drawn(B, D), drawn(B, D, seed=1)
    distinct = DISTINCT.clone()
    distinct[0, 2] = distinct[2, 0] = False  # row 2 is row 0 drawn again
    pairs = [(i, j) for i in range(B) for j in range(B) if distinct[i, j]]
    of = [{p: float(x[p[0]] @ x[p[1]]) for p in pairs} for x in (image, text)]
    bounds = [theta if kind == "absolute" else quantile(list(s.values()), theta) for s in of]
    kept = [p for p in pairs if of[0][p] > bounds[0] or of[1][p] > bounds[1]]
    found = relative_distance(image, text, distinct, theta, kind)
    assert float(found.loss) == pytest.approx(sum((of[0][p] - of[1][p]) ** 2 for p in kept) / len(kept), abs=1e-12)
    assert float(found.density) == pytest.approx(len(kept) / len(pairs))
    assert float(found.drift) == pytest.approx(sum(abs(of[0][p] - of[1][p]) for p in pairs) / len(pairs))


def _distance(kind: str, theta: float, image: Tensor, text: Tensor) -> Tensor:
    return relative_distance(image, text, DISTINCT, theta, kind).loss  # type: ignore[arg-type]


def _mix(*values: Tensor) -> Tensor:
    return mixed_similarity(values[:2], values[2:])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "shapes"),
    [
        (lambda x: contrast_components(x, LIVE, SAME, TAU, "out"), [(B, K, D)]),
        (lambda x: contrast_components(x, LIVE, SAME, TAU, "in"), [(B, K, D)]),
        (lambda x: contrast_pairs(x, SAME, TAU, "out"), [(B, B)]),
        (lambda x: contrast_pairs(x, SAME, TAU, "in"), [(B, B)]),
        (partial(_distance, "absolute", 0.1), [(B, D), (B, D)]),
        (_mix, [(B, D), (B, D), (B, K, D), (B, K, D)]),
    ],
)
def test_gradients_are_those_of_finite_differences(loss, shapes):
    values = [drawn(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(loss, values)


@pytest.mark.parametrize("theta", [0.37])
def test_the_quantile_of_more_pairs_than_torch_takes_is_a_quantile(theta):
    matrix = torch.linspace(0, 1, 4100, dtype=torch.float64).expand(4100, -1)
    distinct = torch.ones(4100, 4100, dtype=torch.bool)
    assert float(threshold(matrix, distinct, theta, "quantile")) == pytest.approx(theta, abs=1e-3)


def test_the_quantile_bound_carries_no_gradient():
    matrix = drawn(B, B).requires_grad_()
    bound = threshold(matrix, DISTINCT, 0.8, "quantile")
    assert isinstance(bound, Tensor)
    assert not bound.requires_grad


@pytest.mark.parametrize("positives", ["out", "in"])
def test_one_component_contrasts_with_nothing_and_pulls_nowhere(positives):
    views = drawn(B, 1, D).requires_grad_()
    loss = contrast_components(views, torch.ones(B, 1, dtype=torch.bool), SAME, TAU, positives)
    loss.backward()
    assert loss.item() == 0
    assert float(views.grad.abs().max()) == 0


@pytest.mark.parametrize("positives", ["out", "in"])
def test_a_dead_component_never_counts(positives):
    views = drawn(B, K, D)
    loud = torch.where(LIVE[..., None], views, drawn(B, K, D, seed=9))
    losses = [float(contrast_components(v, LIVE, SAME, TAU, positives)) for v in (views, loud)]
    assert losses[0] == losses[1]


def test_items_of_the_same_class_are_neither_positive_nor_negative():
    views, alone = drawn(2, K, D), torch.ones(2, K, dtype=torch.bool)
    of_one_class = contrast_components(views, alone, torch.ones(2, 2, dtype=torch.bool), TAU, "out")
    apart = [contrast_components(views[i : i + 1], alone[:1], SAME[:1, :1], TAU, "out") for i in range(2)]
    assert float(of_one_class) == pytest.approx(float(sum(apart)) / 2)


def test_a_bound_that_nothing_passes_makes_an_empty_mask_and_no_loss():
    found = relative_distance(drawn(B, D), drawn(B, D, seed=1), DISTINCT, 1.5, "absolute")
    assert (float(found.loss), float(found.density)) == (0, 0)


def test_a_bound_that_everything_passes_makes_a_full_mask():
    assert float(relative_distance(drawn(B, D), drawn(B, D, seed=1), DISTINCT, -1.5, "absolute").density) == 1


def test_equal_spaces_keep_all_distances():
    image = drawn(B, D)
    found = relative_distance(image, image, DISTINCT, 0.0, "absolute")
    assert (float(found.loss), float(found.drift)) == (0, 0)


def test_best_match_is_the_loop_over_components():
    image, text = drawn(B, K, D), drawn(4, 2, D, seed=1)
    for i in range(B):
        for j in range(4):
            best = max(float(image[i, k] @ text[j, c]) for k in range(K) for c in range(2))
            assert float(best_match(image, text)[i, j]) == pytest.approx(best, abs=1e-12)


def test_mixed_similarity_is_what_retrieval_computes():
    pooled, views = (drawn(B, D), drawn(B, D, seed=1)), (drawn(B, K, D, seed=2), drawn(B, K, D, seed=3))
    values = [torch.cat([p[:, None], v], dim=1).float().numpy() for p, v in zip(pooled, views, strict=True)]
    assert mixed_similarity(pooled, views).numpy() == pytest.approx(score(*values, "mix"), abs=1e-6)
