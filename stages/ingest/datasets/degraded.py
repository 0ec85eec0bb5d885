"""`<dataset>-to-<how>`: a dataset whose pictures were made worse, to see what heads that were trained on the good ones
still know. Everything else of its pairs stays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from cache.files import write_bytes
from cache.manifest import Manifest
from stages.ingest.blocks import Listed, listed
from stages.ingest.datasets import find, loader
from stages.ingest.datasets.shifts import parts_of
from stages.ingest.params import IngestParams
from stages.ingest.places import confined, from_home
from stages.pictures import decode
from stages.progress import reporter, working

QUALITY = 95  # of the JPEG that a copy is
WORK = "degrade"


def load(params: IngestParams) -> Listed:
    """The pairs of the dataset behind the name, each with a copy of its picture; the copies lie under ingest.root, in a
    folder of their name. A picture that cannot be read has no copy, and counts as missing."""
    base, how = parts_of(params.dataset)
    found = listed(loader(find(base))(replace(params, dataset=base)))
    name = f"{found.name}-to-{how}"
    folder = params.home / params.section.root / name
    with working(WORK, sum(map(len, found.blocks()))):
        for block in found.blocks():
            for image in block.images:
                _copy(found.name, params.home / found.root, folder, image, HOW[how], params.section.blur)
                reporter().advance(WORK, 1)

    def blocks() -> Iterator[Manifest]:
        root = from_home(folder, params.home)
        return (replace(own, name=name, root=root, images=[f"{i}.jpg" for i in own.images]) for own in found.blocks())

    return Listed(name, from_home(folder, params.home), blocks, found.lost)


def _copy(name: str, root: Path, folder: Path, image: str, how: Degrade, blur: float) -> None:
    """Write the copy of one picture, where it can be read."""
    try:
        picture = decode(confined(name, root, image).read_bytes())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
    buffer = io.BytesIO()
    how(picture, blur * min(picture.size)).save(buffer, "JPEG", quality=QUALITY)
    write_bytes(confined(name, folder, f"{image}.jpg"), buffer.getvalue())


def blurred(picture: Image.Image, radius: float) -> Image.Image:
    """RGB under a Gaussian whose standard deviation is so many pixels."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


def grey(picture: Image.Image, radius: float) -> Image.Image:  # noqa: ARG001
    """RGB without its colours: the luma of each pixel three times."""
    return picture.convert("L").convert("RGB")


def sketch(picture: Image.Image, radius: float) -> Image.Image:
    """RGB as if drawn with a pencil (ours): the luma divided by its own blur, which leaves edges dark on white."""
    luma = picture.convert("L")
    around = 255.0 - np.asarray(ImageOps.invert(luma).filter(ImageFilter.GaussianBlur(radius)), np.float64)
    drawn = np.minimum(255.0, np.asarray(luma, np.float64) * 255.0 / np.maximum(around, 1.0))
    return Image.fromarray(np.rint(drawn).astype(np.uint8)).convert("RGB")


Degrade = Callable[[Image.Image, float], Image.Image]  # a picture, a radius in pixels -> what is left of it
HOW: dict[str, Degrade] = {"blur": blurred, "grey": grey, "sketch": sketch}
