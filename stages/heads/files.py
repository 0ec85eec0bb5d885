"""Heads as files: saved, and read back by the kind that `about` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cache.errors import DamagedError
from cache.heads import read_head, write_head
from stages.heads import classifier, gated, linear, own, posterior
from stages.heads.head import Head
from stages.items import Array

READERS: dict[str, Callable[[Mapping[str, Array], dict[str, Any]], Head]] = {
    classifier.KIND: classifier.read,
    gated.KIND: gated.read,
    linear.KIND: linear.read,
    own.KIND: own.read,
    posterior.KIND: posterior.read,
}


def save_head(path: Path, head: Head) -> None:
    """Write a head as one safetensors file with `about` in its header; equal heads give equal bytes."""
    write_head(path, head.tensors(), head.about)


def load_head(path: Path) -> Head:
    """Read a head back; DamagedError where the file is none of ours."""
    tensors, about = read_head(path)
    if about.get("kind") not in READERS:
        raise DamagedError(f"{path}: holds a head of unknown kind; delete its folder and run 'train' again")
    return READERS[about["kind"]](tensors, dict(about))
