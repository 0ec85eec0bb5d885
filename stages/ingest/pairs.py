"""Pairs as a loader finds them, and the manifest that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cache.manifest import Manifest


@dataclass(frozen=True)
class Pair:
    """A picture, its path relative to the dataset's root, with its captions and classes."""

    id: str
    image: str
    texts: list[str]
    labels: list[str]
    split: str | None


def unmeasured(name: str, root: str, pairs: Sequence[Pair]) -> Manifest:
    """The manifest of these pairs in their order, the pictures' bytes and digests not yet read."""
    return Manifest(
        name=name,
        root=root,
        ids=[pair.id for pair in pairs],
        images=[pair.image for pair in pairs],
        texts=[pair.texts for pair in pairs],
        labels=[pair.labels for pair in pairs],
        splits=[pair.split for pair in pairs],
        bytes=[0] * len(pairs),
        xxh3=[""] * len(pairs),
    )
