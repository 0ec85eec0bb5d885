"""The pairs of a dataset as people see them: picture, text and class of an id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cache.files import digest_bytes
from cache.manifest import Manifest
from stages.pictures import decode, embedded


@dataclass(frozen=True)
class Album:
    """The pairs of a manifest, by id. root: the folder of the pictures; rows: where each id stands."""

    root: Path
    manifest: Manifest
    rows: dict[str, int]

    def text(self, name: str) -> str:
        """The first text of a pair; empty where imported features came without any."""
        texts = self.manifest.texts[self.rows[name]]
        return texts[0] if texts else ""

    def labels(self, name: str) -> list[str]:
        """The classes of a pair."""
        return self.manifest.labels[self.rows[name]]

    def picture(self, name: str) -> Image.Image | None:
        """The picture of a pair, RGB and upright; None where it is not what `ingest` saw, or was never one."""
        row = self.rows[name]
        try:
            data = (self.root / self.manifest.images[row]).read_bytes()
            return decode(data) if digest_bytes(data) == self.manifest.xxh3[row] else None
        except Exception:  # gone, a folder, no picture: decoders of hostile files raise whatever they like
            return None

    def thumbnail(self, name: str, side: int) -> str:
        """The picture as the address of its own bytes, no side longer than `side`; empty where there is none."""
        picture = self.picture(name)
        return embedded(picture, side) if picture else ""


def open_album(manifest: Manifest, home: Path) -> Album:
    """The album of a manifest, whose root is relative to home where it can be."""
    return Album(home / manifest.root, manifest, {name: row for row, name in enumerate(manifest.ids)})
