"""All items of one modality: each in its place whatever the batches, and groups dealt by the item's id alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cache.features import FeatureCache
from cache.mixtures import MixtureRows
from cache.store import read_ledger
from stages.batches import BUDGETS
from stages.items import caption_rows, open_features
from stages.mixture import fit
from stages.mixture.params import MixtureSection
from stages.tokens import open_tokens
from tests.stages.small_features import place

IDS = ["e", "a", "d", "b", "c"]
LENGTHS = [5, 2, 7, 4, 3]
SECTION: dict[str, Any] = {
    "components": 3, "covariance": "spherical", "iterations": 4, "temperature": "auto", "floor": 1e-4, "groups": "em",
}  # fmt: skip


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    words = [[np.random.default_rng(n).normal(size=(n, 6)).astype(np.float16)] for n in LENGTHS]
    here = place(tmp_path_factory.mktemp("fit"), IDS, np.zeros((5, 1, 6), np.float16), words, [["x"]] * 5)
    return open_features(here.store, read_ledger(here.features), "text")


def fitted(cache: FeatureCache, ids: list[str], **section: Any) -> MixtureRows:
    source = open_tokens("text", cache, caption_rows(cache, ids, "first"))
    return fit.fit_items(source, ids, MixtureSection(**{**SECTION, **section}), 3)


def of(rows: MixtureRows, item: int) -> dict[str, np.ndarray]:
    own = slice(*rows.offsets[item : item + 2])
    whole = {name: getattr(rows, name)[item] for name in ("views", "weights", "objective", "live")}
    return {**whole, "responsibilities": rows.responsibilities[own]}


def test_the_arrays_are_those_that_are_kept(texts: FeatureCache) -> None:
    rows = fitted(texts, IDS)
    assert rows.offsets.tolist() == [0, 5, 7, 14, 18, 21]
    assert (rows.views.shape, rows.objective.shape) == ((5, 3, 6), (5, 4))
    np.testing.assert_allclose(rows.weights.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(rows.responsibilities.astype(float).sum(1), 1, atol=2e-3)
    assert rows.live.sum(1).tolist() == [3, 2, 3, 3, 3]


@pytest.mark.parametrize("groups", ["em", "random"])
@pytest.mark.parametrize("budget", [1, 70, 1 << 20])
def test_an_item_is_the_same_in_any_order_and_any_batch(
    texts: FeatureCache, monkeypatch: pytest.MonkeyPatch, groups: str, budget: int
) -> None:
    wanted = fitted(texts, IDS, groups=groups)
    monkeypatch.setitem(BUDGETS, "spherical", budget)
    order = sorted(IDS)
    found = fitted(texts, order, groups=groups)
    for row, name in enumerate(order):
        for what, values in of(wanted, IDS.index(name)).items():
            np.testing.assert_allclose(of(found, row)[what], values, rtol=1e-4, atol=1e-5, err_msg=what)


def test_random_groups_are_the_groups_of_em_in_another_order(texts: FeatureCache) -> None:
    plain, dealt = fitted(texts, IDS), fitted(texts, IDS, groups="random")
    moved = 0
    for item in range(len(IDS)):
        one, other = (of(rows, item)["responsibilities"].astype(float) for rows in (plain, dealt))
        np.testing.assert_array_equal(sorted(one.tolist()), sorted(other.tolist()))
        moved += not np.array_equal(one, other)
    assert moved >= 3


def test_a_temperature_that_is_given_is_the_one_that_is_used(texts: FeatureCache) -> None:
    auto, same, other = (fitted(texts, IDS, temperature=t) for t in ("auto", 6 / 5, 5.0))
    np.testing.assert_array_equal(auto.objective, same.objective)
    assert not np.allclose(auto.objective, other.objective)
