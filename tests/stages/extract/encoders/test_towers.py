"""What taking towers apart leaves as it was, and the names of pools. That the parts say what the whole model says is
in test_families.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor

from stages.extract.encoders.towers import Padding, TowerOut, image_tower, pooling_of, text_tower

TEXT = {"context_length": 12, "vocab_size": 64, "width": 24, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
ZEROS = Padding(0, ends=False)


def model_of(vision: dict[str, Any] = VIT, text: dict[str, Any] = TEXT) -> Any:
    torch.manual_seed(0)
    return CustomTextCLIP(16, vision, text).eval().requires_grad_(False)


def some_ids() -> Tensor:
    """Three texts of 12, 5 and 3 tokens that end with id 63, the largest; padding is 0."""
    ids = torch.zeros(3, 12, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    for row, length in enumerate([12, 5, 3]):
        ids[row, :length] = torch.randint(3, 60, (length,), generator=generator)
        ids[row, length - 1] = 63
    return ids


def test_trimming_a_tower_that_sees_its_padding_would_not_be_exact() -> None:
    ids = some_ids()[1:]
    seeing, causal = (text_tower(model_of(text={**TEXT, "no_causal_mask": no}).text, ZEROS) for no in (True, False))
    assert not torch.allclose(seeing.run(ids[:, :5]).tokens, seeing.run(ids).tokens[:, :5], atol=1e-3)
    assert torch.allclose(causal.run(ids[:, :5]).tokens, causal.run(ids).tokens[:, :5], atol=1e-5)
    assert (seeing.trims, causal.trims) == (False, True)


def test_trimming_leaves_the_shared_tower_as_it_was() -> None:
    model = model_of()
    text_tower(model.text, ZEROS).run(some_ids()[:, :4])
    assert model.text.attn_mask.shape == (12, 12)


def test_a_norm_that_belongs_to_the_pool_is_none_of_the_tokens() -> None:
    model = model_of({**VIT, "pool_type": "avg", "final_ln_after_pool": True})
    torch.nn.init.normal_(model.visual.ln_post.weight)
    out = image_tower(model.visual, torch.zeros(1, 3, 32, 32)).run(torch.randn(2, 3, 32, 32))
    assert torch.allclose(model.visual.ln_post(out.tokens.mean(1)), out.pooled, atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "lengths"), [(Padding(0, ends=False), [3, 1, 4]), (Padding(0, ends=True), [4, 1, 4])]
)
def test_a_text_reaches_to_its_padding_or_to_the_first_of_it(padding: Padding, lengths: list[int]) -> None:
    """An end token that is the padding too belongs to the text, if there is room; an empty text is one token."""
    tower = text_tower(model_of(text={**TEXT, "pool_type": "last"}).text, padding)
    assert tower.lengths(torch.tensor([[5, 0, 7, 0], [0, 0, 0, 0], [5, 6, 7, 8]])).tolist() == lengths


def test_a_pool_that_is_no_simple_rule_is_called_its_own() -> None:
    tokens = torch.randn(1, 4, 8)
    assert pooling_of(TowerOut(tokens, tokens[:, :0], tokens.mean(1))) == "mean"
    assert pooling_of(TowerOut(tokens[:, 1:], tokens[:, :1], tokens[:, 0])) == "class token"
    assert pooling_of(TowerOut(tokens[:, 1:], tokens[:, :1], tokens[:, 0]), "last place") == "last place"
    assert pooling_of(TowerOut(tokens, tokens[:, :0], tokens.amax(1))) == "own"
    assert pooling_of(TowerOut(tokens, tokens[:, :0], tokens.mean(1)[:, :4])) == "own"
