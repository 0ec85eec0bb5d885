from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from cache.errors import MissingError, UsageError, UserError
from cache.features import RowKind
from cache.store import make_key
from stages.extract import hub, openclip
from stages.extract.encoders import Encoder, load_encoder
from stages.extract.plan import cache_content
from stages.extract.run import encoder_about
from tests.stages.extract.conftest import TINY, choice_of, write_model

TEXTS = ["a dog", "a photo of two children on a swing", "!!! snow!"]
SMALL = "ViT-S-32-alt"  # the smallest model that open_clip lists


def said_of(encoder: str, **files: Path) -> str:
    with pytest.raises((UserError, UsageError, MissingError)) as caught:
        load_encoder(choice_of(encoder, **files))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def random_one() -> Encoder:
    return load_encoder(choice_of(f"{SMALL}/none"))


def test_random_weights_are_seeded_and_disturb_nobodys_random_numbers(random_one: Encoder) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again = load_encoder(choice_of(f"{SMALL}/none"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.digest == random_one.digest
    assert again.aligned


def test_a_named_model_says_what_open_clip_itself_says(tiny: Encoder, tiny_folder: Path) -> None:
    """The same checkpoint in open_clip's own CLIP class, texts padded to the context, no trimming, no taking apart."""
    model = open_clip.create_model(f"local-dir:{tiny_folder}").eval()
    assert type(model).__name__ == "CLIP"
    ids = open_clip.get_tokenizer(f"local-dir:{tiny_folder}")(TEXTS)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    made, seen = tiny.encode_texts(TEXTS, "joint"), tiny.encode_images(list(pixels), "joint")
    with torch.inference_mode():
        texts, images = model.encode_text(ids).numpy(), model.encode_image(pixels).numpy()
    assert made.tokens is not None
    ends = np.cumsum(made.n_tokens)
    assert np.allclose(made.pooled, texts, atol=1e-5)
    assert np.allclose(made.tokens[ends - 1], texts, atol=1e-5)  # the end token is the pooled one
    assert np.allclose(seen.pooled, images, atol=1e-5)
    assert tiny.pooling == {"image": "class token", "text": "last"}


def test_a_checkpoint_has_one_digest_whatever_file_it_came_in(tiny: Encoder, tiny_folder: Path, tmp_path: Path) -> None:
    stored = load_file(tiny_folder / "open_clip_model.safetensors")
    torch.save({"state_dict": {f"module.{name}": value for name, value in stored.items()}}, tmp_path / "same.pt")
    same = load_encoder(choice_of(f"local-dir:{tiny_folder}", weights=tmp_path / "same.pt"))
    assert same.digest == tiny.digest
    save_file({**stored, "logit_scale": stored["logit_scale"] + 1}, tmp_path / "other.safetensors")
    other = load_encoder(choice_of(f"local-dir:{tiny_folder}", weights=tmp_path / "other.safetensors"))
    assert other.digest != tiny.digest


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("the pickle ran",)


def test_code_in_a_checkpoint_is_never_run(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": Code()}, tmp_path / "code.pt")
    said = said_of(f"local-dir:{tiny_folder}", weights=tmp_path / "code.pt")
    assert said == (
        f"{tmp_path}/code.pt: holds more than tensors, and code in a checkpoint is never run; convert it to safetensors"
    )
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["foreign.safetensors", "cut.safetensors", "text.pt"])
def test_a_file_that_is_no_checkpoint_of_the_model_is_refused(tiny_folder: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = (tiny_folder / "open_clip_model.safetensors").read_bytes()
    if name.startswith("foreign"):
        save_file({"weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(whole[:1000] if name.startswith("cut") else b"hello")
    said = said_of(f"local-dir:{tiny_folder}", weights=path)
    assert said.startswith(f"{path}: ")
    assert said.endswith(("give that model's weights", "convert it to safetensors"))


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    assert said_of("ViT-B-32", weights=tmp_path / "no.pt") == (
        f"{tmp_path}/no.pt: no such file; extract.weights names a checkpoint (safetensors, or torch.save)"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B-32", "encoder 'ViT-B-32' says nothing of weights; add a tag (ViT-B-32/openai), ViT-B-32/none for "),
        ("ViT-B-32/opnai", "no weights 'opnai' of ViT-B-32; did you mean 'openai'?"),
    ],
)
def test_a_name_without_known_weights_is_one_line(name: str, said: str) -> None:
    assert said_of(name).startswith(said)


def test_contradictions_are_refused(heads_file: Path) -> None:
    assert said_of("ViT-B-32/none", weights=heads_file) == (
        "ViT-B-32/none asks for random weights and extract.weights names a file; leave one out"
    )
    assert said_of("ViT-B-32/none", heads=heads_file) == (
        "extract.heads aligns lite0-minilm; ViT-B-32/none is aligned already, leave extract.heads out"
    )


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(hub, "HfApi", lambda: pytest.fail("the network was asked"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "ViT-B-32/openai",
            "ViT-B-32/openai: its files of https://huggingface.co/timm/vit_base_patch32_clip_224.openai are not on "
            "this machine and cannot be fetched (HF_HUB_OFFLINE is set); fetch open_clip_model.safetensors or "
            "open_clip_pytorch_model.bin there and pass --weights FILE",
        ),
        (
            "hf-hub:timm/ViT-B-16-SigLIP",
            "hf-hub:timm/ViT-B-16-SigLIP: its files of https://huggingface.co/timm/ViT-B-16-SigLIP are not on this "
            "machine and cannot be fetched (HF_HUB_OFFLINE is set); download the repository elsewhere and use "
            "local-dir:<its folder>",
        ),
        (
            "roberta-ViT-B-32/none",
            "roberta-ViT-B-32/none: its files of https://huggingface.co/roberta-base are not on this machine and "
            "cannot be fetched (HF_HUB_OFFLINE is set); run 'hf download roberta-base' on a machine that reaches it, "
            "and copy its cache folder here",
        ),
    ],
)
def test_offline_a_missing_weight_says_what_to_fetch_and_where_to_put_it(name: str, said: str) -> None:
    assert said_of(name) == said


def test_a_tag_brings_its_preprocessing_and_its_activation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """open_clip warns, and goes on with the wrong one, where a model's name does not say QuickGELU and its tag does."""
    fetched = tmp_path / "weights.safetensors"
    seen: dict[str, Any] = {}

    def fetch(encoder: str, repository: str, names: list[str], remedy: str) -> Path:
        seen.update(encoder=encoder, repository=repository, names=names, remedy=remedy)
        return fetched

    tag = {"hf_hub": "timm/x/", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "quick_gelu": True}
    monkeypatch.setattr(openclip.hub, "fetch_one", fetch)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: tag)
    model = open_clip.create_model(SMALL, force_quick_gelu=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, fetched)
    made = load_encoder(choice_of(f"{SMALL}/any"))
    ids = made.tokenize(TEXTS)
    with torch.inference_mode():
        assert np.allclose(made.encode_ids(ids, "none").pooled, model.eval().encode_text(ids.ids).numpy(), atol=1e-5)
    assert seen["repository"] == "timm/x"
    assert seen["names"] == ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    assert made.preprocess_about["mean"] == [0.5, 0.5, 0.5]


def test_a_models_own_picture_size_is_kept(tmp_path: Path) -> None:
    large = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": 48}}  # type: ignore[dict-item]
    made = load_encoder(choice_of(f"local-dir:{write_model(tmp_path / 'large', large)}"))
    assert made.preprocess_about["size"] == [48, 48]
    assert made.image_shape == (9, 32)


def key_of(folder: Path, model: dict[str, Any], preprocess: dict[str, Any], kind: RowKind) -> str:
    """The key of a cache by the model of a folder, whose configuration is written anew and whose weights stay."""
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))
    encoder = load_encoder(replace(choice_of("local-dir:changing"), home=folder.parent))
    return make_key("features", cache_content(kind, "rows", encoder_about(encoder, kind), "float16", "raw"))


@pytest.mark.parametrize("kind", ["image", "text"])
def test_an_architecture_that_no_weight_shows_changes_the_key(tmp_path: Path, kind: RowKind) -> None:
    folder = write_model(tmp_path / "changing", TINY)
    pooled = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "pool_type": "avg"}}  # type: ignore[dict-item]
    argued = {**TINY, "text_cfg": {**TINY["text_cfg"], "act_kwargs": {"approximate": "tanh"}}}  # type: ignore[dict-item]
    plain = key_of(folder, TINY, {}, kind)
    assert key_of(folder, TINY, {}, kind) == plain
    others = [({**TINY, "quick_gelu": True}, {}), (TINY, {"quick_gelu": True}), (pooled, {}), (argued, {})]
    assert len({plain, *(key_of(folder, model, preprocess, kind) for model, preprocess in others)}) == 5


def test_a_relative_folder_is_found_from_home(tiny: Encoder, tiny_folder: Path, tmp_path: Path) -> None:
    choice = choice_of(f"local-dir:{tiny_folder.name}")
    made = load_encoder(replace(choice, home=tiny_folder.parent))
    assert made.name == "local-dir:tiny"  # what keys and ledgers hold is the name as it was given
    assert made.digest == tiny.digest
    with pytest.raises(MissingError, match=f"^{tmp_path}/tiny: no open_clip_config.json in this folder"):
        load_encoder(replace(choice, home=tmp_path))


def test_a_folder_without_a_model_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    assert said_of(f"local-dir:{tmp_path}") == (
        f"{tmp_path}: no open_clip_config.json in this folder; give the folder of an open_clip model"
    )
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))
    assert said_of(f"local-dir:{tmp_path}").startswith(f"{tmp_path}: none of open_clip_model.safetensors, ")
    assert tiny_folder.is_dir()


def test_a_hub_name_is_the_folder_that_was_fetched(
    tiny: Encoder, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openclip.hub, "fetch_all", lambda *_: tiny_folder)
    made = load_encoder(choice_of("hf-hub:someone/tiny"))
    assert made.name == "hf-hub:someone/tiny"
    assert made.digest == tiny.digest
    assert replace(made, name=tiny.name).tokenizer_about == tiny.tokenizer_about
