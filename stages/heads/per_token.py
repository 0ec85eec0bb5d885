"""Component views whose tokens went through the head one by one (ours: GCRDP's Eqs. 1-3 over h(x_n)).

docs/decisions/0013 says what is kept of a token and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cache.errors import UsageError
from stages.heads.head import TOKEN_CELLS, Affine, tokens_in_space
from stages.items import MODALITIES, Array, Items, Modality, Rows, has_joint_tokens, unit
from stages.retrieval import blocks


class Parted(NamedTuple):
    """The tokens of B items in the space of retrieval: directions (B, N, d) float32 of unit length; shares (B, N, K)
    float32, gamma_nk times the length of token n: what its direction counts in view k, 0 where there is no token."""

    directions: Array
    shares: Array


def require_tokens(items: Items) -> None:
    """UsageError where tokens are not at hand in the space of the pooled vectors, or nobody said whose they are."""
    known = items.tokens is not None and items.responsibilities is not None
    if not (known and all(has_joint_tokens(items, m) and _owned(items, m) for m in MODALITIES)):
        raise UsageError(
            "train.gcrdp.space is head over tokens, which needs tokens in the space of the pooled vectors; set"
            " extract.tokens to joint and run 'extract' and 'mixture' again, or space to cached"
        )


def _owned(items: Items, modality: Modality) -> bool:
    """Whether the mixtures are of these very tokens, and not, say, of those of all captions."""
    whose, source = (items.responsibilities or {})[modality], (items.tokens or {})[modality]
    return bool(np.array_equal(whose.lengths, source.lengths))


def parted(items: Items, modality: Modality, rows: Rows, align: Affine | None) -> Parted:
    """The tokens of some items, each a direction and what it counts; a row may come twice.

    sum_n shares_nk directions_n is the view that `cached` reads, but for its length. A dead component's shares are
    those of the item's heaviest one, so that its view repeats a live one (see em.views_of)."""
    assert items.tokens is not None
    assert items.responsibilities is not None
    assert items.live is not None  # see require_tokens
    values, _ = tokens_in_space(items.tokens[modality], rows, align)
    owners = items.responsibilities[modality].padded(rows)
    live = items.live[modality][rows]
    mass = np.where(live, owners.sum(axis=1), -1)
    kept = np.where(live, np.arange(mass.shape[1]), mass.argmax(axis=1)[:, None])  # (B, K), whose tokens a view is of
    shares = owners * np.linalg.norm(values, axis=2, keepdims=True)
    return Parted(unit(values), np.take_along_axis(shares, kept[:, None], axis=2))


def token_views(items: Items, modality: Modality, align: Affine | None, head: Callable[[Array], Array]) -> Array:
    """Views (N, K, d) float32 of all items, norm(sum_n shares_nk norm(h(direction_n))), a block of items at a time.

    head: h, on vectors (..., d). UsageError as of require_tokens."""
    require_tokens(items)
    assert items.tokens is not None
    found: list[Array] = []
    longest = int(items.tokens[modality].lengths.max(initial=1))
    for block in blocks(len(items), longest * items.pooled[modality].shape[1], TOKEN_CELLS):
        own = parted(items, modality, np.arange(block.start, block.stop), align)
        found.append(unit(own.shares.transpose(0, 2, 1) @ unit(head(own.directions))))
    return np.concatenate(found)
