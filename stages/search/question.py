"""What is asked about, as items: rows that belong to no dataset, seen as a head sees those of one. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cache.features import FeatureCache
from cache.mixtures import MixtureRows
from stages.items import Array, Items, Modality
from stages.tokens import Responsibilities, open_tokens


def as_items(like: Items, modality: Modality, cache: FeatureCache) -> Items:
    """The rows of a cache of pictures or texts, each an item in that modality, with tokens where the cache has some.

    like: items of the same encoder. In the other modality each stands beside the first of these: a head is shown
    pairs, and reads of them the modality that it is asked for."""
    pairs, rows = like.take(np.zeros(len(cache), np.int64)), [np.array([row]) for row in range(len(cache))]
    raw = cache.pooled_raw()
    return replace(
        pairs,
        ids=cache.ids,
        labels=[()] * len(cache),
        pooled={**pairs.pooled, modality: cache.pooled()},
        pooled_raw=None if pairs.pooled_raw is None or raw is None else {**pairs.pooled_raw, modality: raw},
        captions=None,
        tokens=None if pairs.tokens is None else {**pairs.tokens, modality: open_tokens(modality, cache, rows)},
    )


def with_views(items: Items, modality: Modality, mixed: MixtureRows) -> Items:
    """The items with component views in one modality, fitted to their tokens as those of a dataset are."""

    def put(held: dict[Modality, Any] | None, values: Any) -> dict[Modality, Any] | None:
        return None if held is None else {**held, modality: values}

    owners = Responsibilities(mixed.responsibilities, mixed.offsets[:-1], np.diff(mixed.offsets))
    return replace(
        items,
        views=put(items.views, np.asarray(mixed.views, np.float32)),
        weights=put(items.weights, np.asarray(mixed.weights, np.float32)),
        live=put(items.live, np.asarray(mixed.live, np.bool_)),
        responsibilities=put(items.responsibilities, owners),
    )


def named(like: Items, vectors: Array, raw: Array | None) -> Items:
    """Texts of which only vectors are known, (N, d) and (N, D0) or None, as items: the names of classes."""
    pairs = like.take(np.zeros(len(vectors), np.int64))
    both = None if pairs.pooled_raw is None or raw is None else {**pairs.pooled_raw, "text": raw}
    return replace(pairs, pooled={**pairs.pooled, "text": vectors}, pooled_raw=both, tokens=None, captions=None)
