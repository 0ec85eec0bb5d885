"""Self-attention as the text towers of open_clip need it, at the speed that torch can give."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """The same weights and the same sums as the nn.MultiheadAttention it is made of, which takes a slow path under a
    mask of floats: it turns batch and length around, and copies at each step.

    A module, because a block of open_clip holds one.
    """

    def __init__(self, whole: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = whole.num_heads
        self.in_proj_weight, self.in_proj_bias = whole.in_proj_weight, whole.in_proj_bias
        self.out_proj = whole.out_proj

    def forward(self, x: Tensor, *_: Tensor, attn_mask: Tensor | None, **_kept: Any) -> tuple[Tensor, None]:
        """Call it as such a block does: with x (B, L, D), twice more the same, and a mask that is added, (L, L) or
        (B * heads, L, L), or None. Returns (B, L, D)."""
        batch, length, width = x.shape
        three = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = three.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, heads, L, D / heads)
        mask = attn_mask if attn_mask is None or attn_mask.ndim == 2 else attn_mask.view(batch, -1, length, length)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, length, width)), None


def quicken(blocks: nn.ModuleList) -> None:
    """Give every block of an open_clip transformer the attention above in place of torch's."""
    for block in blocks:
        if isinstance(block.attn, nn.MultiheadAttention):
            block.attn = SelfAttention(block.attn)
