"""Every family of towers that open_clip builds, small: what was taken apart says what the whole model says."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn

from stages.extract.towers import TowerOut, image_tower, pooling_of, text_tower

TEXT = {"context_length": 12, "vocab_size": 64, "width": 24, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
VISIONS: dict[str, tuple[dict[str, Any], str]] = {
    "vit, class token": (VIT, "class token"),
    "vit, mean": ({**VIT, "pool_type": "avg"}, "mean"),
    "vit, norm after the pool": ({**VIT, "pool_type": "avg", "final_ln_after_pool": True}, "own"),
    "vit, attention pool": ({**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4}, "own"),
    "resnet": ({"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}, "own"),
    "timm, linear head": (
        {
            "image_size": 160,
            "timm_model_name": "test_efficientnet",
            "timm_pool": "avg",
            "timm_proj": "linear",
            "timm_proj_bias": True,
        },
        "mean",
    ),
    "timm, mlp head": (
        {"image_size": 160, "timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "mlp"},
        "mean",
    ),
    "timm, own classifier": (
        {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None},
        "class token",
    ),
    "timm, norm before the head": (
        {"image_size": 160, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"},
        "own",
    ),
    "timm, attention pool": (
        {"image_size": 160, "timm_model_name": "test_efficientnet", "timm_pool": "abs_attn", "timm_proj": None},
        "own",
    ),
}
TEXTS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "end token": (TEXT, "last", True),
    "eos": ({**TEXT, "pool_type": "eos", "eos_id": 2}, "last", True),
    "first": ({**TEXT, "pool_type": "first"}, "first", True),
    "projection with bias": ({**TEXT, "proj_bias": True}, "last", True),
    "not causal": ({**TEXT, "no_causal_mask": True}, "last", False),
    "class embedding": ({**TEXT, "embed_cls": True}, "own", False),
}


def model_of(vision: dict[str, Any], text: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    model = CustomTextCLIP(16, vision, text).eval().requires_grad_(False)
    for module in model.modules():  # fresh norms are the identity, under which wrong rules would pass too
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.5)
            nn.init.normal_(module.bias, 0.0, 0.5)
    return model


def some_ids() -> tuple[Tensor, list[int]]:
    """Three texts that end with id 63, the largest, after an eos (2) where there is one; padding is 0."""
    ids = torch.zeros(3, 12, dtype=torch.long)
    lengths = [12, 5, 3]
    generator = torch.Generator().manual_seed(0)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(3, 60, (length,), generator=generator)
        ids[row, length - 1] = 63
    return ids, lengths


@pytest.mark.parametrize("family", VISIONS)
def test_projected_pooled_vectors_are_those_of_encode_image(family: str) -> None:
    vision, rule = VISIONS[family]
    model = model_of(vision, TEXT)
    whole = copy.deepcopy(model)
    pixels = torch.randn(2, 3, vision["image_size"], vision["image_size"], generator=torch.Generator().manual_seed(0))
    tower = image_tower(model.visual)
    out = tower.run(pixels)
    assert out.tokens.ndim == 3
    assert torch.allclose(tower.project(out.pooled), whole.encode_image(pixels), atol=1e-5)
    assert pooling_of(out) == rule


@pytest.mark.parametrize(
    "family", [name for name, (_, rule) in VISIONS.items() if rule == "mean" and "mlp" not in name]
)
def test_projected_picture_tokens_pool_to_encode_image(family: str) -> None:
    vision, _ = VISIONS[family]
    model = model_of(vision, TEXT)
    whole = copy.deepcopy(model)
    pixels = torch.randn(2, 3, vision["image_size"], vision["image_size"])
    tower = image_tower(model.visual)
    assert torch.allclose(tower.project(tower.run(pixels).tokens).mean(1), whole.encode_image(pixels), atol=1e-5)


@pytest.mark.parametrize("rule", ["class token", "mean"])
def test_projected_vit_tokens_pool_to_encode_image_by_the_models_rule(rule: str) -> None:
    model = model_of(next(v for v, r in VISIONS.values() if r == rule), TEXT)
    whole = copy.deepcopy(model)
    pixels = torch.randn(2, 3, 32, 32)
    tower = image_tower(model.visual)
    out = tower.run(pixels)
    tokens = out.extra if rule == "class token" else out.tokens
    assert torch.allclose(tower.project(tokens).mean(1), whole.encode_image(pixels), atol=1e-5)


def test_a_norm_that_belongs_to_the_pool_is_none_of_the_tokens() -> None:
    model = model_of(VISIONS["vit, norm after the pool"][0], TEXT)
    out = image_tower(model.visual).run(torch.randn(2, 3, 32, 32))
    assert torch.allclose(model.visual.ln_post(out.tokens.mean(1)), out.pooled, atol=1e-5)


@pytest.mark.parametrize("family", TEXTS)
def test_projected_text_vectors_are_those_of_encode_text(family: str) -> None:
    text, rule, trims = TEXTS[family]
    model = model_of(VIT, text)
    whole = copy.deepcopy(model)
    ids, lengths = some_ids()
    if family == "eos":
        ids[ids == 63] = 2
    tower = text_tower(model.text)
    out = tower.run(ids)
    assert torch.allclose(tower.project(out.pooled), whole.encode_text(ids), atol=1e-5)
    assert tower.lengths(ids).tolist() == lengths
    assert tower.trims is trims
    first = TowerOut(out.tokens[1:2, :5], out.extra[1:2], out.pooled[1:2])
    assert pooling_of(first) == rule


@pytest.mark.parametrize("family", [name for name, (_, _, trims) in TEXTS.items() if trims])
def test_trimming_a_causal_tower_is_exact(family: str) -> None:
    tower = text_tower(model_of(VIT, TEXTS[family][0]).text)
    ids, _ = some_ids()
    if family == "eos":
        ids[ids == 63] = 2
    short, full = tower.run(ids[1:, :5]), tower.run(ids[1:])
    assert torch.allclose(short.tokens, full.tokens[:, :5], atol=1e-5)
    assert torch.allclose(short.pooled, full.pooled, atol=1e-5)


def test_trimming_a_tower_that_sees_its_padding_would_not_be_exact() -> None:
    tower = text_tower(model_of(VIT, TEXTS["not causal"][0]).text)
    ids, _ = some_ids()
    assert not torch.allclose(tower.run(ids[1:, :5]).tokens, tower.run(ids[1:]).tokens[:, :5], atol=1e-3)


def test_trimming_leaves_the_shared_tower_as_it_was() -> None:
    model = model_of(VIT, TEXT)
    text_tower(model.text).run(some_ids()[0][:, :4])
    assert model.text.attn_mask.shape == (12, 12)


def test_a_pool_that_is_no_simple_rule_is_called_its_own() -> None:
    tokens = torch.randn(1, 4, 8)
    assert pooling_of(TowerOut(tokens, tokens[:, :0], tokens.mean(1))) == "mean"
    assert pooling_of(TowerOut(tokens, tokens[:, :0], tokens.amax(1))) == "own"
    assert pooling_of(TowerOut(tokens, tokens[:, :0], tokens.mean(1)[:, :4])) == "own"
