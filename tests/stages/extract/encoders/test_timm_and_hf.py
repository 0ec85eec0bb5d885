from __future__ import annotations

import json
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from cache.errors import MissingError, UsageError, UserError
from cache.features import FeatureCache, RowKind
from cache.store import make_key, read_ledger
from stages.extract.encoders import hub, timm_and_hf
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.encoders.registry import parse
from stages.extract.plan import cache_content
from stages.extract.run import encoder_about, run
from tests.stages.extract.conftest import Toys, choice_of
from tests.stages.extract.encoders.pickles import Writes

TEXTS = ["a dog", "a photo of a dog and of a fox", "fox"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "fox", "photo", *LETTERS, *(f"##{c}" for c in LETTERS)]
SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def write_tokenizer(folder: Path) -> None:
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(str(vocabulary)).save_pretrained(folder)
    vocabulary.unlink()


def write_texts(folder: Path, **keys: Any) -> Path:
    """A tiny BERT with seeded random weights, as `save_pretrained` writes it, and a tokenizer."""
    folder.mkdir(parents=True)
    torch.manual_seed(2)
    config = transformers.BertConfig(vocab_size=len(WORDS), **{**SIZES, "max_position_embeddings": 40, **keys})
    transformers.BertModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_pictures(folder: Path, model: str = "test_resnet", **record: Any) -> Path:
    """A tiny model of timm with seeded random weights, in the layout that timm has on the hub."""
    torch.manual_seed(3)
    trunk = timm.create_model(model, num_classes=10)
    save_for_hf(trunk, folder, model_config={"pretrained_cfg": record}, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("images") / "resnet")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts") / "bert")


@pytest.fixture(scope="session")
def both(images: Path, texts: Path) -> Encoder:
    return load_encoder(choice_of(f"towers:{images}+{texts}"))


def said_of(encoder: str, allow_pickle: bool = False) -> str:
    with pytest.raises((UserError, UsageError, MissingError)) as caught:
        load_encoder(replace(choice_of(encoder), allow_pickle=allow_pickle))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def picture(width: int = 300, height: int = 260) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_pictures_are_those_of_timm_itself(both: Encoder, images: Path) -> None:
    """Against timm alone: its own loader, its own preprocessing, its features and its pool."""
    trunk = timm.create_model(f"local-dir:{images}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(trunk), is_training=False)
    pixels = torch.stack([transform(picture()), transform(picture(90, 400))])
    made = both.encode_images([picture(), picture(90, 400)], "raw")
    with torch.inference_mode():
        features, pooled = trunk.forward_features(pixels), trunk(pixels)
    assert made.tokens is not None
    assert made.tokens.shape == (2, 25, 96)
    assert np.allclose(made.tokens, features.flatten(2).transpose(1, 2).numpy(), atol=1e-5)
    assert np.allclose(made.pooled, pooled.numpy(), atol=1e-5)
    assert both.pooling["image"] == "mean"


def trunk_of(encoder: str) -> Any:
    return timm_and_hf.build(parse(encoder), choice_of(encoder)).model.visual.trunk


@pytest.mark.parametrize("model", ["test_vit", "test_mambaout", "mixer_s32_224"])
def test_other_families_of_timm_say_what_timm_says(texts: Path, model: str) -> None:
    """Class tokens left out, channels behind, plain tokens."""
    made = load_encoder(choice_of(f"towers:{model}/none+{texts}"))
    trunk = timm.create_model(model)
    trunk.reset_classifier(0)
    trunk.load_state_dict(trunk_of(f"towers:{model}/none+{texts}").state_dict())
    pixels = made.preprocess(picture())[None]
    seen = made.encode_images([picture()], "raw")
    with torch.inference_mode():
        features, pooled = trunk.eval().forward_features(pixels), trunk(pixels)
    flat = features.flatten(1, 2) if features.ndim == 4 else features[:, getattr(trunk, "num_prefix_tokens", 0) :]
    assert seen.tokens is not None
    assert np.allclose(seen.tokens, flat.numpy(), atol=1e-5)
    assert np.allclose(seen.pooled, pooled.numpy(), atol=1e-5)


def test_texts_are_those_of_transformers_itself(both: Encoder, texts: Path) -> None:
    """Against transformers alone, one text at a time, without padding: tokens are the last hidden state, pooled is
    their mean."""
    model = transformers.AutoModel.from_pretrained(texts).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(texts)
    made = both.encode_texts(TEXTS, "joint")
    assert made.tokens is not None
    for row, text in enumerate(TEXTS):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        begin = int(made.n_tokens[:row].sum())
        assert made.n_tokens[row] == len(hidden)
        assert np.allclose(made.tokens[begin : begin + len(hidden)], hidden, atol=1e-5)
        assert np.allclose(made.pooled[row], hidden.mean(0), atol=1e-5)
    assert both.pooling["text"] == "mean"


def test_padding_changes_no_token(both: Encoder) -> None:
    ids = both.tokenize(TEXTS)
    width = int(ids.lengths.max())
    full, short = both.text.run(ids.ids), both.text.run(ids.ids[:, :width])
    assert width < ids.ids.shape[1] == both.context
    for row, length in enumerate(ids.lengths.tolist()):
        assert torch.allclose(full.tokens[row, :length], short.tokens[row, :length], atol=1e-5)
    assert torch.allclose(full.pooled, short.pooled, atol=1e-5)


def test_the_context_is_what_the_model_knows_and_at_most_128(texts: Path, both: Encoder, tmp_path: Path) -> None:
    assert both.context == 40
    long = load_encoder(
        choice_of(f"towers:test_resnet/none+{write_texts(tmp_path / 'x', max_position_embeddings=300)}")
    )
    assert long.context == 128
    assert long.tokenize(["a " * 126, "a " * 127]).truncated.tolist() == [False, True]
    folder = tmp_path / "roberta"  # its positions begin behind that of the padding
    config = transformers.RobertaConfig(vocab_size=len(WORDS), **SIZES, max_position_embeddings=20, pad_token_id=0)
    transformers.RobertaModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    assert load_encoder(choice_of(f"towers:test_resnet/none+{folder}")).context == 19
    assert texts.is_dir()


def test_towers_are_not_aligned_and_tokens_have_their_own_widths(both: Encoder) -> None:
    assert not both.aligned
    assert both.kind_of("joint") == "raw"
    made = both.encode_texts(TEXTS, "joint"), both.encode_images([picture()], "joint")
    assert [m.pooled.shape for m in made] == [(3, 24), (1, 96)]
    assert [m.pooled_raw for m in made] == [None, None]
    assert both.widths == (96, 24)


def test_random_weights_are_seeded_for_each_tower_alone(images: Path, texts: Path) -> None:
    one, again = (load_encoder(choice_of(f"towers:test_resnet/none+{texts}/none")) for _ in range(2))
    assert one.digest == again.digest
    other = load_encoder(choice_of(f"towers:test_vit/none+{texts}/none"))
    assert np.array_equal(one.encode_texts(TEXTS, "none").pooled, other.encode_texts(TEXTS, "none").pooled)
    loaded = load_encoder(choice_of(f"towers:{images}/none+{texts}"))
    assert not np.allclose(loaded.encode_texts(TEXTS, "none").pooled, one.encode_texts(TEXTS, "none").pooled)


def test_relative_folders_lie_under_home(both: Encoder, images: Path, texts: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "i")
    shutil.copytree(texts, tmp_path / "t")
    made = load_encoder(replace(choice_of("towers:./i+t"), home=tmp_path))
    assert made.digest == both.digest
    assert made.name == "towers:./i+t"


def key_of(home: Path, kind: RowKind) -> str:
    encoder = load_encoder(replace(choice_of("towers:./i+./t"), home=home))
    return make_key("features", cache_content(kind, "rows", encoder_about(encoder, kind), "float16", "raw"))


CHANGES = [
    ("i", "mean", [0.4, 0.5, 0.5]),
    ("i", "std", [0.4, 0.5, 0.5]),
    ("i", "crop_pct", 0.8),
    ("i", "crop_mode", "squash"),
    ("i", "interpolation", "bicubic"),
    ("i", "input_size", [3, 192, 192]),
    ("t", "hidden_act", "relu"),
    ("t", "layer_norm_eps", 0.1),
]


def test_preprocessing_and_configuration_are_part_of_the_key(images: Path, texts: Path, tmp_path: Path) -> None:
    """The weights stay the same all along."""
    shutil.copytree(images, tmp_path / "i")
    shutil.copytree(texts, tmp_path / "t")
    plain = key_of(tmp_path, "image")
    keys = {plain}
    for folder, key, value in CHANGES:
        path = tmp_path / folder / "config.json"
        before = path.read_text()
        config = json.loads(before)
        (config["pretrained_cfg"] if folder == "i" else config)[key] = value
        path.write_text(json.dumps(config))
        keys.add(key_of(tmp_path, "image"))
        path.write_text(before)
    assert len(keys) == 1 + len(CHANGES)
    assert key_of(tmp_path, "image") == plain


def test_the_records_crop_and_mean_make_the_pixels(texts: Path, tmp_path: Path) -> None:
    record: dict[str, Any] = {
        "crop_pct": 0.5,
        "mean": (0.1, 0.2, 0.3),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "bicubic",
    }
    made = load_encoder(choice_of(f"towers:{write_pictures(tmp_path / 'i', **record)}+{texts}"))
    size = made.preprocess_about["size"]
    assert size == [160, 160]
    assert made.preprocess_about["crop_pct"] == 0.5
    small = picture(400, 320).resize((400, 320)).crop((120, 80, 280, 240))
    pixels = (np.asarray(small) / 255 - np.array(record["mean"])) / 0.5
    assert np.allclose(made.preprocess(picture(400, 320)).numpy(), pixels.transpose(2, 0, 1), atol=1e-5)


def test_weights_of_a_name_are_found_in_the_local_cache_of_the_hub(
    images: Path, texts: Path, both: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"timm/test_resnet.r160_in1k": write_pictures_of_1000(images.parent / "in1k"), "someone/bert": texts}
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        hub,
        "try_to_load_from_cache",
        lambda repository, name: str(kept[repository] / name) if (kept[repository] / name).is_file() else None,
    )
    made = load_encoder(choice_of("towers:test_resnet.r160_in1k+someone/bert"))
    assert np.array_equal(made.encode_texts(TEXTS, "none").pooled, both.encode_texts(TEXTS, "none").pooled)
    stored = load_file(kept["timm/test_resnet.r160_in1k"] / "model.safetensors")
    trunk = trunk_of(made.name)
    assert all(torch.equal(value, stored[name]) for name, value in trunk.state_dict().items())
    assert "state_dict" not in trunk.pretrained_cfg


def write_pictures_of_1000(folder: Path) -> Path:
    folder.mkdir()
    state = timm.create_model("test_resnet").state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(hub, "HfApi", lambda: pytest.fail("the network was asked"))


@pytest.mark.usefixtures("offline")
def test_offline_missing_weights_say_what_to_fetch_and_where_to_put_it(texts: Path) -> None:
    name = "towers:resnet50.a1_in1k+bert-base-uncased"
    assert said_of(name) == (
        f"{name}: its files of https://huggingface.co/timm/resnet50.a1_in1k are not on this machine and cannot be "
        "fetched (HF_HUB_OFFLINE is set); fetch config.json and model.safetensors there into a folder and write "
        "./<that folder> in place of resnet50.a1_in1k, or run 'hf download timm/resnet50.a1_in1k' where the hub is "
        f"reached and copy its folder into {hub_cache()}"
    )
    name = "towers:resnet50/none+bert-base-uncased"
    assert said_of(name).startswith(
        f"{name}: its files of https://huggingface.co/bert-base-uncased are not on this machine and cannot be fetched "
        "(HF_HUB_OFFLINE is set); fetch config.json, model.safetensors and the tokenizer's files there into a folder"
    )
    assert said_of(f"towers:gcvit_tiny+{texts}").startswith(
        f"towers:gcvit_tiny+{texts}: the weights of gcvit_tiny are on no hub; fetch https://"
    )


def hub_cache() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return HF_HUB_CACHE


def test_names_that_timm_lacks_are_one_line(texts: Path) -> None:
    assert said_of(f"towers:resnet5O+{texts}").endswith("timm has no model 'resnet5O'; did you mean 'resnet50'?")
    assert said_of(f"towers:%%+{texts}").endswith("timm has no model '%%'; timm.list_models() lists them")
    assert "timm has no weights 'resnet50.a1_in1'; did you mean 'resnet50.a" in said_of(
        f"towers:resnet50.a1_in1+{texts}"
    )
    assert said_of(f"towers:crossvit_tiny_240/none+{texts}") == (
        "timm's crossvit_tiny_240 makes no tokens of an RGB picture that go into one vector; take another"
    )


def test_a_folder_that_lacks_a_file_is_told_which(images: Path, texts: Path, tmp_path: Path) -> None:
    def without(folder: Path, *names: str) -> Path:
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "x", ignore=shutil.ignore_patterns(*names))
        return tmp_path / "x"

    assert "no config.json in" in said_of(f"towers:{without(images, 'config.json')}+{texts}")
    assert "no config.json in" in said_of(f"towers:{images}+{without(texts, 'config.json')}")
    assert "no tokenizer in" in said_of(f"towers:{images}+{without(texts, 'tokenizer*', 'vocab*')}")
    name = f"towers:{images}+{without(texts, '*.safetensors')}"
    assert said_of(name) == (
        f"{name}: no model.safetensors and no pytorch_model.bin in {tmp_path}/x; fetch one of them into it, or ask "
        "for random weights with /none behind the folder"
    )
    assert not load_encoder(choice_of(f"{name}/none")).aligned
    assert "no model.safetensors" in said_of(f"towers:{without(images, '*.safetensors', '*.bin')}+{texts}")


def test_files_that_do_not_belong_together_are_refused(images: Path, texts: Path, tmp_path: Path) -> None:
    assert "its tokenizer has 60 words, its model 50; take both from one place" in said_of(
        f"towers:test_resnet/none+{write_texts_of(tmp_path / 'small', 50)}/none"
    )
    wide = shutil.copytree(texts, tmp_path / "wide")
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps({**config, "hidden_size": 48}))
    assert said_of(f"towers:test_resnet/none+{wide}").startswith(f"{wide}/model.safetensors: not a checkpoint of the ")
    lacking = shutil.copytree(texts, tmp_path / "lacking")
    state = load_file(lacking / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, lacking / "model.safetensors")
    assert "(no encoder.layer.1.output.dense.weight in it)" in said_of(f"towers:test_resnet/none+{lacking}")
    other = write_pictures(tmp_path / "other")
    shutil.copy(texts / "model.safetensors", other / "model.safetensors")
    assert said_of(f"towers:{other}+{texts}").startswith(f"{other}/model.safetensors: not a checkpoint of test_resnet")
    assert images.is_dir()


def write_texts_of(folder: Path, words: int) -> Path:
    folder.mkdir()
    transformers.BertConfig(vocab_size=words, **SIZES).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def test_a_model_that_is_not_for_texts_is_refused(tmp_path: Path) -> None:
    kinds = {
        "takes_pixels": (transformers.ViTConfig(**SIZES, vocab_size=99), "its model does not encode texts alone ("),
        "has_no_words": (transformers.ViTConfig(**SIZES), "its tokenizer has 60 words, its model 0; take both from"),
        "mixes_padding_in": (transformers.FNetConfig(vocab_size=99, **SIZES), "the tokens of its model change with"),
    }
    for name, (config, said) in kinds.items():
        config.save_pretrained(tmp_path / name)
        write_tokenizer(tmp_path / name)
        assert said_of(f"towers:test_resnet/none+{tmp_path / name}/none").startswith(f"{tmp_path / name}: {said}")
    (tmp_path / "has_no_words" / "config.json").write_text('{"model_type": "no such"}')
    said = said_of(f"towers:test_resnet/none+{tmp_path / 'has_no_words'}/none")
    assert said.startswith(f"{tmp_path / 'has_no_words'}: transformers cannot use its config.json or tokenizer (")


def test_a_checkpoint_of_a_model_with_a_head_on_top_is_the_same_tower(
    texts: Path, both: Encoder, images: Path, tmp_path: Path
) -> None:
    """As bert-base-uncased comes: names with a prefix, norms under their old names, heads that nobody asked for."""
    folder = shutil.copytree(texts, tmp_path / "old")
    state = load_file(folder / "model.safetensors")
    new, old = ("LayerNorm.weight", "LayerNorm.bias"), ("LayerNorm.gamma", "LayerNorm.beta")
    named = {f"bert.{name.replace(new[0], old[0]).replace(new[1], old[1])}": value for name, value in state.items()}
    save_file({**named, "cls.predictions.bias": torch.zeros(3)}, folder / "model.safetensors")
    assert any(name.endswith("gamma") for name in named)
    assert load_encoder(choice_of(f"towers:{images}+{folder}")).digest == both.digest


def test_a_tokenizer_that_pads_in_front_is_turned_round(
    texts: Path, both: Encoder, images: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(texts, tmp_path / "left")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "padding_side": "left"}))
    made = load_encoder(choice_of(f"towers:{images}+{folder}"))
    assert torch.equal(made.tokenize(TEXTS).ids, both.tokenize(TEXTS).ids)


@pytest.mark.parametrize("kind", ["DistilBert", "T5", "GPT2"])
def test_models_that_open_clip_does_not_know_say_what_transformers_says(tmp_path: Path, kind: str) -> None:
    sizes = {
        "DistilBert": {"dim": 24, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
        "GPT2": {"n_embd": 24, "n_head": 2},
    }
    sizes["T5"] = {"d_model": 24, "d_kv": 12, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    folder = tmp_path / kind
    torch.manual_seed(5)
    config = getattr(transformers, f"{kind}Config")(vocab_size=len(WORDS), pad_token_id=0, **sizes[kind])
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    write_tokenizer(folder)
    made = load_encoder(choice_of(f"towers:test_resnet/none+{folder}")).encode_texts(TEXTS[:1], "raw")
    model = getattr(transformers, "T5EncoderModel" if kind == "T5" else f"{kind}Model").from_pretrained(folder).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt").input_ids
    assert made.tokens is not None
    with torch.inference_mode():
        assert np.allclose(made.tokens, model(input_ids=ids).last_hidden_state[0].numpy(), atol=1e-5)


def test_weights_in_several_files_are_put_together(texts: Path, both: Encoder, images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    transformers.BertModel.from_pretrained(texts).save_pretrained(folder, max_shard_size="5KB")
    write_tokenizer(folder)
    assert not (folder / "model.safetensors").exists()
    made = load_encoder(choice_of(f"towers:{images}+{folder}"))
    assert made.digest == both.digest
    next(folder.glob("model-00002-*")).unlink()
    assert "no such file; put it there, with the other files of its folder" in said_of(f"towers:{images}+{folder}")


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_pickle_is_refused_unless_it_is_allowed(images: Path, texts: Path, tmp_path: Path, side: str) -> None:
    """For both towers: refused, and what it would do not done; with --allow-pickle it is read."""
    folder = shutil.copytree(images if side == "image" else texts, tmp_path / "p")
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    name = f"towers:{folder}+{texts}" if side == "image" else f"towers:{images}+{folder}"
    torch.save({"state_dict": state}, folder / "pytorch_model.bin")
    safe = load_encoder(choice_of(name))
    torch.save({"state_dict": state, "args": Writes(tmp_path / "written")}, folder / "pytorch_model.bin")
    assert said_of(name) == (
        f"{folder}/pytorch_model.bin: holds more than tensors, and code in a checkpoint is not run; convert it to "
        "safetensors, or pass --allow-pickle if you trust whoever made it"
    )
    assert not (tmp_path / "written").exists()
    assert load_encoder(replace(choice_of(name), allow_pickle=True)).digest == safe.digest
    assert (tmp_path / "written").exists()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(["no tensors"]))
    assert "not a checkpoint of" in said_of(name, allow_pickle=True)


def test_weights_and_heads_are_refused(texts: Path, tmp_path: Path) -> None:
    name = f"towers:test_resnet/none+{texts}"
    for files in ({"weights": tmp_path / "w"}, {"heads": tmp_path / "h"}):
        with pytest.raises(UsageError, match=rf"takes no extract\.{next(iter(files))}; give a tower's weights as a"):
            load_encoder(choice_of(name, **files))


def test_the_extract_stage_runs_on_two_towers(toys: Toys, images: Path, texts: Path, both: Encoder) -> None:
    shutil.copytree(images, toys.base / "i")
    shutil.copytree(texts, toys.base / "t")
    run(replace(toys.params, encoder="towers:./i+./t"))
    ledger = read_ledger(toys.params.ledger)
    assert ledger.about["aligned"] is False
    caches = [FeatureCache.open(toys.params.store / "features" / key.key) for key in ledger.keys]
    assert {cache.rows_kind: cache.pooled().shape[1] for cache in caches} == {"image": 96, "text": 24, "name": 24}
    seen = both.encode_images([Image.open(toys.root / "000.jpg")], "none").pooled
    assert np.allclose(caches[0].pooled()[0], seen[0], atol=1e-4)


@pytest.mark.parametrize(
    "written",
    [
        "[]",
        "{",
        "{}",
        '{"architecture": 3}',
        '{"architecture": "no_such"}',
        '{"architecture": "test_resnet", "pretrained_cfg": {"nope": 1}}',
        '{"architecture": "test_resnet", "model_args": {"nope": 1}, "pretrained_cfg": {}}',
        '{"architecture": "test_resnet", "model_args": {"in_chans": 1}, "pretrained_cfg": {}}',
    ],
)
def test_a_configuration_that_says_anything_else_is_one_line(
    images: Path, texts: Path, tmp_path: Path, written: str
) -> None:
    picture_side, text_side = shutil.copytree(images, tmp_path / "i"), shutil.copytree(texts, tmp_path / "t")
    for folder in (picture_side, text_side):
        (folder / "config.json").write_text(written)
    for name in (f"{picture_side}+{texts}", f"{picture_side}/none+{texts}", f"{images}+{text_side}"):
        assert said_of(f"towers:{name}")


@pytest.mark.parametrize("name", ["a b", "a/b/c", "a/b/c/none"])
def test_what_is_no_name_of_the_hub_is_one_line(name: str) -> None:
    assert said_of(f"towers:test_resnet/none+{name}") == (
        f"'{name.removesuffix('/none')}' cannot be a repository of the hub; write <owner>/<repository>, or a folder as "
        "./folder"
    )


@pytest.mark.usefixtures("offline")
def test_offline_every_weights_of_timm_are_one_line_that_names_a_file(texts: Path) -> None:
    """The whole list, without building a model."""
    names = timm.list_models(pretrained=True)
    assert len(names) > 1000
    for name in names:
        with pytest.raises(MissingError) as caught:
            timm_and_hf.build(parse(f"towers:{name}+{texts}"), choice_of(""))
        assert re.search(r" fetch (config\.json and model\.safetensors|https?://\S+) (there )?into ", str(caught.value))
