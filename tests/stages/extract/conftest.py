"""A tiny encoder, a few small pictures, and a reporter that remembers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cache.files import digest_file
from cache.manifest import Manifest, write_manifest
from stages.extract.built import EncoderChoice
from stages.extract.encoders import Encoder, load_encoder
from stages.extract.lite0_minilm import HEADS
from stages.extract.params import ExtractParams, ExtractSection
from stages.progress import Silent, report_to

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


def choice_of(encoder: str, weights: Path | None = None, heads: Path | None = None) -> EncoderChoice:
    return EncoderChoice(encoder, weights, heads, "cpu", "fp32", Path("nowhere"), False)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny", TINY)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Encoder:
    return load_encoder(choice_of(f"local-dir:{tiny_folder}"))


@pytest.fixture(scope="session")
def heads_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random heads for lite0-minilm."""
    generator = torch.Generator().manual_seed(3)
    path = tmp_path_factory.mktemp("heads") / "random.safetensors"
    save_file({name: torch.randn(shape, generator=generator) / 30 for name, shape in HEADS.items()}, path)
    return path


@pytest.fixture(scope="session")
def lite0() -> Encoder:
    return load_encoder(choice_of("lite0-minilm"))


@pytest.fixture(scope="session")
def lite0_aligned(heads_file: Path) -> Encoder:
    return load_encoder(choice_of("lite0-minilm", heads=heads_file))


@dataclass
class Recorder(Silent):
    """A reporter that remembers what it was told."""

    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    started: dict[str, tuple[int, int]] = field(default_factory=dict)
    advanced: dict[str, int] = field(default_factory=dict)
    on_advance: Callable[[str], None] = str

    def start(self, what: str, total: int, done: int = 0) -> None:
        self.started[what] = (total, done)

    def advance(self, what: str, items: int, megabytes: float = 0.0, failed: int = 0) -> None:  # noqa: ARG002
        self.advanced[what] = self.advanced.get(what, 0) + items
        self.on_advance(what)

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)


@pytest.fixture
def told() -> Iterator[Recorder]:
    recorder = Recorder()
    before = report_to(recorder)
    yield recorder
    report_to(before)


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
        section = self.params.section.model_copy(update=keys)
        return replace(self.params, section=section)

    def into(self, folder: str, **keys: Any) -> ExtractParams:
        """The same, into another store."""
        return replace(self.with_(**keys), store=self.base / folder, ledger=self.base / f"{folder}.json")

    def remake(self, images: list[str]) -> None:
        write_manifest(self.params.manifest, manifest_of(self.root, images), "test")


@pytest.fixture
def toys(tmp_path: Path, tiny_folder: Path) -> Toys:
    root = tmp_path / "pictures"
    images = save_pictures(root, 10)
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
        encoder=f"local-dir:{tiny_folder}",
        label="tiny",
        section=section,
        home=tmp_path,
        store=tmp_path / "store",
        manifest=tmp_path / "toys.parquet",
        ledger=tmp_path / "toys.json",
        made_from="stamp",
        wait_for_lock=False,
    )
    made = Toys(tmp_path, root, params)
    made.remake(images)
    return made
