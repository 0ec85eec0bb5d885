"""Rows of no dataset as items: a head must see in them what it sees in the same rows of one."""

from __future__ import annotations

import numpy as np
import pytest

from cache.features import FeatureCache, Part
from cache.mixtures import MixtureRows
from stages.items import Items, Modality
from stages.search.question import as_items, named, with_views
from stages.tokens import open_tokens, read_tokens
from tests.stages.heads.test_posterior import head, items
from tests.stages.train import build


def part_of(given: Items, modality: Modality, rows: list[int], tokens: bool) -> Part:
    """Some items of a modality as a part: pictures with 5 tokens, texts with 5, one below the other."""
    values = build.tokens(0 if modality == "image" else 1)[rows]
    ragged = modality == "text" and tokens
    kept = values.reshape(-1, build.WIDTH) if ragged else values
    return Part(
        ids=[str(row) for row in rows],
        captions=np.zeros(len(rows), np.int32),
        n_tokens=np.full(len(rows), build.TOKENS, np.int32),
        truncated=np.zeros(len(rows), np.bool_),
        tokens=kept if tokens else None,
        offsets=np.arange(len(rows) + 1) * build.TOKENS if ragged else None,
        pooled=given.pooled[modality][rows],
        pooled_raw=None if given.pooled_raw is None else given.pooled_raw[modality][rows],
    )


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_head_sees_the_same_vectors(modality: Modality, aligned: bool) -> None:
    given, rows = items(aligned), [3, 41]
    cache = FeatureCache.of_part(modality, part_of(given, modality, rows, False), {"tokens": "none"})
    asked = as_items(given, modality, cache)
    assert (asked.ids, asked.labels) == (["3", "41"], [(), ()])
    one = head(aligned=aligned)
    wanted = one.vectors(given.take(rows), modality, "all").values
    np.testing.assert_array_equal(one.vectors(asked, modality, "all").values, wanted)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_tokens_are_read_as_those_of_a_cache_on_disk(modality: Modality) -> None:
    given, rows = items(), [3, 41]
    cache = FeatureCache.of_part(modality, part_of(given, modality, rows, True), {"tokens": "joint"})
    blank = FeatureCache.of_part("image", part_of(given, "image", [0], True), {"tokens": "joint"})
    like = as_items(given, "image", blank)
    assert like.tokens is None  # of items without tokens
    found, mask = read_tokens(open_tokens(modality, cache, [np.array([0]), np.array([1])]), np.array([1, 0]))
    np.testing.assert_array_equal(found, build.tokens(0 if modality == "image" else 1)[[41, 3]].astype(np.float64))
    assert mask.all()


def test_views_of_a_query_take_the_place_of_its_own_modality_alone() -> None:
    given = items()
    two = given.take([0, 1])
    mixed: MixtureRows = build.mixture(build.tokens(1)[[7, 8]])
    found = with_views(two, "text", mixed)
    assert found.views is not None
    assert given.views is not None
    np.testing.assert_array_equal(found.views["text"], mixed.views)
    np.testing.assert_array_equal(found.views["image"], given.views["image"][:2])


def test_names_are_texts_of_which_only_vectors_are_known() -> None:
    given = items()
    vectors, raw = np.ones((3, build.WIDTH), np.float32), np.full((3, 7), 2, np.float32)
    found = named(given, vectors, raw)
    assert len(found) == 3
    assert np.array_equal(found.pooled["text"], vectors)
    assert found.pooled_raw is not None
    assert np.array_equal(found.pooled_raw["text"], raw)
