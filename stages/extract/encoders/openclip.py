"""Encoders that open_clip knows by name: weights of a tag, of a file, of a folder, or random."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import load_checkpoint
from open_clip.transform import merge_preprocess_dict

from cache.errors import MissingError, UsageError, UserError, nearest, one_line
from stages.extract.encoders import hub
from stages.extract.encoders.built import Built, EncoderChoice, library_config, quietly
from stages.extract.encoders.checkpoints import is_torchscript, reading
from stages.extract.encoders.registry import RANDOM, EncoderName, refuse_folder

CONFIG = "open_clip_config.json"
SAFE, PICKLED = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
CHECKPOINTS = (SAFE, PICKLED, "model.safetensors", "pytorch_model.bin")
BESIDE = ("*.json", "*.txt", "*.model")  # what a tokenizer may need


def build(name: EncoderName, choice: EncoderChoice) -> Built:
    """Build a model of open_clip's own list. UsageError for a tag it lacks or for contradictions, MissingError where
    the weights are not at hand, UserError where they are not those of this model."""
    _refuse_heads(name, choice.heads)
    tag = _tag_config(name)
    checkpoint = _checkpoint(name, tag, choice.weights)
    config = open_clip.get_model_config(name.model)
    _require_libraries_files(name, config["text_cfg"])
    if checkpoint:
        _require_activation(name, checkpoint, _quick_gelu(tag) or _quick_gelu(config))
    model = _create(name.model, tag)
    if checkpoint:
        _fill(model, name, checkpoint, choice.allow_pickle)
    tokenizer = open_clip.get_tokenizer(name.model)
    return _built(model, tokenizer, config, tag)


def build_from_hub(name: EncoderName, choice: EncoderChoice) -> Built:
    """Build the model of a repository of the hub; as `build_from_folder`, once it is fetched."""
    remedy = f"download {CONFIG}, {SAFE} and the tokenizer's files elsewhere and use local-dir:<their folder>"
    checkpoint = choice.weights or hub.fetch_one(name.full, name.model, CHECKPOINTS, remedy)
    folder = hub.fetch_all(name.full, name.model, BESIDE, CONFIG, remedy, _holds_texts_files)
    return build_from_folder(replace(name, model=str(folder)), replace(choice, weights=checkpoint))


def build_from_folder(name: EncoderName, choice: EncoderChoice) -> Built:
    """Build the model of a folder with open_clip_config.json and a checkpoint, or the checkpoint `weights`."""
    _refuse_heads(name, choice.heads)
    folder = Path(name.model)
    if not (folder / CONFIG).is_file():
        raise MissingError(f"{folder}: no {CONFIG} in this folder; give the folder of an open_clip model")
    checkpoint = _present(choice.weights) or _checkpoint_in(folder)
    schema = f"local-dir:{folder}"
    config = _config_in(folder)
    _require_texts_files(name, folder, config["model_cfg"]["text_cfg"])
    preprocess = config.get("preprocess_cfg", {})
    try:
        model = _create(schema, preprocess)
    except Exception as error:  # open_clip checks nothing of what a configuration says
        raise UserError(f"{folder / CONFIG}: open_clip cannot build this model ({one_line(error)[:160]})") from error
    _fill(model, name, checkpoint, choice.allow_pickle)
    with quietly():
        tokenizer = open_clip.get_tokenizer(schema)
    return _built(model, tokenizer, config["model_cfg"], preprocess)


def _config_in(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
        fits = isinstance(config["model_cfg"]["text_cfg"], dict) and isinstance(config["model_cfg"]["vision_cfg"], dict)
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise UserError(f"{folder / CONFIG}: not the configuration of an open_clip model; fetch it again")
    return config


def _checkpoint_in(folder: Path) -> Path:
    found = next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None)
    if found:
        return found
    parts = next(folder.glob("*.index.json"), None)
    if parts:
        raise UserError(f"{parts}: a checkpoint in several files, and open_clip's are one; save it as {SAFE} there")
    raise MissingError(f"{folder}: none of {', '.join(CHECKPOINTS)} in this folder; put one there")


def _built(model: Any, tokenizer: Any, config: dict[str, Any], preprocess: dict[str, Any]) -> Built:
    """The model with its architecture: the same weights under another activation or pooling give other numbers."""
    architecture = {"model": config, "quick_gelu": _quick_gelu(preprocess), "text": _text_config(model.text)}
    return Built(model, dict(model.visual.preprocess_cfg), tokenizer, aligned=True, architecture=architecture)


def _text_config(text: Any) -> dict[str, Any]:
    """The configuration of a text tower that transformers builds, which lies outside open_clip's; {} for its own."""
    return library_config(text.config) if hasattr(text, "config") else {}


def _quick_gelu(preprocess: dict[str, Any]) -> bool:
    return bool(preprocess.get("quick_gelu"))


def _require_activation(name: EncoderName, checkpoint: Path, quick: bool) -> None:
    """OpenAI's own files are TorchScript and do not say that they were trained with QuickGELU."""
    if not quick and is_torchscript(checkpoint) and "openai" in open_clip.list_pretrained_tags_by_model(name.model):
        raise UsageError(
            f"{checkpoint}: a TorchScript file, as OpenAI released its models, which were trained with QuickGELU; "
            f"write --encoder {name.model}/openai beside --weights"
        )


def _refuse_heads(name: EncoderName, heads: Path | None) -> None:
    if heads:
        raise UsageError(f"extract.heads aligns lite0-minilm; {name.full} is aligned already, leave extract.heads out")


def _tag_config(name: EncoderName) -> dict[str, Any]:
    """What open_clip knows of a tag: preprocessing, activation, place on the hub; {} for none and for no tag."""
    if name.tag in (None, RANDOM):
        return {}
    found: dict[str, Any] = open_clip.get_pretrained_cfg(name.model, name.tag)
    if not found:
        known = [*open_clip.list_pretrained_tags_by_model(name.model), RANDOM]
        raise UsageError(f"no weights '{name.tag}' of {name.model}{nearest(name.tag or '', known)}")
    return found


def _checkpoint(name: EncoderName, tag: dict[str, Any], weights: Path | None) -> Path | None:
    """The file of weights, None for random ones."""
    if name.tag == RANDOM:
        if weights:
            raise UsageError(f"{name.full} asks for random weights and extract.weights names a file; leave one out")
        return None
    if weights:
        return _present(weights)
    if not tag:
        raise UsageError(
            f"encoder '{name.full}' says nothing of weights; add a tag ({name.full}/openai), {name.full}/{RANDOM} for "
            "random ones, or --weights FILE"
        )
    repository, _, file = tag["hf_hub"].rpartition("/")
    names = [file.replace(".bin", ".safetensors"), file] if file else [SAFE, PICKLED]
    remedy = f"fetch {' or '.join(names)} there and pass --weights FILE"
    return hub.fetch_one(name.full, repository, names, remedy)


def _present(weights: Path | None) -> Path | None:
    if weights:
        refuse_folder("weights", weights)
    if weights and not weights.is_file():
        raise MissingError(f"{weights}: no such file; extract.weights names a checkpoint (safetensors, or torch.save)")
    return weights


def _require_libraries_files(name: EncoderName, text: dict[str, Any]) -> None:
    """Some models name a text tower or a tokenizer of the hub, which their libraries load on their own."""
    if text.get("hf_model_name"):
        hub.require(name.full, text["hf_model_name"], "config.json")
    if text.get("hf_tokenizer_name"):
        hub.require(name.full, text["hf_tokenizer_name"], "tokenizer_config.json")


def _require_texts_files(name: EncoderName, folder: Path, text: dict[str, Any]) -> None:
    """The same for a folder, which holds the tokenizer itself."""
    if text.get("hf_model_name") and not Path(text["hf_model_name"]).is_dir():  # the name may be a folder's
        hub.require(name.full, text["hf_model_name"], "config.json")
    if text.get("hf_tokenizer_name"):
        hub.require_tokenizer(name.full, folder)


def _holds_texts_files(folder: Path) -> bool:
    """Whether the tokenizer that a folder's configuration names, if it does, is in it."""
    return not _config_in(folder)["model_cfg"]["text_cfg"].get("hf_tokenizer_name") or hub.holds_tokenizer(folder)


def _create(model: str, preprocess: dict[str, Any]) -> Any:
    """A model with random weights. Its text tower is an object of its own, which takes texts of any length; a tag
    that was trained with QuickGELU gets it whatever the model's name says."""
    with quietly():
        return open_clip.create_model(
            model,
            load_weights=False,
            force_custom_text=True,
            force_quick_gelu=_quick_gelu(preprocess),
            force_preprocess_cfg=merge_preprocess_dict({}, preprocess),
            pretrained_text=False,
        )


def _fill(model: Any, name: EncoderName, checkpoint: Path, allow_pickle: bool) -> None:
    """Load a checkpoint, without running what may be in it unless that is allowed."""
    with reading(checkpoint, f"a checkpoint of {name.full}", allow_pickle), quietly():
        load_checkpoint(model, str(checkpoint), weights_only=not allow_pickle)
