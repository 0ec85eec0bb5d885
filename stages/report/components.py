"""Whose the patches of a picture are: responsibilities as a map over what the encoder saw of it.

Letters: P patches, H x W their grid, K components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from stages.items import Array, Items
from stages.report.album import Album
from stages.report.asked import evenly
from stages.report.first_draw import FirstDraw

PICTURES = 6  # that are drawn
FEWEST_PATCHES = 4  # below which a map says nothing
WAYS = {"center": "shortest", "squash": "squash", "border": "longest"}  # timm's words for open_clip's


@dataclass(frozen=True)
class Mixed:
    """A picture as its encoder saw it, and whose its patches are: owners (H, W, K) float32, each patch summing to 1,
    and weights (K,), heaviest component first; components without any patch are left out."""

    id: str
    name: str
    picture: Image.Image
    owners: Array
    weights: Array


def mixed_pictures(draw: FirstDraw, album: Album) -> list[Mixed]:
    """(ours) The first picture that can be read of some classes, evenly from the first to the last; none where the
    cache holds no patches, no grid of them is known, or there is one component."""
    source = (draw.items.tokens or {}).get("image")
    told = {} if source is None else source.cache.about["content"].get("preprocess") or {}
    if draw.items.responsibilities is None or source is None or source.pooled is not None or "size" not in told:
        return []
    names = evenly(list(dict.fromkeys(draw.classes)), PICTURES)
    found = (_first(draw, album, name, told) for name in names)
    return [one for one in found if one is not None]


def _first(draw: FirstDraw, album: Album, name: str, told: Mapping[str, Any]) -> Mixed | None:
    """The first item of a class whose picture is there and whose patches make a grid."""
    for row, own in enumerate(draw.classes):
        picture = album.picture(draw.items.ids[row]) if own == name else None
        if picture is not None:
            return mixed(draw.items, row, name, framed(picture, told))
    return None


def mixed(items: Items, row: int, name: str, picture: Image.Image) -> Mixed | None:
    """The map of one item over what was seen of its picture."""
    assert items.responsibilities is not None
    assert items.weights is not None
    owners = items.responsibilities["image"].padded(np.array([row]))[0]
    weights = items.weights["image"][row]
    grid = grid_of(len(owners), picture.height, picture.width)
    order = [k for k in np.argsort(-weights, kind="stable") if owners[:, k].any()]
    if grid is None or len(owners) < FEWEST_PATCHES or owners.shape[1] < 2:
        return None
    return Mixed(items.ids[row], name, picture, owners[:, order].reshape(*grid, len(order)), weights[order])


def grid_of(patches: int, height: int, width: int) -> tuple[int, int] | None:
    """The rows and columns of so many patches over a picture of some shape, row by row from the top left; None where no
    grid of square patches has as many. Class tokens are not among a cache's tokens."""
    rows = round((patches * height / width) ** 0.5)
    return (rows, patches // rows) if rows and rows * (patches // rows) == patches else None


def framed(picture: Image.Image, told: Mapping[str, Any]) -> Image.Image:
    """What an encoder sees of a picture, by what its cache says of the preprocessing: its shorter side made to fit and
    the middle cut out, or squashed, or with borders."""
    size = told["size"]
    height, width = (size, size) if isinstance(size, int) else size
    way = told.get("resize_mode") or WAYS.get(told.get("crop_mode") or "center", "shortest")
    if way == "squash":
        return picture.resize((width, height), Image.Resampling.BICUBIC)
    if way == "longest":
        return ImageOps.pad(picture, (width, height), Image.Resampling.BICUBIC)
    share = float(told.get("crop_pct") or 1.0)
    whole = ImageOps.fit(picture, (round(width / share), round(height / share)), Image.Resampling.BICUBIC)
    left, top = (whole.width - width) // 2, (whole.height - height) // 2
    return whole.crop((left, top, left + width, top + height))


def owner_of(owners: Array) -> NDArray[np.int64]:
    """The component with the largest responsibility for each patch, (H, W, K) -> (H, W), 0 being the heaviest."""
    return np.asarray(owners.argmax(axis=2), np.int64)
