"""Component views whose tokens went through the head one by one."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.errors import UsageError
from stages.heads import per_token
from stages.heads.files import load_head, save_head
from stages.heads.linear import LinearHead, Residual
from stages.items import MODALITIES, Items
from stages.retrieval import score
from tests.stages import with_tokens
from tests.stages.heads.test_linear import head, hidden_head
from tests.stages.train import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


TOKENS = with_tokens.values()
WHOSE = with_tokens.owners(TOKENS)


@pytest.fixture(scope="module")
def items(folder: Path) -> Items:
    return with_tokens.items(folder / "all", TOKENS, WHOSE)


def per_token_head(retrieve: str = "max", aligned: bool = True, **about: Any) -> LinearHead:
    return head(retrieve, aligned, per_token=True, **about)


def views_of(one: LinearHead, items: Items, modality: Any) -> np.ndarray:
    return one.vectors(items, modality, "target").values


def mapped(part: Residual, x: np.ndarray) -> np.ndarray:
    """norm(h(x)) of one vector in float64."""
    inner = x
    if part.hidden_weight is not None:
        inner = np.maximum(x @ part.hidden_weight.astype(float) + part.hidden_bias, 0)
    moved = x + inner @ part.weight.astype(float) + part.bias
    return moved / np.linalg.norm(moved)


def loop(one: LinearHead, modality: str) -> np.ndarray:
    """norm(sum_n gamma_nk |x_n| norm(h(x_n / |x_n|))), token by token; a dead component repeats the heaviest."""
    found = []
    for tokens, gamma in zip(TOKENS[modality], WHOSE[modality].copy(), strict=True):
        views = np.zeros((build.K, len(one.residual[modality].bias)))
        heaviest = int(gamma.sum(0, dtype=np.float64).argmax())
        for k in range(build.K):
            column = k if gamma[:, k].any() else heaviest
            for x, weight in zip(tokens.astype(np.float64), gamma[:, column].astype(np.float64), strict=True):
                place = (x - one.align[modality].mean) @ one.align[modality].map if modality in one.align else x
                length = np.linalg.norm(place)
                views[k] += weight * length * mapped(one.residual[modality], place / length)
        found.append(views / np.linalg.norm(views, axis=1, keepdims=True))
    return np.array(found)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("aligned", [True, False])
def test_views_are_the_loop_over_tokens(items: Items, aligned: bool, modality: Any) -> None:
    one = per_token_head(aligned=aligned)
    assert views_of(one, replace(items, aligned=aligned), modality) == pytest.approx(loop(one, modality), abs=2e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_so_they_are_behind_a_hidden_layer(items: Items, modality: Any) -> None:
    one = hidden_head()
    one = replace(one, about={**one.about, "retrieve": "max", "per_token": True})
    assert views_of(one, items, modality) == pytest.approx(loop(one, modality), abs=2e-5)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("aligned", [True, False])
def test_a_head_that_changes_nothing_finds_the_cached_views(items: Items, aligned: bool, modality: Any) -> None:
    each, whole = per_token_head("mix", aligned), head("mix", aligned)
    still = {m: Residual(np.zeros_like(part.weight), np.zeros_like(part.bias)) for m, part in whole.residual.items()}
    seen = replace(items, aligned=aligned)
    found, expected = (views_of(replace(one, residual=still), seen, modality) for one in (each, whole))
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.abs(views_of(each, seen, modality) - views_of(whole, seen, modality)).max() > 0.01


def test_neither_padding_nor_the_block_an_item_is_in_counts(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    one = per_token_head()
    together = views_of(one, items, "text")
    assert {len(own) for own in TOKENS["text"]} == {2, 3, 4, 5, 6}
    monkeypatch.setattr(per_token, "TOKEN_CELLS", 1)
    assert views_of(one, items, "text") == pytest.approx(together, abs=1e-6)
    order = np.arange(len(items))[::-1]
    assert views_of(one, items.take(order), "text") == pytest.approx(together[order], abs=1e-6)


def test_tokens_are_read_a_block_of_bounded_size_at_a_time(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, plain = [], per_token.tokens_in_space

    def watched(*given: Any) -> Any:
        found = plain(*given)
        sizes.append(found[0].size)
        return found

    monkeypatch.setattr(per_token, "tokens_in_space", watched)
    monkeypatch.setattr(per_token, "TOKEN_CELLS", 4 * 6 * build.WIDTH)
    views_of(per_token_head(), items, "text")
    assert max(sizes) <= 4 * 6 * build.WIDTH
    assert len(sizes) >= len(items) / 4


def test_the_order_of_an_items_tokens_does_not_count(items: Items, folder: Path) -> None:
    rng = np.random.default_rng(0)
    orders = {m: [rng.permutation(len(own)) for own in TOKENS[m]] for m in MODALITIES}
    tokens, whose = (
        {m: [own[order] for own, order in zip(group[m], orders[m], strict=True)] for m in MODALITIES}
        for group in (TOKENS, WHOSE)
    )
    shuffled = with_tokens.items(folder / "shuffled", tokens, whose)
    for modality in MODALITIES:
        found = views_of(per_token_head(), shuffled, modality)
        assert found == pytest.approx(views_of(per_token_head(), items, modality), abs=1e-5)


def test_a_dead_component_repeats_a_live_one(items: Items) -> None:
    dead = ~items.live["text"]
    assert dead.any()
    one = per_token_head()
    values = [views_of(one, items, m) for m in MODALITIES]
    alone = values[1].copy()
    for row, k in np.argwhere(dead):
        alone[row, k] = alone[row, int(items.weights["text"][row].argmax())]
    assert np.array_equal(score(values[0], values[1], "max"), score(values[0], alone, "max"))


def test_a_head_read_back_still_maps_every_token(items: Items, tmp_path: Path) -> None:
    before = per_token_head("mix", episode="e")
    save_head(tmp_path / "head", before)
    after = load_head(tmp_path / "head")
    assert after.about == before.about
    for modality in MODALITIES:
        assert np.array_equal(after.vectors(items, modality, "all").values, views_of(before, items, modality))


REFUSED = (
    r"^train.gcrdp.space is head over tokens, which needs tokens in the space of the pooled vectors; set "
    r"extract.tokens to joint and run 'extract' and 'mixture' again, or space to cached$"
)


def without(items: Items, folder: Path) -> dict[str, Items]:
    """Items whose tokens cannot be mapped: none read, nobody's, others', of another width, none in the cache, and from
    before the projection."""
    wide = with_tokens.values()
    wide["text"] = [np.concatenate([own, own], axis=1) for own in wide["text"]]
    bare = {m: replace(own, pooled=own.cache.pooled()) for m, own in items.tokens.items()}
    other = replace(with_tokens.items(folder / "wide", wide, WHOSE), pooled=items.pooled)
    nobodys = replace(items, responsibilities=None)
    others = {**items.responsibilities, "text": items.responsibilities["image"]}
    raw = copy.deepcopy(items.tokens)
    raw["text"].cache.about["content"]["tokens"] = "raw"
    return {
        "unread": replace(items, tokens=None),
        "whose": nobodys,
        "others": replace(items, responsibilities=others),
        "none": replace(items, tokens=bare),
        "raw": replace(items, tokens=raw),
        "width": other,
    }


@pytest.mark.parametrize("lack", ["unread", "whose", "others", "none", "raw", "width"])
def test_tokens_that_cannot_be_mapped_are_refused_in_one_line(items: Items, tmp_path: Path, lack: str) -> None:
    with pytest.raises(UsageError, match=REFUSED):
        views_of(per_token_head(), without(items, tmp_path)[lack], "text")
