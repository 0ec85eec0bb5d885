"""A tiny encoder and a small dataset to extract with it, for the proofs and for the tests of extract."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from cache.files import digest_file
from cache.manifest import Manifest, write_manifest
from stages.extract.params import ExtractParams, ExtractSection

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2},
}


def write_model(folder: Path, config: dict[str, Any]) -> Path:
    """A folder that `local-dir:` takes: a configuration and seeded random weights."""
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(1)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def save_pictures(root: Path, count: int) -> list[str]:
    """Noise at various sizes, as JPEG; their paths below the root."""
    root.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0)
    names = [f"{i:03}.jpg" for i in range(count)]
    for i, name in enumerate(names):
        pixels = numbers.integers(0, 256, (40 + i, 50, 3), np.uint8)
        Image.fromarray(pixels).save(root / name)
    return names


def manifest_of(root: Path, images: list[str]) -> Manifest:
    """Two captions an item, of various lengths; two classes."""
    n = len(images)
    texts = [[f"item {i}" + " and more" * (i % 4), f"a caption of {i}"] for i in range(n)]
    labels = [["Red_Fox" if i % 2 else "polar-bear"] for i in range(n)]
    digests = [digest_file(root / image) if (root / image).is_file() else "" for image in images]
    ids = [f"id{i}" for i in range(n)]
    return Manifest("toys", str(root), ids, images, texts, labels, [None] * n, [1] * n, digests)


@dataclass(frozen=True)
class Toys:
    """A small dataset and the parameters to extract it; `with_` changes some keys of the section."""

    base: Path
    root: Path
    params: ExtractParams

    def with_(self, **keys: Any) -> ExtractParams:
        """The parameters with some keys of the section changed."""
        section = self.params.section.model_copy(update=keys)
        return replace(self.params, section=section)

    def into(self, folder: str, **keys: Any) -> ExtractParams:
        """The same, into another store."""
        return replace(self.with_(**keys), store=self.base / folder, ledger=self.base / f"{folder}.json")

    def remake(self, images: list[str]) -> None:
        """Write the manifest anew, with these pictures."""
        write_manifest(self.params.manifest, manifest_of(self.root, images), "test")


def make_toys(base: Path, model: Path, items: int) -> Toys:
    """A dataset of `items` pictures with two captions each below `base`, cut into parts of four rows."""
    root = base / "pictures"
    section = ExtractSection(
        device="cpu",
        precision="fp32",
        tokens="joint",
        storage="float16",
        weights=None,
        heads=None,
        allow_pickle=False,
        templates=["a photo of a {}", "{}"],
        rows_per_shard=4,
        batch=3,
        workers=1,
        backend="loky",
    )
    params = ExtractParams(
        encoder=f"local-dir:{model}",
        label="tiny",
        section=section,
        home=base,
        store=base / "store",
        manifest=base / "toys.parquet",
        ledger=base / "toys.json",
        made_from="stamp",
        wait_for_lock=False,
    )
    made = Toys(base, root, params)
    made.remake(save_pictures(root, items))
    return made


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and "locks" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
