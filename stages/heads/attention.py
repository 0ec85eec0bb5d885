"""Token attention (ours): an item is read anew for each class, from those of its tokens that speak of it.

DESIGN section 6, SCM, step 5. In the joint space alone; the tokens are read a block of items at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from cache.errors import UsageError
from stages.heads.head import TOKEN_CELLS, Affine, tokens_in_space
from stages.items import MODALITIES, Array, Items, Modality, has_joint_tokens, unit
from stages.retrieval import blocks
from stages.tokens import Tokens, check_tokens


@dataclass(frozen=True)
class Attention:
    """How a vote attends to tokens: tau[m] is t, the temperature of an item's tokens; share is what the cosine of the
    attended place counts in a logit, beside the cosine of the pooled one."""

    tau: Mapping[Modality, float]
    share: float

    def mix(self, pooled: Array, attended: Array) -> Array:
        """Both cosines (N, C) in their shares."""
        return np.float32(1 - self.share) * pooled + np.float32(self.share) * attended


def attend(tokens: Array, mask: NDArray[np.bool_], whiten: Affine, asked: Array, tau: float) -> Array:
    """Where B items stand for each of C classes: z(x_ic), (B, C, d) float32 unit vectors, x_ic = unit(sum_n w_nc x_n),
    w_nc = softmax over an item's tokens of z_n p_c / tau.

    tokens (B, N, D) float32 in the joint space, mask (B, N) bool, False where there is no token, at least one token an
    item; asked (C, d) unit vectors p_c. (ours) What a token says is read off its direction, z_n = unit((unit(x_n) -
    mean) W), as of a pooled vector; what is summed are the tokens at their own length, as in a component view. Where
    tau is so large that all count alike, x_ic is then the direction of their mean: of the pooled vector, where a tower
    takes the mean."""
    near = np.full((*mask.shape, len(asked)), -np.inf, np.float32)
    near[mask] = unit(whiten(unit(tokens[mask]))) @ asked.T
    weights = softmax(near / np.float32(tau), axis=1)
    return unit(whiten(unit(weights.transpose(0, 2, 1) @ tokens)))


def attended(
    source: Tokens, align: Affine | None, whiten: Affine, asked: Array, tau: float
) -> Iterator[tuple[slice, Array]]:
    """`attend` of all items of a source, block by block: which rows, and their places (B, C, d). align: what maps the
    tokens of a tower into the joint space, None where they are in it."""
    longest, width = int(source.lengths.max()), max(whiten.map.shape)
    for rows in blocks(len(source), max(longest, len(asked)) * width, TOKEN_CELLS):
        tokens, mask = tokens_in_space(source, np.arange(rows.start, rows.stop), align)
        yield rows, attend(tokens, mask, whiten, asked, tau)


def cosines(source: Tokens, align: Affine | None, whiten: Affine, asked: Array, tau: float) -> Array:
    """The logits that attention finds, z(x_ic) p_c of N items and C classes, (N, C) float32."""
    found = np.empty((len(source), len(asked)), np.float32)
    for rows, places in attended(source, align, whiten, asked, tau):
        found[rows] = np.einsum("bcd,cd->bc", places, asked)
    return found


def tokens_of(items: Items) -> Mapping[Modality, Tokens]:
    """The tokens of both modalities. UsageError where they are not in the space of the pooled vectors: where none are
    kept, or those of an aligned encoder before its projection. UserError names an item without any token."""
    if items.tokens is None or not all(has_joint_tokens(items, m) for m in MODALITIES):
        raise UsageError(
            "train.scm.attention needs tokens in the space of the pooled vectors; set extract.tokens to joint and run"
            " 'extract' again, or train.scm.attention to false"
        )
    check_tokens([items.tokens[m] for m in MODALITIES], items.ids, 1)
    return items.tokens
