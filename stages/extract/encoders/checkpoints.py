"""Files of weights: read without running what may be in them, unless somebody asked for that."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cache.errors import MissingError, UserError

PICKLES = (b"\x80", b"P")  # a bare pickle, and the zip archive (PK) that torch.save and TorchScript write
FLAG = "--allow-pickle"


@contextmanager
def reading(path: Path, what: str, allow_pickle: bool) -> Iterator[None]:
    """Whatever goes wrong while a checkpoint is read and put into its model, as one line that names the file.

    `what` the checkpoint should be, as in "a checkpoint of ViT-B-32".
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a damaged or foreign file fails anywhere
        if not allow_pickle and _refused(path, error):
            mend = f"convert it to safetensors, or pass {FLAG} if you trust whoever made it"
            raise UserError(f"{path}: holds more than tensors, and code in a checkpoint is not run; {mend}") from error
        first = str(error).strip().splitlines()[-1].strip()[:120] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: not {what} ({first}); give that model's weights") from error


def _refused(path: Path, error: Exception) -> bool:
    """Whether torch would have had to run code."""
    if not path.is_file() or path.suffix == ".safetensors":
        return False
    if is_torchscript(path):
        return True
    with path.open("rb") as file:
        return file.read(1) in PICKLES and isinstance(error, pickle.UnpicklingError)


def is_torchscript(path: Path) -> bool:
    """Whether a checkpoint is a TorchScript archive: a program that holds its weights."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_tensors(path: Path, what: str, allow_pickle: bool) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: safetensors, torch.save, or the index (.index.json) of several such files.

    UserError for a file that is no checkpoint, or that holds code where `allow_pickle` is off; MissingError for a
    file that an index names and that is not there.
    """
    if path.name.endswith(".index.json"):
        files = [path.parent / name for name in shards_of(path)]
        return {name: value for file in files for name, value in read_tensors(file, what, allow_pickle).items()}
    if not path.is_file():
        raise MissingError(f"{path}: no such file; put it there, with the other files of its folder")
    with reading(path, what, allow_pickle):
        return _tensors(_load(path, allow_pickle))


def _load(path: Path, allow_pickle: bool) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=not allow_pickle)


def _tensors(stored: Any) -> dict[str, Tensor]:
    """The tensors alone: a training run keeps them beside its other state."""
    found = stored.state_dict() if isinstance(stored, torch.nn.Module) else stored
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    tensors = {name.removeprefix("module."): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError("no tensors in it")
    return tensors


def shards_of(index: Path) -> list[str]:
    """The names of the files that an index (.index.json) of a checkpoint in several parts names."""
    try:
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, OSError) as error:
        raise UserError(f"{index}: not the index of a checkpoint in several files; fetch it again") from error
