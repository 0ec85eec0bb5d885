"""Every family of towers that open_clip builds, small, through the real loader: what a cache holds, pooled by the
model's own rule, is what the whole model says; and where one token alone lies in the joint space."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from stages.extract.encoders.built import quietly
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.encoders.towers import TowerOut
from stages.extract.params import Precision
from tests.stages.extract.conftest import choice_of, write_model

WORDS = [
    "a",
    "about",
    "caption",
    "children",
    "dog",
    "in",
    "long",
    "meadow",
    "on",
    "snow",
    "swing",
    "the",
    "two",
    "very",
]
TEXTS = [
    "a dog",
    "two children on a swing",
    "snow",
    "a very long caption about a dog on a meadow in the snow in the meadow on a snow swing",
    "a dog in the snow",
]
CLOSE = 1e-5


@dataclass(frozen=True)
class Family:
    """A configuration, the words for its two pools, whether its texts may be trimmed, and whose tokenizer it has."""

    vision: dict[str, Any]
    text: dict[str, Any]
    pooling: tuple[str, str]
    trims: bool
    tokenizer: str = "clip"
    more: dict[str, Any] = field(default_factory=dict)
    width: int = 16  # of the joint space


VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
POOLER = {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2}
SPOKEN = {**TEXT, "vocab_size": 32, "hf_tokenizer_name": "beside the model"}
SIGLIP = {**SPOKEN, "no_causal_mask": True, "pool_type": "last", "proj_bias": True, "norm_kwargs": {"eps": 1e-6}}
HF = {
    "context_length": 12,
    "hf_tokenizer_name": "beside the model",
    "hf_model_pretrained": False,
    "hf_proj_type": "mlp",
}
CLS = {**TEXT, "embed_cls": True, "output_tokens": True}
DECODER = {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 1}


def timm(name: str, pool: str, proj: str | None, **more: Any) -> dict[str, Any]:
    return {"image_size": 160, "timm_model_name": name, "timm_pool": pool, "timm_proj": proj, **more}


FAMILIES = {
    "vit, class token": Family(VIT, TEXT, ("class token", "last"), True),
    "vit, mean; eos": Family(
        {**VIT, "pool_type": "avg"}, {**SPOKEN, "pool_type": "eos", "eos_id": 1}, ("mean", "last"), True, "t5"
    ),
    "vit, norm after the pool; first": Family(
        {**VIT, "pool_type": "avg", "final_ln_after_pool": True}, {**TEXT, "pool_type": "first"}, ("own", "first"), True
    ),
    "vit, norm after the class token; not causal": Family(
        {**VIT, "final_ln_after_pool": True}, {**TEXT, "no_causal_mask": True}, ("own", "last"), False
    ),
    "vit, attention pool of its width": Family({**VIT, **POOLER}, TEXT, ("own", "last"), True, width=32),
    "coca": Family(
        {**VIT, **POOLER, "output_tokens": True},
        CLS,
        ("own", "class token"),
        False,
        more={"multimodal_cfg": DECODER, "custom_text": True},
    ),
    "resnet": Family(
        {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}, TEXT, ("own", "last"), True
    ),
    "convnext": Family(timm("test_convnext", "", "linear"), TEXT, ("own", "last"), True),
    "convnext, mlp": Family(timm("test_convnext", "", "mlp"), TEXT, ("own", "last"), True),
    "siglip": Family(
        timm("test_vit3", "map", "none"), SIGLIP, ("own", "last place"), False, "t5", {"custom_text": True}, 96
    ),
    "timm, linear; bert, mean": Family(
        timm("test_efficientnet", "avg", "linear", timm_proj_bias=True),
        {**HF, "hf_pooler_type": "mean_pooler"},
        ("mean", "mean"),
        True,
        "bert",
    ),
    "timm, mlp; bert, pooler": Family(
        timm("test_resnet", "avg", "mlp"), {**HF, "hf_pooler_type": "cls_pooler"}, ("mean", "own"), True, "bert"
    ),
    "timm, own classifier; bert, first": Family(
        timm("test_vit", "token", None),
        {**HF, "hf_pooler_type": "cls_last_hidden_state_pooler"},
        ("class token", "first"),
        True,
        "bert",
    ),
    "timm, rows first": Family(timm("test_mambaout", "avg", None), TEXT, ("own", "last"), True),
    "timm, mean beside a class token": Family(timm("test_vit2", "avg", "linear"), TEXT, ("own", "last"), True),
    "timm, attention with positions": Family(timm("test_efficientnet", "abs_attn", None), TEXT, ("own", "last"), True),
    "timm, attention with rotations": Family(
        timm("test_efficientnet", "rot_attn", "linear"), TEXT, ("own", "last"), True
    ),
}


@dataclass(frozen=True)
class Both:
    """A family's encoder as this project loads it, and the model as open_clip does."""

    family: Family
    encoder: Encoder
    whole: Any

    @property
    def pixels(self) -> Tensor:
        size = self.family.vision["image_size"]
        return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def save_tokenizer(folder: Path, kind: str) -> None:
    """A tokenizer of words: T5's way, an end token that is the padding too, or BERT's."""
    start = {"t5": ["<unk>", "</s>"], "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]}[kind]
    unknown, end, pad = ("<unk>", "</s>", "</s>") if kind == "t5" else ("[UNK]", "[SEP]", "[PAD]")
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(start + WORDS)}, unk_token=unknown))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    single = f"$A {end}" if kind == "t5" else f"[CLS] $A {end}"
    words.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(token, i) for i, token in enumerate(start)]
    )
    ending = {"eos_token": end} if kind == "t5" else {"cls_token": "[CLS]", "sep_token": end}
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token=unknown, pad_token=pad, **ending).save_pretrained(folder)


def written(folder: Path, family: Family) -> Path:
    """The folder of a family's model. Its weights are shaken: fresh norms, biases and positions are the identity,
    under which wrong rules would pass too."""
    text, beside = dict(family.text), folder.parent / "beside"
    if family.tokenizer != "clip":
        beside.mkdir()
        save_tokenizer(beside, family.tokenizer)
    if family.tokenizer == "bert":
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        BertModel(BertConfig(vocab_size=32, max_position_embeddings=16, **sizes)).save_pretrained(beside)
        text["hf_model_name"] = str(beside)
    config = {"embed_dim": family.width, "vision_cfg": family.vision, "text_cfg": text, **family.more}
    write_model(folder, json.loads(json.dumps(config)))
    for path in beside.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    state, generator = load_file(folder / "open_clip_model.safetensors"), torch.Generator().manual_seed(2)
    for name, tensor in state.items():
        if tensor.is_floating_point() and "running" not in name:
            tensor += torch.randn(tensor.shape, generator=generator) * (0.3 if tensor.ndim < 2 else 0.05)
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def loaded(name: str) -> Both:
        folder = written(tmp_path_factory.mktemp("family") / "model", FAMILIES[name])
        with quietly():
            whole = open_clip.create_model(f"local-dir:{folder}").eval().requires_grad_(False)
        return Both(FAMILIES[name], load_encoder(choice_of(f"local-dir:{folder}")), whole)

    return loaded


@pytest.fixture(params=FAMILIES)
def both(request: pytest.FixtureRequest, load: Any) -> Both:
    made: Both = load(request.param)
    return made


def close(a: Any, b: Tensor) -> bool:
    return torch.allclose(torch.as_tensor(a), b, atol=CLOSE, rtol=CLOSE)


def padded(tokens: Any, lengths: Any) -> Tensor:
    """The rows of a cache (sum T, D) as (n, the longest T, D), zeros behind each."""
    parts = np.split(tokens, np.cumsum(lengths)[:-1])
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(part) for part in parts], batch_first=True)


def test_cached_picture_tokens_pool_to_encode_image(both: Both) -> None:
    encoder = both.encoder
    made, expected = encoder.encode_images(list(both.pixels), "raw"), both.whole.encode_image(both.pixels, False)
    extra = encoder.image.run(both.pixels).extra  # no class token is in a cache
    assert made.tokens is not None
    assert made.tokens.shape == (3, *encoder.image_shape)
    pooled = encoder.image.pool(torch.from_numpy(made.tokens), extra)
    assert close(encoder.image.project(pooled), expected)
    assert close(made.pooled, expected)
    assert expected.std() > 0.05  # not by being nothing


def test_cached_text_tokens_pool_to_encode_text(both: Both) -> None:
    encoder, texts = both.encoder, both.encoder.tokenize(TEXTS)
    made, expected = encoder.encode_texts(TEXTS, "raw"), both.whole.encode_text(texts.ids, False)
    extra = encoder.text.run(texts.ids).extra
    pooled = encoder.text.pool(padded(made.tokens, made.n_tokens), extra, texts.lengths)
    assert close(encoder.text.project(pooled), expected)
    assert close(made.pooled, expected)
    assert expected.std() > 0.05


def test_sorted_and_trimmed_texts_are_those_of_a_padded_batch(both: Both) -> None:
    encoder, texts = both.encoder, both.encoder.tokenize(TEXTS)
    order = np.argsort(texts.lengths.numpy(), kind="stable")
    full = encoder.text.run(texts.ids)
    for rows in np.split(order, [2, 4]):
        made = encoder.encode_ids(texts.take(rows), "raw")
        assert made.n_tokens.tolist() == texts.lengths[rows].tolist()
        assert close(made.tokens, torch.cat([full.tokens[row, : int(texts.lengths[row])] for row in rows]))
        assert close(made.pooled, encoder.text.project(full.pooled[rows]))


def test_texts_are_run_no_longer_than_they_are_where_that_is_exact(both: Both) -> None:
    widths: list[int] = []

    def run(ids: Tensor) -> TowerOut:
        widths.append(ids.shape[1])
        return both.encoder.text.run(ids)

    watched = replace(both.encoder, text=replace(both.encoder.text, run=run))
    longest = int(watched.tokenize(["a dog", "snow"]).lengths.max())
    watched.encode_texts(["a dog", "snow"], "none")
    assert widths == [longest if both.family.trims else 12]
    assert longest < 12


def test_lengths_count_what_is_no_padding(both: Both) -> None:
    texts, around = both.encoder.tokenize(TEXTS), 1 if both.family.tokenizer == "t5" else 2
    counts = [len(text.split()) + around for text in TEXTS]
    assert texts.lengths.tolist() == [min(count, 12) for count in counts]
    assert texts.truncated.tolist() == [count > 12 for count in counts]


def test_the_pools_have_names(both: Both) -> None:
    assert (both.encoder.pooling["image"], both.encoder.pooling["text"]) == both.family.pooling


def test_joint_tokens_lie_in_the_joint_space(both: Both) -> None:
    encoder = both.encoder
    pictures, texts = encoder.encode_images(list(both.pixels), "joint"), encoder.encode_texts(TEXTS, "joint")
    assert pictures.tokens is not None
    assert texts.tokens is not None
    assert pictures.tokens.shape == (3, encoder.image_shape[0], both.family.width)
    assert texts.tokens.shape == (texts.n_tokens.sum(), both.family.width)
    assert np.isfinite(pictures.tokens).all()
    assert np.isfinite(texts.tokens).all()
    assert np.array_equal(pictures.pooled, encoder.encode_images(list(both.pixels), "none").pooled)


PLACED = {
    "resnet": lambda of: of.attnpool.positional_embedding,
    "timm, attention with positions": lambda of: of.visual.head.pool.pos_embed,
}


def test_a_joint_picture_token_is_the_vector_of_a_picture_of_nothing_else(both: Both) -> None:
    """Where the pool adds no positions, that is; there the next test looks."""
    if both.family in [FAMILIES[name] for name in PLACED]:
        return
    tower, out = both.encoder.image, both.encoder.image.run(both.pixels[:1])
    told = both.encoder.encode_images(list(both.pixels[:1]), "joint").tokens
    assert told is not None
    for place in (0, out.tokens.shape[1] - 1):
        one = out.tokens[:, place : place + 1]
        pooled = tower.pool(one.expand_as(out.tokens), one.expand_as(out.extra))
        assert close(told[0, place], tower.project(pooled)[0])


@pytest.mark.parametrize("name", PLACED)
def test_a_pool_with_positions_gives_each_token_that_of_its_own_cell(name: str, load: Any) -> None:
    """So made that every cell, and the mean, holds the same once positions are added."""
    both: Both = load.__wrapped__(name)
    tower, tokens = both.encoder.image, both.encoder.image.run(both.pixels[:1]).tokens
    told = both.encoder.encode_images(list(both.pixels[:1]), "joint").tokens
    assert told is not None
    places = PLACED[name](tower.alone.args[0]).data  # type: ignore[attr-defined]
    places[0] = places[1:].mean(0)
    for place in (0, tokens.shape[1] - 1):
        alike = tokens[:, place] + places[1 + place] - places[1:]
        assert close(told[0, place], tower.project(tower.pool(alike[None], tokens[:, :0]))[0])


def test_a_joint_text_token_is_the_vector_of_a_text_of_nothing_else(both: Both) -> None:
    tower, texts = both.encoder.text, both.encoder.tokenize(TEXTS[:1])
    out, told = tower.run(texts.ids), both.encoder.encode_texts(TEXTS[:1], "joint").tokens
    assert told is not None
    for place in range(len(told)):
        one = out.tokens[:, place : place + 1]
        pooled = tower.pool(one.expand_as(out.tokens), one.expand_as(out.extra), texts.lengths)
        assert close(told[place], tower.project(pooled)[0])


def test_siglip_sees_its_padding(load: Any) -> None:
    """Which is why its texts are never trimmed, and why its end token, the padding too, counts once."""
    encoder = load("siglip").encoder
    assert encoder.tokenizer_about["ends"] == "with padding"
    assert "ends" not in load("vit, class token").encoder.tokenizer_about  # its caches keep their keys
    texts = encoder.tokenize(["a dog"])
    assert texts.ids.tolist() == [[2, 6, *[1] * 10]]
    assert texts.lengths.tolist() == [3]
    assert not close(encoder.text.run(texts.ids[:, :3]).tokens, encoder.text.run(texts.ids).tokens[:, :3])
    made = encoder.encode_texts(["a dog", "snow"], "raw")
    assert made.n_tokens.tolist() == [3, 2]
    assert made.tokens is not None
    assert close(made.tokens[:3], encoder.text.run(texts.ids).tokens[0, :3])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_less_precision_says_nearly_the_same(both: Both, precision: Precision) -> None:
    less = load_encoder(replace(choice_of(both.encoder.name), precision=precision))
    assert (less.digest, less.pooling) == (both.encoder.digest, both.encoder.pooling)
    pixels = list(both.pixels)
    for near, exact in (
        (less.encode_images(pixels, "joint"), both.encoder.encode_images(pixels, "joint")),
        (less.encode_texts(TEXTS, "joint"), both.encoder.encode_texts(TEXTS, "joint")),
    ):
        assert likeness(near.pooled, exact.pooled) > 0.999
        assert likeness(near.tokens, exact.tokens) > 0.99


def likeness(a: Any, b: Any) -> float:
    """The lowest cosine of rows that belong together."""
    return float(torch.cosine_similarity(torch.from_numpy(a), torch.from_numpy(b), dim=-1).min())
