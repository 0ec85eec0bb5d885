"""What every loader of encoders is given and hands over, and the quiet in which it works."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cache.errors import UsageError
from stages.extract.params import Precision

SEED = 0  # of random weights


@dataclass(frozen=True)
class EncoderChoice:
    """Everything that names one encoder; can be sent to another process. `device` is auto, cpu, mps, cuda, cuda:1.

    A relative folder in the encoder's name lies under `home`. `allow_pickle`: a checkpoint may hold code, and runs it.
    """

    encoder: str
    weights: Path | None
    heads: Path | None
    device: str
    precision: Precision
    home: Path
    allow_pickle: bool


@dataclass(frozen=True)
class Built:
    """An open_clip CustomTextCLIP (or CoCa) on the CPU in fp32, and what belongs to it.

    `preprocess` has the fields of open_clip's PreprocessCfg, or is what the cache key and a reader are told of
    `transform`, which then makes the pixels; `size` (height, width) is always in it. `tokenizer` is one of
    open_clip's; `aligned` says whether both towers share a space. `architecture` is what beside the weights decides
    the numbers, as plain JSON; {} where the encoder's name says it all.
    """

    model: Any
    preprocess: dict[str, Any]
    tokenizer: Any
    aligned: bool
    architecture: dict[str, Any]
    transform: Callable[[Image.Image], torch.Tensor] | None = None


def refuse_imported(name: Any, choice: EncoderChoice) -> Built:  # noqa: ARG001
    """UsageError: nothing can be encoded by what is no encoder."""
    raise UsageError("encoder 'imported' only copies features; use it with --dataset features, or name an encoder")


def library_config(config: Any) -> dict[str, Any]:
    """What a configuration of transformers says of the numbers: all but where it came from and who wrote it."""
    told: dict[str, Any] = json.loads(config.to_json_string())
    return {key: value for key, value in told.items() if key not in ("_name_or_path", "transformers_version")}


@contextmanager
def quietly() -> Iterator[None]:
    """Libraries that build models log and warn about weights that are about to be replaced; not here.

    The random numbers drawn meanwhile come from a seed of their own, and nobody else's change."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(SEED)
            yield
    finally:
        logging.disable(before)
