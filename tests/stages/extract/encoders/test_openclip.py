from __future__ import annotations

import argparse
import json
import pickle
import re
import shutil
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
from stages.extract.encoders import hub, openclip
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.encoders.registry import parse
from stages.extract.plan import cache_content
from stages.extract.run import encoder_about
from tests.stages.extract.conftest import TINY, choice_of, write_model
from tests.stages.extract.encoders.pickles import Writes

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


REFUSED = (
    "holds more than tensors, and code in a checkpoint is not run; convert it to safetensors, or pass --allow-pickle "
    "if you trust whoever made it"
)


def allowed(encoder: str, weights: Path | None = None) -> Encoder:
    return load_encoder(replace(choice_of(encoder, weights=weights), allow_pickle=True))


@pytest.mark.parametrize("old", [False, True])
def test_code_in_a_checkpoint_is_run_only_where_that_is_allowed(
    tiny: Encoder, tiny_folder: Path, tmp_path: Path, old: bool
) -> None:
    """Both of torch's formats; a folder's own file and one given by name."""
    state = load_file(tiny_folder / "open_clip_model.safetensors")
    path, written = tmp_path / "code.pt", tmp_path / "written"
    torch.save({"state_dict": state, "args": Writes(written)}, path, _use_new_zipfile_serialization=not old)
    assert said_of(f"local-dir:{tiny_folder}", weights=path) == f"{path}: {REFUSED}"
    shutil.copy(tiny_folder / "open_clip_config.json", tmp_path)
    shutil.copy(path, tmp_path / "open_clip_pytorch_model.bin")
    assert said_of(f"local-dir:{tmp_path}") == f"{tmp_path}/open_clip_pytorch_model.bin: {REFUSED}"
    assert not written.exists()
    assert allowed(f"local-dir:{tiny_folder}", weights=path).digest == tiny.digest
    assert written.exists()


def test_a_training_runs_checkpoint_needs_the_flag(tiny: Encoder, tiny_folder: Path, tmp_path: Path) -> None:
    state = load_file(tiny_folder / "open_clip_model.safetensors")
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1e-4)}, tmp_path / "epoch.pt")
    assert said_of(f"local-dir:{tiny_folder}", weights=tmp_path / "epoch.pt").endswith(REFUSED)
    assert allowed(f"local-dir:{tiny_folder}", weights=tmp_path / "epoch.pt").digest == tiny.digest


def test_a_pickle_under_the_name_of_safetensors_is_refused_with_the_flag_too(tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "code.safetensors"
    path.write_bytes(pickle.dumps(Writes(tmp_path / "written")))
    with pytest.raises(UserError, match=f"^{path}: not a checkpoint of local-dir:"):
        allowed(f"local-dir:{tiny_folder}", weights=path)
    assert not (tmp_path / "written").exists()


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in open_clip.create_model(SMALL).state_dict().items()}


@pytest.fixture(scope="module")
def script(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TorchScript archive as OpenAI's own are: weights by their names, and three numbers beside them."""
    path = tmp_path_factory.mktemp("script") / "jit.pt"
    root = torch.nn.Module()
    numbers = dict.fromkeys(("input_resolution", "context_length", "vocab_size"), torch.tensor(7))
    for name, value in {**state, **numbers}.items():
        *parents, leaf = name.split(".")
        place = root
        for parent in parents:
            if parent not in dict(place.named_children()):
                place.add_module(parent, torch.nn.Module())
            place = place.get_submodule(parent)
        place.register_buffer(leaf, value)
    torch.jit.save(torch.jit.script(root), path)
    return path


def test_torchscript_is_code(script: Path, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert said_of(SMALL, weights=script) == f"{script}: {REFUSED}"
    save_file(state, tmp_path / "same.safetensors")
    assert (
        allowed(SMALL, weights=script).digest
        == load_encoder(choice_of(SMALL, weights=tmp_path / "same.safetensors")).digest
    )


def test_openais_files_are_not_run_under_another_activation(script: Path) -> None:
    said = said_of("ViT-B-32", weights=script)
    assert said == (
        f"{script}: a TorchScript file, as OpenAI released its models, which were trained with QuickGELU; write "
        "--encoder ViT-B-32/openai beside --weights"
    )
    assert said_of("ViT-B-32/openai", weights=script).startswith(f"{script}: {REFUSED}")


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
    assert said.endswith("give that model's weights")


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    assert said_of("ViT-B-32", weights=tmp_path / "no.pt") == (
        f"{tmp_path}/no.pt: no such file; extract.weights names a checkpoint (safetensors, or torch.save)"
    )


def test_a_folder_in_place_of_the_weights_is_called_one(tmp_path: Path) -> None:
    assert said_of("ViT-B-32", weights=tmp_path) == (
        f"{tmp_path}: a folder; extract.weights names one file, a checkpoint (safetensors, or torch.save); "
        "a folder that holds a whole model is --encoder local-dir:FOLDER"
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
            "machine and cannot be fetched (HF_HUB_OFFLINE is set); download open_clip_config.json, "
            "open_clip_model.safetensors and the tokenizer's files elsewhere and use local-dir:<their folder>",
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


WITH_WEIGHTS = open_clip.list_pretrained()


@pytest.mark.usefixtures("offline")
def test_offline_every_tag_of_open_clip_is_one_line_that_names_a_file(tmp_path: Path) -> None:
    """The whole list: no model is built, and a file given by name needs no hub."""
    assert len(WITH_WEIGHTS) > 150
    for model, tag in WITH_WEIGHTS:
        with pytest.raises(MissingError) as caught:
            openclip.build(parse(f"{model}/{tag}"), choice_of(f"{model}/{tag}"))
        said = str(caught.value)
        assert said.startswith(f"{model}/{tag}: its files of https://huggingface.co/")
        assert re.search(r"fetch [\w.-]+\.safetensors or [\w.-]+\.bin there and pass --weights FILE$", said)
        absent = tmp_path / "absent.pt"
        with pytest.raises(MissingError, match=f"^{absent}: no such file"):
            openclip.build(parse(f"{model}/{tag}"), choice_of(f"{model}/{tag}", weights=absent))


def test_a_tag_brings_its_preprocessing_and_its_activation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """open_clip warns, and goes on with the wrong one, where a model's name does not say QuickGELU and its tag does."""
    fetched = tmp_path / "weights.safetensors"
    seen: dict[str, Any] = {}

    def fetch(encoder: str, repository: str, names: list[str], remedy: str) -> Path:
        seen.update(encoder=encoder, repository=repository, names=names, remedy=remedy)
        return fetched

    tag = {"hf_hub": "timm/x/", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "quick_gelu": True}
    monkeypatch.setattr(hub, "fetch_one", fetch)
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


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_a_hub_name_is_the_folder_that_was_fetched(
    tiny: Encoder, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """A repository with one kind of file or the other, as the hub's cache holds it."""
    shutil.copy(tiny_folder / "open_clip_config.json", tmp_path)
    state = load_file(tiny_folder / "open_clip_model.safetensors")
    (save_file if file.endswith("safetensors") else torch.save)(state, tmp_path / file)
    monkeypatch.setattr(
        hub, "try_to_load_from_cache", lambda _, name: str(tmp_path / name) if (tmp_path / name).is_file() else None
    )
    made = load_encoder(choice_of("hf-hub:someone/tiny"))
    assert made.name == "hf-hub:someone/tiny"
    assert made.digest == tiny.digest
    assert replace(made, name=tiny.name).tokenizer_about == tiny.tokenizer_about


def test_a_checkpoint_in_several_files_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_folder / "open_clip_config.json", tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert said_of(f"local-dir:{tmp_path}") == (
        f"{tmp_path}/model.safetensors.index.json: a checkpoint in several files, and open_clip's are one; save it as "
        "open_clip_model.safetensors there"
    )


@pytest.mark.usefixtures("offline")
def test_a_folder_whose_texts_need_another_library_is_told_what_it_lacks(tmp_path: Path) -> None:
    text = {"context_length": 12, "hf_tokenizer_name": "someone/words"}
    config = {"model_cfg": {**TINY, "text_cfg": text}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    name = f"local-dir:{tmp_path}"
    assert said_of(name) == (
        f"{name}: no tokenizer in {tmp_path}; fetch the model's tokenizer.json (or vocab.txt) into it"
    )
    text["hf_model_name"] = "roberta-base"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert "its files of https://huggingface.co/roberta-base are not on this machine" in said_of(name)


@pytest.mark.parametrize("written", ["[]", "{", "{}", '{"model_cfg": {"text_cfg": {}}}'])
def test_a_configuration_that_is_none_is_one_line(tmp_path: Path, written: str) -> None:
    (tmp_path / "open_clip_config.json").write_text(written)
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    assert said_of(f"local-dir:{tmp_path}") == (
        f"{tmp_path}/open_clip_config.json: not the configuration of an open_clip model; fetch it again"
    )


def test_a_configuration_that_builds_nothing_is_one_line(tmp_path: Path) -> None:
    config = {"model_cfg": {**TINY, "vision_cfg": {"width": "wide"}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    assert said_of(f"local-dir:{tmp_path}").startswith(
        f"{tmp_path}/open_clip_config.json: open_clip cannot build this model ("
    )


@pytest.mark.parametrize("name", ["a b", "a/b/c", ".."])
def test_what_is_no_repository_of_the_hub_is_one_line(name: str) -> None:
    assert said_of(f"hf-hub:{name}").startswith(f"'{name}' cannot be a repository of the hub; write <owner>/")
