"""Encoders of two separate towers: a model of timm for pictures and one of transformers for texts, as one open_clip
model. Nothing aligns them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from open_clip.hf_model import HFTextEncoder, MeanPooler
from open_clip.model import CustomTextCLIP
from open_clip.timm_model import TimmModel
from open_clip.tokenizer import HFTokenizer
from timm.data import create_transform, resolve_model_data_config
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg
from timm.models._hub import load_model_config_from_path
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel
from transformers.utils.logging import disable_progress_bar

from cache.errors import MissingError, UsageError, UserError, nearest, one_line
from stages.extract.encoders import hub
from stages.extract.encoders.built import Built, EncoderChoice, library_config, quietly
from stages.extract.encoders.checkpoints import read_tensors, reading, shards_of
from stages.extract.encoders.registry import EncoderName, TowerName, towers_of

CONTEXT = 128  # tokens of a text at most (ours): captions are shorter, and attention grows with the square
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
BESIDE = ("*.json", "*.txt", "*.model")  # what a tokenizer may need
NOWHERE = {"url": None, "file": None, "hf_hub_id": None, "source": None}  # timm must not look for weights itself
PROBE = "a photo of a dog on the grass"


@dataclass(frozen=True)
class Recipe:
    """What builds an image tower: timm's name of the architecture and arguments to it, timm's record of the weights
    (their place, the preprocessing they were trained with), and their file, None for random ones."""

    architecture: str
    args: dict[str, Any]
    record: dict[str, Any]
    checkpoint: Path | None


class ImageTower(TimmModel):  # type: ignore[misc]
    """open_clip's adapter around a trunk that is built already, which keeps its own pool."""

    def __init__(self, trunk: Any, size: tuple[int, int]) -> None:
        nn.Module.__init__(self)
        self.trunk, self.head, self.image_size = trunk, nn.Sequential(), size


class TextTower(HFTextEncoder):  # type: ignore[misc]
    """open_clip's adapter around any model of transformers; its own constructor knows five kinds.

    Pools by the mean over a text's tokens (ours): of a model that was trained on masked words alone, as BERT was, the
    first token says little.
    """

    def __init__(self, transformer: Any, config: Any, context: int) -> None:
        nn.Module.__init__(self)
        self.transformer, self.config, self.output_tokens = transformer, config, False
        self.pooler, self.proj = MeanPooler(), nn.Identity()
        self.context_length, self.vocab_size = context, config.vocab_size


class Towers(CustomTextCLIP):  # type: ignore[misc]
    """Two towers that were built apart, without any weights between them."""

    def __init__(self, visual: ImageTower, text: TextTower) -> None:
        nn.Module.__init__(self)
        self.visual, self.text, self.output_dict = visual, text, False
        self.context_length, self.vocab_size = text.context_length, text.vocab_size


def build(name: EncoderName, choice: EncoderChoice) -> Built:
    """Build both towers. UsageError for unknown names or for contradictions, MissingError where files are not at
    hand, UserError where they are not what they should be: one line each."""
    if choice.weights or choice.heads:
        what = "weights" if choice.weights else "heads"
        raise UsageError(f"{name.full} takes no extract.{what}; give a tower's weights as a folder: towers:./a+./b")
    image, text = towers_of(name, choice.home)
    recipe, folder = _recipe(name.full, image), _text_folder(name.full, text)
    checkpoint = None if text.random else _in_folder(folder, name.full)
    visual, pixels = _image_tower(recipe, choice.allow_pickle)
    language, tokenizer = _text_tower(folder, checkpoint, choice.allow_pickle)
    about = {
        "image": {"architecture": recipe.architecture, "args": recipe.args},
        "text": library_config(language.config),
        "pooler": "mean",
    }
    preprocess = {"mode": "RGB", "size": pixels["input_size"][1:], **pixels}
    del preprocess["input_size"]
    transform = create_transform(**pixels, is_training=False)
    return Built(Towers(visual, language), preprocess, tokenizer, False, about, transform)


def _recipe(encoder: str, tower: TowerName) -> Recipe:
    """What builds an image tower, its weights on this machine."""
    if tower.folder:
        return _recipe_of_folder(encoder, tower.folder, tower.random)
    record = _record(encoder, tower.given)
    checkpoint = None if tower.random else _timm_weights(encoder, tower.given, record)
    return Recipe(record["architecture"], {}, record, checkpoint)


def _record(encoder: str, given: str) -> dict[str, Any]:
    """What timm records of a name, the first tag where it has none. UsageError for a name or tag that timm lacks."""
    architecture, _, tag = given.partition(".")
    if not timm.is_model(architecture):
        hint = nearest(architecture, timm.list_models())
        close = hint if hint.startswith("; did") else "; timm.list_models() lists them"
        raise UsageError(f"{encoder}: timm has no model '{architecture}'{close}")
    tags = get_arch_pretrained_cfgs(architecture)
    if tag and given not in tags:
        raise UsageError(f"{encoder}: timm has no weights '{given}'{nearest(given, tags)}")
    found = get_pretrained_cfg(given)
    return {"architecture": architecture, **(found.to_dict() if found else {})}


def _timm_weights(encoder: str, given: str, record: dict[str, Any]) -> Path:
    repository = record.get("hf_hub_id")
    if repository:
        names = ("model.safetensors", "pytorch_model.bin")
        return hub.fetch_one(encoder, repository, names, _remedy(repository, given, f"{CONFIG} and {names[0]}"))
    if not record.get("url"):
        raise UsageError(f"{encoder}: timm has no weights of {given}; write {given}/none for random ones, or a folder")
    raise MissingError(
        f"{encoder}: the weights of {given} are on no hub; fetch {record['url']} into a folder as pytorch_model.bin, "
        f"beside a {CONFIG} with its architecture, and write that folder in place of {given}"
    )


def _remedy(repository: str, given: str, files: str) -> str:
    return (
        f"fetch {files} there into a folder and write ./<that folder> in place of {given}, or run 'hf download "
        f"{repository}' where the hub is reached and copy its folder into {HF_HUB_CACHE}"
    )


def _recipe_of_folder(encoder: str, folder: Path, random: bool) -> Recipe:
    _require_config(encoder, folder)
    try:
        record, architecture, args = load_model_config_from_path(folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / CONFIG}: not what timm saves ({one_line(error)}); give a timm model's own"
        ) from error
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise UserError(f"{folder / CONFIG}: timm has no architecture '{architecture}'; give a timm model's own")
    return Recipe(architecture, args, record, None if random else _in_folder(folder, encoder))


def _require_config(encoder: str, folder: Path) -> None:
    if not (folder / CONFIG).is_file():
        raise MissingError(
            f"{encoder}: no {CONFIG} in {folder}; put the model's {CONFIG} there, or name another folder"
        )


def _in_folder(folder: Path, encoder: str) -> Path:
    """The file of weights in a folder, or the index of several."""
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        raise MissingError(
            f"{encoder}: no {WEIGHTS[0]} and no {WEIGHTS[2]} in {folder}; fetch one of them into it, or ask for random "
            "weights with /none behind the folder"
        )
    return found


def _image_tower(recipe: Recipe, allow_pickle: bool) -> tuple[ImageTower, dict[str, Any]]:
    """The tower and what makes its pixels, as timm resolves it from the record of the weights."""
    if recipe.checkpoint is None:
        try:
            trunk = _trunk(recipe, None)
        except Exception as error:  # a folder's record may say anything
            raise UserError(f"timm cannot build this {recipe.architecture} ({one_line(error)[:160]})") from error
    else:
        what = f"a checkpoint of {recipe.architecture}"
        tensors = read_tensors(recipe.checkpoint, what, allow_pickle)
        with reading(recipe.checkpoint, what, allow_pickle):
            trunk = _trunk(recipe, tensors)
    pixels = resolve_model_data_config(trunk)
    _require_tokens(recipe.architecture, trunk, pixels["input_size"])
    return ImageTower(trunk, pixels["input_size"][1:]), pixels


def _trunk(recipe: Recipe, tensors: dict[str, Tensor] | None) -> Any:
    """A trunk without its classifier, which is there while weights are loaded, so that none may be missing."""
    record = {**recipe.record, **NOWHERE, "state_dict": tensors}
    with quietly():
        trunk = timm.create_model(
            recipe.architecture, pretrained=tensors is not None, pretrained_cfg=record, **recipe.args
        )
        pool = recipe.args.get("global_pool")
        trunk.reset_classifier(0, **({"global_pool": pool} if pool else {}))
    trunk.pretrained_cfg.pop("state_dict", None)  # a second copy of all weights
    return trunk


@torch.inference_mode()
def _require_tokens(architecture: str, trunk: Any, shape: Sequence[int]) -> None:
    """Refuse a model whose features are no tokens, or that takes no RGB."""
    try:
        features = trunk.eval().forward_features(torch.zeros(1, *shape))
        fits = shape[0] == 3 and isinstance(features, Tensor) and features.ndim in (3, 4)
        fits = fits and trunk.forward_head(features).ndim == 2
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"timm's {architecture} cannot be run on one picture ({one_line(error)[:120]})") from error
    if not fits:
        raise UsageError(
            f"timm's {architecture} makes no tokens of an RGB picture that go into one vector; take another"
        )


def _text_folder(encoder: str, tower: TowerName) -> Path:
    """The folder of a text tower with its configuration, its tokenizer and its weights, fetched where it is a name."""
    if tower.folder:
        folder = tower.folder
        _require_config(encoder, folder)
    else:
        remedy = _remedy(tower.given, tower.given, f"{CONFIG}, {WEIGHTS[0]} and the tokenizer's files")
        if not tower.random:
            _fetch_weights(encoder, tower.given, remedy)
        folder = hub.fetch_all(encoder, tower.given, BESIDE, CONFIG, remedy, hub.holds_tokenizer)
    hub.require_tokenizer(encoder, folder)
    return folder


def _fetch_weights(encoder: str, repository: str, remedy: str) -> None:
    found = hub.fetch_one(encoder, repository, WEIGHTS, remedy)
    if found.suffix == ".json":
        for part in shards_of(found):
            hub.fetch_one(encoder, repository, [part], remedy)


def _text_tower(folder: Path, checkpoint: Path | None, allow_pickle: bool) -> tuple[TextTower, Any]:
    """The tower and its tokenizer. A model of two halves, as T5 is, gives its encoder."""
    config, tokenizer = _tokenizer(folder)
    if checkpoint is None:
        transformer = _transformer(config, None)
    else:
        what = f"a checkpoint of the model in {folder / CONFIG}"
        tensors = read_tensors(checkpoint, what, allow_pickle)
        with reading(checkpoint, what, allow_pickle):
            transformer = _transformer(config, tensors)
    if config.is_encoder_decoder:
        transformer = transformer.get_encoder()
    tokenizer.context_length = min(tokenizer.tokenizer.model_max_length, _places(transformer, config), CONTEXT)
    tower = TextTower(transformer.eval(), config, tokenizer.context_length)
    _require_texts(folder, tower, tokenizer)
    return tower, tokenizer


def _tokenizer(folder: Path) -> tuple[Any, Any]:
    """The configuration of a model and its tokenizer, which pads behind a text with what the model takes as padding."""
    try:
        with quietly():
            config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
            tokenizer = HFTokenizer(str(folder), context_length=CONTEXT, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever it likes, over many lines
        raise UserError(
            f"{folder}: transformers cannot use its {CONFIG} or tokenizer ({one_line(error)[:160]})"
        ) from error
    inner, words = tokenizer.tokenizer, getattr(config, "vocab_size", 0)
    if inner.pad_token_id is None:
        raise UserError(f"{folder}: its tokenizer has no padding token; set pad_token in its tokenizer_config.json")
    if len(inner) > words:
        raise UserError(f"{folder}: its tokenizer has {len(inner)} words, its model {words}; take both from one place")
    inner.padding_side = inner.truncation_side = "right"
    config.pad_token_id = inner.pad_token_id
    return config, tokenizer


def _transformer(config: Any, tensors: dict[str, Tensor] | None) -> Any:
    """A model of transformers in fp32, without the pooler of its own, which nothing here uses."""
    if type(config) not in MODEL_MAPPING:
        raise UserError(f"transformers has no plain model for '{config.model_type}'; name another text tower")
    kind = MODEL_MAPPING[type(config)]
    extra = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind).parameters else {}
    disable_progress_bar()
    with quietly():
        if tensors is None:
            return AutoModel.from_config(config, **extra).float()
        model, told = kind.from_pretrained(
            None, config=config, state_dict=tensors, output_loading_info=True, dtype=torch.float32, **extra
        )
    if told["missing_keys"]:
        raise ValueError(f"no {min(told['missing_keys'])} in it")
    return model


def _places(transformer: Any, config: Any) -> int:
    """How many tokens a text may have by the positions that the model knows: RoBERTa's begin behind its padding's."""
    known = getattr(config, "max_position_embeddings", None) or CONTEXT
    tables = (m for name, m in transformer.named_modules() if name.endswith("position_embeddings"))
    padding = next((table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None), -1)
    return int(known) - padding - 1


@torch.inference_mode()
def _require_texts(folder: Path, tower: TextTower, tokenizer: Any) -> None:
    """Refuse a model that does not make tokens of texts alone, or whose tokens depend on the padding behind them."""
    ids = tokenizer([PROBE, f"{PROBE} " * tokenizer.context_length])
    length = int((ids[0] != tower.config.pad_token_id).sum())
    try:
        padded, short = (_hidden(tower, some) for some in (ids, ids[:1, :length]))
    except Exception as error:  # whatever a model of another kind does with ids and a mask
        raise UserError(f"{folder}: its model does not encode texts alone ({one_line(error)[:120]})") from error
    difference = float((padded[:1, :length] - short).abs().max())
    if not difference <= 1e-3 * float(short.abs().max()):
        raise UserError(f"{folder}: the tokens of its model change with the padding behind a text; name another model")


def _hidden(tower: TextTower, ids: Tensor) -> Tensor:
    mask = (ids != tower.config.pad_token_id).long()
    hidden: Tensor = tower.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
    return hidden
