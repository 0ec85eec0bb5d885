"""The two towers of an open_clip model, taken apart at their projections, so that tokens take the same way as pooled
vectors: B items, N tokens, D tower width, d joint width."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

Project = Callable[[Tensor], Tensor]
Pooling = Literal["class token", "mean", "last", "first", "own"]


class TowerOut(NamedTuple):
    """What a tower says before its projection.

    tokens (B, N, D), of its last layer and normalised as the tower does before pooling; extra (B, F, D), its class
    tokens and their like, F may be 0; pooled (B, D0).
    """

    tokens: Tensor
    extra: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class ImageTower:
    """`run` (B, 3, H, W) -> TowerOut; `project` (..., D0) -> (..., d), the identity where there is no projection."""

    run: Callable[[Tensor], TowerOut]
    project: Project


@dataclass(frozen=True)
class TextTower:
    """`run` token ids (B, L) -> TowerOut; `project` as above; `lengths` ids (B, L) -> (B,), the real tokens.

    `trims`: ids may be cut to the longest real length of a batch, and every real token and pooled vector stays
    the same but for rounding.
    """

    run: Callable[[Tensor], TowerOut]
    project: Project
    lengths: Callable[[Tensor], Tensor]
    trims: bool


def image_tower(visual: Any) -> ImageTower:
    """Take an image tower apart; its projection is removed from it."""
    if isinstance(visual, VisionTransformer):
        matrix, visual.proj = visual.proj, None
        return ImageTower(partial(_run_vit, visual), _by_matrix(matrix))
    if isinstance(visual, TimmModel):
        return ImageTower(partial(_run_timm, visual), _take_timm_head(visual))
    return ImageTower(partial(_run_resnet, visual), _same)


def text_tower(text: Any) -> TextTower:
    """Take a text tower apart; its projection is removed from it."""
    if isinstance(text, HFTextEncoder):
        project, text.proj = text.proj, nn.Identity()
        pad = text.config.pad_token_id
        return TextTower(partial(_run_hf, text), project, partial(_until_padding, pad=pad), True)
    assert isinstance(text, TextTransformer)
    projection, text.text_projection = text.text_projection, None
    project = projection if isinstance(projection, nn.Module) else _by_matrix(projection)
    trims = text.attn_mask is not None and text.cls_emb is None and text.pool_type in ("argmax", "eos", "first")
    return TextTower(partial(_run_text, text, trims), project, _lengths_of(text), trims)


def _same(x: Tensor) -> Tensor:
    return x


def _by_matrix(matrix: Tensor | None) -> Project:
    if matrix is None:
        return _same
    weight = matrix.detach()
    return lambda x: x @ weight


def _run_vit(visual: Any, pixels: Tensor) -> TowerOut:
    """ViT of open_clip. A final norm that belongs to the pool (or to an attention pool) is not one of the tokens."""
    normalised = visual.attn_pool is None and not visual.final_ln_after_pool
    out = visual.forward_intermediates(
        pixels, indices=1, normalize_intermediates=normalised, output_fmt="NLC", output_extra_tokens=True
    )
    return TowerOut(out["image_intermediates"][-1], out["image_intermediates_prefix"][-1], out["image_features"])


def _run_resnet(visual: Any, pixels: Tensor) -> TowerOut:
    out = visual.forward_intermediates(pixels, indices=1, output_fmt="NCHW")
    tokens = out["image_intermediates"][-1].flatten(2).transpose(1, 2)  # (B, P, D)
    return TowerOut(tokens, tokens[:, :0], out["image_features"])


def _run_timm(visual: Any, pixels: Tensor) -> TowerOut:
    """A trunk of timm. Its forward_intermediates stops before the last convolution of an EfficientNet (320 of its
    1280 channels), so the map that the pool sees is asked for directly."""
    features = visual.trunk.forward_features(pixels)
    pooled = visual.head(visual.trunk.forward_head(features))
    if features.ndim == 3:
        extra = visual.trunk.num_prefix_tokens
        return TowerOut(features[:, extra:], features[:, :extra], pooled)
    channels_last = getattr(visual.trunk, "output_fmt", "NCHW") == "NHWC"
    tokens = features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)  # (B, P, D)
    return TowerOut(tokens, tokens[:, :0], pooled)


def _take_timm_head(visual: Any) -> Project:
    """The projection of a timm tower: open_clip's head, else the trunk's own classifier; an attention pool stays."""
    if len(visual.head) and not hasattr(visual.head, "pool"):
        head, visual.head = visual.head, nn.Identity()
        return head  # type: ignore[no-any-return]
    classifier = visual.trunk.get_classifier()
    if len(visual.head) or not isinstance(classifier, nn.Linear):
        return _same
    visual.trunk.set_submodule(visual.trunk.default_cfg["classifier"], nn.Identity())
    return classifier


def _run_hf(text: Any, ids: Tensor) -> TowerOut:
    mask = (ids != text.config.pad_token_id).long()
    out = text.transformer(input_ids=ids, attention_mask=mask)
    tokens = out.last_hidden_state
    return TowerOut(tokens, tokens[:, :0], text.pooler(out, mask).to(tokens.dtype))


def _run_text(text: Any, trims: bool, ids: Tensor) -> TowerOut:
    tower = _narrowed(text, ids.shape[1]) if trims else text
    out = tower.forward_intermediates(ids, indices=1, normalize_intermediates=True, output_fmt="NLC")
    tokens = out["text_intermediates"][-1]
    return TowerOut(tokens, tokens[:, :0], out["text_features"])


def _narrowed(text: Any, length: int) -> Any:
    """A view of a causal tower for texts of `length` tokens: the same weights under a smaller mask.

    A view, not a change and back: several threads share the tower.
    """
    view = copy.copy(text)
    view._buffers = {**text._buffers, "attn_mask": text.attn_mask[:length, :length]}
    return view


def _lengths_of(text: Any) -> Callable[[Tensor], Tensor]:
    if text.cls_emb is None and text.pool_type == "argmax":
        return lambda ids: ids.argmax(dim=-1) + 1  # the end token has the largest id
    if text.cls_emb is None and text.pool_type == "eos":
        return lambda ids: (ids == text.eos_id).int().argmax(dim=-1) + 1
    return partial(_until_padding, pad=text.pad_id)


def _until_padding(ids: Tensor, pad: int) -> Tensor:
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    return ((ids != pad) * places).amax(dim=-1).clamp(min=1)


def pooling_of(out: TowerOut) -> Pooling:
    """By which rule tokens make the pooled vector, found by comparing numbers; "own" where no simple rule does.

    `out` holds no padding. Only where a rule is found do tokens behind the projection lie in the joint space.
    """
    rules: dict[Pooling, Tensor] = {
        "mean": out.tokens.mean(dim=1),
        "last": out.tokens[:, -1],
        "first": out.tokens[:, 0],
    }
    if out.extra.shape[1]:
        rules = {"class token": out.extra[:, 0], **rules}
    return next((name for name, made in rules.items() if _close(made, out.pooled)), "own")


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal but for the rounding of the precision in use."""
    if a.shape != b.shape:
        return False
    tolerance = max(8 * torch.finfo(b.dtype).eps, 1e-5)
    return bool((a - b).abs().max() <= tolerance * b.abs().max())
