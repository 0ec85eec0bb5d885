"""The attention of the text towers is torch's own, in fewer steps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn

from stages.extract.encoders.attention import SelfAttention, quicken

BATCH, LENGTH, HEADS, WIDTH = 3, 7, 4, 32


def masks() -> dict[str, Tensor | None]:
    """None; one for all; one for each text and head, which hides its padding too."""
    causal = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)
    each = causal.repeat(BATCH * HEADS, 1, 1)
    each[-HEADS:, :, 4:] = -torch.inf
    each[: 2 * HEADS] += torch.randn(2 * HEADS, LENGTH, LENGTH, generator=torch.Generator().manual_seed(0))
    return {"none": None, "causal": causal, "each": each}


@pytest.mark.parametrize("name", masks())
def test_attention_is_that_of_torch(name: str) -> None:
    torch.manual_seed(0)
    whole = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval().requires_grad_(False)
    whole.in_proj_bias.normal_()
    x, mask = torch.randn(BATCH, LENGTH, WIDTH), masks()[name]
    expected = whole(x, x, x, need_weights=False, attn_mask=mask)[0]
    assert torch.allclose(SelfAttention(whole)(x, x, x, need_weights=False, attn_mask=mask)[0], expected, atol=1e-6)


@pytest.mark.parametrize("more", [{}, {"embed_cls": True}, {"qk_norm": True}])
def test_a_text_tower_says_the_same_as_before(more: dict[str, Any]) -> None:
    """A class embedding brings a mask for each text; a block with an attention of its own keeps it."""
    torch.manual_seed(0)
    config = {"context_length": LENGTH, "vocab_size": 64, "width": 24, "heads": 2, "layers": 2, **more}
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = CustomTextCLIP(16, vision, config).text.eval().requires_grad_(False)
    quick, ids = copy.deepcopy(text), torch.randint(1, 64, (5, LENGTH))
    quicken(quick.transformer.resblocks)
    replaced = [isinstance(block.attn, SelfAttention) for block in quick.transformer.resblocks]
    assert replaced == [not more.get("qk_norm", False)] * 2
    assert torch.allclose(quick(ids), text(ids), atol=1e-5)
