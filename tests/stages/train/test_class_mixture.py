"""Components of classes: EM over the rows of each class, whatever else is in the episode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from stages import batches
from stages.covariance import EmSection
from stages.em import fit_mixture
from stages.train.class_mixture import fit_classes
from tests.stages.train import build

WIDTH, EACH, MODES = 24, 40, 3


def em(**changes: Any) -> EmSection:
    return EmSection(**{**build.shipped()["gcrdp"]["class_mixture"], **changes})


def planted(sizes: tuple[int, ...] = (EACH, EACH, EACH), noise: float = 0.3, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Unit vectors (N, WIDTH) of classes with three far modes each, their modes (N,) and classes (N, C)."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(len(sizes)), sizes)
    mode = np.concatenate([np.arange(size) % MODES for size in sizes])
    middles = rng.standard_normal((len(sizes), MODES, WIDTH))
    values = middles[own, mode] + noise * rng.standard_normal((len(own), WIDTH))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return torch.tensor(unit, dtype=torch.float32), torch.tensor(mode), torch.tensor(np.eye(len(sizes))[own] > 0)


def in_loops(values, seen, classes, section: EmSection) -> tuple[list[Any], list[Any]]:
    """Views and weights of every class by itself: its mixture without padding, then its weighted means row by row."""
    views, weights = [], []
    for c in range(classes.shape[1]):
        rows = [n for n in range(len(values)) if classes[n, c]]
        whole = torch.ones(1, len(rows), dtype=torch.bool)
        args = (section.components, section.covariance, section.iterations, section.given_temperature, section.floor)
        owners = fit_mixture(seen[rows][None], whole, *args).responsibilities[0].numpy()
        found = []
        for k in range(section.components):
            total = sum(owners[i, k] * values[n].numpy().astype(np.float64) for i, n in enumerate(rows))
            found.append(total / np.linalg.norm(total))
        views.append(found)
        weights.append([sum(owners[i, k] for i in range(len(rows))) / len(rows) for k in range(section.components)])
    return views, weights


@pytest.mark.parametrize("covariance", ["spherical", "diag"])
@pytest.mark.parametrize("budget", [1, 1 << 20])
def test_views_are_the_loop_over_classes_rows_and_components(covariance, budget, monkeypatch):
    monkeypatch.setitem(batches.BUDGETS, covariance, budget)
    values, _, classes = planted((30, 9, 17))
    section = em(covariance=covariance, temperature=3.0, iterations=30)
    views, weights = in_loops(values, values, classes, section)
    found = fit_classes(values, values, classes, section)
    assert found.views.numpy() == pytest.approx(np.array(views), abs=1e-5)
    assert found.weights.numpy() == pytest.approx(np.array(weights), abs=1e-3)  # EM's own lag its last E-step
    assert found.live.all()


def test_what_is_fitted_and_what_is_averaged_may_differ():
    values, _, classes = planted((12, 9), noise=1.0)
    seen = torch.nn.functional.normalize(values @ torch.diag(torch.linspace(0.1, 3, WIDTH)), dim=-1)
    found = fit_classes(values, seen, classes, em()).views
    views, _ = in_loops(values, seen, classes, em())
    assert found.numpy() == pytest.approx(np.array(views), abs=1e-5)
    assert not torch.allclose(found, fit_classes(values, values, classes, em()).views, atol=1e-2)


def test_planted_modes_are_found_again():
    values, mode, classes = planted()
    views = fit_classes(values, values, classes, em()).views
    for c in range(classes.shape[1]):
        rows = classes[:, c]
        nearest = (values[rows] @ views[c].T).argmax(1)
        assert adjusted_rand_score(mode[rows].numpy(), nearest.numpy()) > 0.95


def test_one_component_is_the_mean_of_the_rows():
    values, _, classes = planted((12, 9))
    found = fit_classes(values, values, classes, em(components=1))
    means = np.stack([values[classes[:, c]].numpy().mean(0) for c in range(2)])
    assert found.views[:, 0].numpy() == pytest.approx(means / np.linalg.norm(means, axis=1, keepdims=True), abs=1e-6)


def test_a_class_of_one_row_has_one_live_component_that_the_others_repeat():
    values, _, classes = planted((6, 1))
    found = fit_classes(values, values, classes, em())
    assert found.live[1].sum() == 1
    assert found.views[1].numpy() == pytest.approx(np.repeat(values[-1:].numpy(), 3, 0), abs=1e-6)


def test_a_row_of_several_classes_counts_in_each():
    values, _, classes = planted((6, 6))
    both = classes.clone()
    both[0, 1] = True
    found = fit_classes(values, values, both, em(components=1)).views[1, 0].numpy()
    mean = values[[0, *range(6, 12)]].numpy().mean(0)
    assert found == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(20)))
def test_neither_the_order_of_the_rows_nor_the_other_classes_count(order):
    values, _, classes = planted((12, 5, 3))
    plain = fit_classes(values, values, classes, em())
    shuffled = fit_classes(values[order], values[order], classes[order], em())
    alone = fit_classes(values[:12], values[:12], classes[:12, :1], em())
    assert shuffled.views.numpy() == pytest.approx(plain.views.numpy(), abs=1e-5)
    assert alone.views[0].numpy() == pytest.approx(plain.views[0].numpy(), abs=1e-5)


def test_components_carry_no_gradient():
    values, _, classes = planted((6, 6))
    found = fit_classes(values.requires_grad_(), values, classes, em())
    assert not found.views.requires_grad
    assert not found.weights.requires_grad


def test_the_section_is_read():
    values, _, classes = planted(noise=1.0)
    plain = fit_classes(values, values, classes, em(iterations=1)).views
    for change in ({"iterations": 9}, {"temperature": 1e3}, {"covariance": "diag"}, {"floor": 0.1}):
        assert not torch.equal(fit_classes(values, values, classes, em(**{"iterations": 1, **change})).views, plain)
