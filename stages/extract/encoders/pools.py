"""How each kind of tower makes its pooled vector of its last layer's tokens, and where one token alone would go.

B items, N tokens, F class tokens and their like, D tower width, D0 width before the projection. Each pair of functions
is `pool` (B, N, D) and (B, F, D) -> (B, D0), the model's own rule, and `alone` (B, N, D) -> (B, N, D0), that rule for
each token by itself, all in one call. With one key the weights of an attention are all 1, so what is left of an
attention pool is the path of its values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from timm.layers import AttentionPool2d as PlacedPool
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPooling


def pool_vit(visual: Any, tokens: Tensor, extra: Tensor) -> Tensor:
    """Of open_clip's ViT. Where its final norm precedes the pool, tokens are past it already."""
    together = torch.cat([extra, tokens], dim=1)
    pooled = visual._pool(together) if norm_is_in_pool(visual) else visual._global_pool(together)
    return pooled[0]  # type: ignore[no-any-return]


def alone_vit(visual: Any, tokens: Tensor) -> Tensor:
    """Of open_clip's ViT: the values of an attention pool, then the norm, where they belong to the pool."""
    if visual.attn_pool is not None:
        tokens = _values(visual.attn_pool.attn, visual.attn_pool.ln_k(tokens))
    return visual.ln_post(tokens) if norm_is_in_pool(visual) else tokens


def norm_is_in_pool(visual: Any) -> bool:
    """Whether the final norm of open_clip's ViT is no part of its tokens."""
    return visual.attn_pool is not None or bool(visual.final_ln_after_pool)


def _values(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    together = attention.v_proj_weight is None
    weight = attention.in_proj_weight.chunk(3)[2] if together else attention.v_proj_weight
    bias = attention.in_proj_bias.chunk(3)[2]
    return attention.out_proj(functional.linear(x, weight, bias))  # type: ignore[no-any-return]


def pool_resnet(visual: Any, tokens: Tensor, _: Tensor) -> Tensor:
    """Of CLIP's ResNet, an attention whose query is the mean."""
    return visual.attnpool(tokens.transpose(1, 2)[..., None])  # type: ignore[no-any-return]


def alone_resnet(visual: Any, tokens: Tensor) -> Tensor:
    """Of CLIP's ResNet: the values, with the position of the token's own cell."""
    pool = visual.attnpool
    return pool.c_proj(pool.v_proj(tokens + pool.positional_embedding[1:]))  # type: ignore[no-any-return]


class TimmHead(NamedTuple):
    """A tower of timm, and the places of its features: (F + N,) of a sequence, (H, W) of a map."""

    visual: Any
    grid: tuple[int, ...]


def timm_head(visual: Any, probe: Tensor) -> TimmHead:
    """The head of a tower for pictures like `probe` (1, 3, H, W); no trunk says by its class what its features are."""
    shape = tuple(visual.trunk.forward_features(probe).shape[1:])
    channel = 0 if len(shape) == 3 and not rows_first(visual.trunk) else len(shape) - 1
    return TimmHead(visual, shape[:channel] + shape[channel + 1 :])


def pool_timm(of: TimmHead, tokens: Tensor, extra: Tensor) -> Tensor:
    """Of a trunk of timm: whatever its head is, given the features that the tokens were."""
    together = torch.cat([extra, tokens], dim=1) if extra.shape[1] else tokens
    return _head(of.visual, _features(of.visual.trunk, of.grid, together))


def _head(visual: Any, features: Tensor) -> Tensor:
    return visual.head(visual.trunk.forward_head(features))  # type: ignore[no-any-return]


def _features(trunk: Any, grid: tuple[int, ...], tokens: Tensor) -> Tensor:
    """Tokens (B, F + N, D) as the trunk's head takes them; `grid` (F + N,) of a sequence, (H, W) of a map."""
    batch, _, width = tokens.shape
    if len(grid) == 1:
        return tokens
    return (
        tokens.reshape(batch, *grid, width)
        if rows_first(trunk)
        else tokens.transpose(1, 2).reshape(batch, width, *grid)
    )


def rows_first(trunk: Any) -> bool:
    """Whether a trunk's map is (B, H, W, D), not (B, D, H, W)."""
    return getattr(trunk, "output_fmt", "NCHW") == "NHWC"


def alone_timm(of: TimmHead, tokens: Tensor) -> Tensor:
    """Of a trunk of timm: its head, given a picture whose one token this is. Where there are class tokens they are
    this token too; no weighting of equals matters. A pool that adds positions adds that of the token's own cell."""
    pool = next((module for module in of.visual.modules() if isinstance(module, PlacedPool)), None)
    if pool is not None:
        return _alone_placed(of, pool, tokens)
    extra = getattr(of.visual.trunk, "num_prefix_tokens", 0) if len(of.grid) == 1 else 0
    each = tokens.reshape(-1, 1, tokens.shape[2]).expand(-1, extra + 1, -1)
    pooled = _head(of.visual, _features(of.visual.trunk, (1,) * len(of.grid), each))
    return pooled.reshape(*tokens.shape[:2], -1)


def _alone_placed(of: TimmHead, pool: Any, tokens: Tensor) -> Tensor:
    places = resample_abs_pos_embed(pool.pos_embed[None], list(of.grid), old_size=pool.feat_size, num_prefix_tokens=1)
    placed = tokens + places[:, 1:]
    values = pool.v(placed) if pool.qkv is None else _last_third(pool.qkv, placed)
    behind = of.visual.head[1:] if getattr(of.visual.head, "pool", None) is pool else of.visual.head
    return behind(pool.proj(values))  # type: ignore[no-any-return]


def _last_third(layer: nn.Linear, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.chunk(3)[2]
    return functional.linear(x, layer.weight.chunk(3)[2], bias)


def pool_text(text: Any, tokens: Tensor, extra: Tensor, lengths: Tensor) -> Tensor:
    """Of open_clip's text tower; `extra` holds what it pools by, unless that is one of the text's tokens, which
    lengths (B,) tells from its padding."""
    if extra.shape[1]:
        return extra[:, 0]
    if text.pool_type == "first":
        return tokens[:, 0]
    return tokens[torch.arange(len(tokens), device=tokens.device), lengths - 1]


def pool_hf(text: Any, tokens: Tensor, _: Tensor, lengths: Tensor) -> Tensor:
    """Of a text tower of transformers; lengths (B,) of the real tokens."""
    real = (torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]).long()
    head = getattr(text.transformer, "pooler", None)
    said = BaseModelOutputWithPooling(last_hidden_state=tokens, pooler_output=head(tokens) if head else None)
    return text.pooler(said, real).to(tokens.dtype)  # type: ignore[no-any-return]


def alone_hf(text: Any, tokens: Tensor) -> Tensor:
    """Of a text tower of transformers: each token as a text of one; tokens (..., D)."""
    flat = tokens.reshape(-1, 1, tokens.shape[-1])
    lengths = torch.ones(len(flat), dtype=torch.long, device=tokens.device)
    return pool_hf(text, flat, flat[:, :0], lengths).reshape(*tokens.shape[:-1], -1)
