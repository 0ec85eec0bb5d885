"""The two towers of an open_clip model, taken apart at their projections, so that tokens take the same way as pooled
vectors: B items, N tokens, F class tokens and their like, D tower width, D0 pooled width, d joint width."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from stages.extract.encoders import pools
from stages.extract.encoders.attention import quicken

Project = Callable[[Tensor], Tensor]
Pooling = Literal["class token", "mean", "last", "first", "last place", "own"]
Layer = tuple[Tensor, Tensor]  # tokens, extra


class TowerOut(NamedTuple):
    """What a tower says before its projection.

    tokens (B, N, D), of its last layer and normalised as the tower does before pooling; extra (B, F, D), its class
    tokens and their like, F may be 0; pooled (B, D0).
    """

    tokens: Tensor
    extra: Tensor
    pooled: Tensor


class Padding(NamedTuple):
    """What a tokenizer fills a text up with. `ends`: the first of them is the text's end token, hence a real one."""

    id: int
    ends: bool


@dataclass(frozen=True)
class ImageTower:
    """`run` (B, 3, H, W) -> TowerOut, whose pooled vector is `pool` of its tokens and extra: the model's own rule.

    `alone` (B, N, D) -> (B, N, D0): that rule for each token by itself. `project` (..., D0) -> (..., d), the identity
    where there is no projection.
    """

    run: Callable[[Tensor], TowerOut]
    pool: Callable[[Tensor, Tensor], Tensor]
    alone: Project
    project: Project


@dataclass(frozen=True)
class TextTower:
    """`run` token ids (B, L) -> TowerOut, whose pooled vector is `pool` of its tokens, extra and lengths.

    `alone` (..., D) -> (..., D0) and `project` as above; `lengths` ids (B, L) -> (B,), the real tokens. `trims`: ids
    may be cut to the longest real length of a batch, and every real token and pooled vector stays the same but for
    rounding. `extra` says what the tower's extra tokens are, where it has any.
    """

    run: Callable[[Tensor], TowerOut]
    pool: Callable[[Tensor, Tensor, Tensor], Tensor]
    alone: Project
    project: Project
    lengths: Callable[[Tensor], Tensor]
    trims: bool
    extra: Pooling


def image_tower(visual: Any, probe: Tensor) -> ImageTower:
    """Take an image tower apart; its projection is removed from it. `probe` (1, 3, H, W) is a picture of its size."""
    if isinstance(visual, VisionTransformer):
        matrix, visual.proj = visual.proj, None
        return _image(partial(_vit_layer, visual), pools.pool_vit, pools.alone_vit, visual, _by_matrix(matrix))
    if isinstance(visual, TimmModel):
        project = _take_timm_head(visual)
        head = pools.timm_head(visual, probe)
        return _image(partial(_timm_layer, visual), pools.pool_timm, pools.alone_timm, head, project)
    assert isinstance(visual, ModifiedResNet)
    return _image(partial(_resnet_layer, visual), pools.pool_resnet, pools.alone_resnet, visual, _same)


def _image(
    layer: Callable[[Tensor], Layer],
    pool: Callable[..., Tensor],
    alone: Callable[..., Tensor],
    of: Any,
    project: Project,
) -> ImageTower:
    pool, alone = partial(pool, of), partial(alone, of)
    return ImageTower(partial(_run, layer, pool), pool, alone, project)


def _run(layer: Callable[[Tensor], Layer], pool: Callable[[Tensor, Tensor], Tensor], pixels: Tensor) -> TowerOut:
    tokens, extra = layer(pixels)
    return TowerOut(tokens, extra, pool(tokens, extra))


def text_tower(text: Any, padding: Padding) -> TextTower:
    """Take a text tower apart; its projection is removed from it. `padding` is that of its tokenizer."""
    if isinstance(text, HFTextEncoder):
        return _hf_tower(text)
    assert isinstance(text, TextTransformer)
    projection, text.text_projection = text.text_projection, None
    quicken(text.transformer.resblocks)
    trims = text.attn_mask is not None and text.cls_emb is None and text.pool_type in ("argmax", "eos", "first")
    pool, lengths = partial(pools.pool_text, text), _lengths_of(text, padding)
    return TextTower(
        run=partial(_run_text, partial(_text_layer, text, trims), pool, lengths),
        pool=pool,
        alone=_same,
        project=projection if isinstance(projection, nn.Module) else _by_matrix(projection),
        lengths=lengths,
        trims=trims,
        extra="last place" if text.cls_emb is None else "class token",
    )


def _hf_tower(text: Any) -> TextTower:
    project, text.proj = text.proj, nn.Identity()
    pool, alone = partial(pools.pool_hf, text), partial(pools.alone_hf, text)
    lengths = partial(_until_padding, padding=Padding(text.config.pad_token_id, ends=False))
    run = partial(_run_text, partial(_hf_layer, text), pool, lengths)
    return TextTower(run, pool, alone, project, lengths, trims=True, extra="class token")


def _run_text(
    layer: Callable[[Tensor], Layer],
    pool: Callable[[Tensor, Tensor, Tensor], Tensor],
    lengths: Callable[[Tensor], Tensor],
    ids: Tensor,
) -> TowerOut:
    tokens, extra = layer(ids)
    return TowerOut(tokens, extra, pool(tokens, extra, lengths(ids)))


def _same(x: Tensor) -> Tensor:
    return x


def _by_matrix(matrix: Tensor | None) -> Project:
    if matrix is None:
        return _same
    weight = matrix.detach()
    return lambda x: x @ weight


def _vit_layer(visual: Any, pixels: Tensor) -> Layer:
    out = visual.forward_intermediates(
        pixels,
        indices=1,
        normalize_intermediates=not pools.norm_is_in_pool(visual),
        intermediates_only=True,
        output_fmt="NLC",
        output_extra_tokens=True,
    )
    return out["image_intermediates"][-1], out["image_intermediates_prefix"][-1]


def _resnet_layer(visual: Any, pixels: Tensor) -> Layer:
    out = visual.forward_intermediates(pixels, indices=1, intermediates_only=True, output_fmt="NCHW")
    tokens = out["image_intermediates"][-1].flatten(2).transpose(1, 2)  # (B, N, D)
    return tokens, tokens[:, :0]


def _timm_layer(visual: Any, pixels: Tensor) -> Layer:
    """A trunk of timm. Its forward_intermediates stops before the last convolution of an EfficientNet (320 of its
    1280 channels), so the map that the pool sees is asked for directly."""
    features = visual.trunk.forward_features(pixels)
    if features.ndim == 3:
        extra = getattr(visual.trunk, "num_prefix_tokens", 0)
        return features[:, extra:], features[:, :extra]
    by_rows = pools.rows_first(visual.trunk)
    tokens = features.flatten(1, 2) if by_rows else features.flatten(2).transpose(1, 2)  # (B, N, D)
    return tokens, tokens[:, :0]


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


def _hf_layer(text: Any, ids: Tensor) -> Layer:
    out = text.transformer(input_ids=ids, attention_mask=(ids != text.config.pad_token_id).long())
    tokens = out.last_hidden_state
    return tokens, tokens[:, :0]


def _text_layer(text: Any, trims: bool, ids: Tensor) -> Layer:
    """The class embedding, or the last place of all where the tower reads that, is no token of the text."""
    tower = _narrowed(text, ids.shape[1]) if trims else text
    out = tower.forward_intermediates(
        ids,
        indices=1,
        normalize_intermediates=True,
        intermediates_only=True,
        output_fmt="NLC",
        output_extra_tokens=True,
    )
    tokens = out["text_intermediates"][-1]
    if text.cls_emb is not None:
        return tokens, out["text_intermediates_suffix"][-1]
    return tokens, tokens[:, -1:] if text.pool_type == "last" else tokens[:, :0]


def _narrowed(text: Any, length: int) -> Any:
    """A view of a causal tower for texts of `length` tokens: the same weights under a smaller mask.

    A view, not a change and back: several threads share the tower.
    """
    view = copy.copy(text)
    view._buffers = {**text._buffers, "attn_mask": text.attn_mask[:length, :length]}
    return view


def _lengths_of(text: Any, padding: Padding) -> Callable[[Tensor], Tensor]:
    if text.cls_emb is None and text.pool_type == "argmax":
        return lambda ids: ids.argmax(dim=-1) + 1  # the end token has the largest id
    if text.cls_emb is None and text.pool_type == "eos":
        return lambda ids: (ids == text.eos_id).int().argmax(dim=-1) + 1
    return partial(_until_padding, padding=padding)


def _until_padding(ids: Tensor, padding: Padding) -> Tensor:
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    last = ((ids != padding.id) * places).amax(dim=-1)
    return (last + 1 if padding.ends else last).clamp(min=1, max=ids.shape[1])


def pooling_of(out: TowerOut, extra: Pooling = "class token") -> Pooling:
    """By which rule tokens make the pooled vector, found by comparing numbers; "own" where no simple rule does.

    `out` holds no padding; `extra` says what its extra tokens are. By every simple rule, a token alone pools to itself.
    """
    rules: dict[Pooling, Tensor] = {
        "mean": out.tokens.mean(dim=1),
        "last": out.tokens[:, -1],
        "first": out.tokens[:, 0],
    }
    if out.extra.shape[1]:
        rules = {extra: out.extra[:, 0], **rules}
    return next((name for name, made in rules.items() if _close(made, out.pooled)), "own")


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal but for the rounding of the precision in use."""
    if a.shape != b.shape:
        return False
    tolerance = max(8 * torch.finfo(b.dtype).eps, 1e-5)
    return bool((a - b).abs().max() <= tolerance * b.abs().max())
