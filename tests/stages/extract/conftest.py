"""A tiny encoder and a few small pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cache.features import FeatureCache
from cache.store import folder_of, read_ledger
from proof.toys import TINY, Toys, make_toys, manifest_of, save_pictures, write_model
from stages.extract import fill as filling
from stages.extract import run as stage
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.encoders.lite0_minilm import HEADS
from stages.extract.params import ExtractParams
from stages.extract.run import run

__all__ = ["TINY", "Toys", "manifest_of", "save_pictures", "write_model"]


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


@pytest.fixture
def toys(tmp_path: Path, tiny_folder: Path) -> Toys:
    return make_toys(tmp_path, tiny_folder, 10)


@pytest.fixture
def one_encoder(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every extraction of this process uses the one tiny encoder."""
    monkeypatch.setattr(stage, "load_encoder", lambda choice: tiny)  # noqa: ARG005


def caches_of(params: ExtractParams) -> dict[str, FeatureCache]:
    """The three caches that a ledger names, by their rows."""
    ledger = read_ledger(params.ledger)
    return {key.about["rows"]: FeatureCache.open(folder_of(params.store, key.kind, key.key)) for key in ledger.keys}


def keys_of(params: ExtractParams) -> list[str]:
    """Extract; the keys of the three caches."""
    run(params)
    return [key.key for key in read_ledger(params.ledger).keys]


def counted_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of the parts that are extracted from now on."""
    done: list[int] = []
    original = filling.extract_shards

    def counting(encoder: Any, tasks: Any, *rest: Any) -> Any:
        done.extend(task.index for task in tasks)
        return original(encoder, tasks, *rest)

    monkeypatch.setattr(filling, "extract_shards", counting)
    return done
