"""Which patch belongs to which component, over what the encoder saw."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cache.episodes import read_episodes
from cache.manifest import read_manifest
from cache.store import Ledger, write_ledger
from stages.items import load_items
from stages.report import components
from stages.report.album import open_album
from stages.report.first_draw import first_episode, look
from tests.stages.report import build
from tests.stages.train import build as world


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("components")
    made = build.write_inputs(folder)
    items = load_items(made.store, made.manifest, made.features, made.mixtures, "first")
    draw = look(made.store, items, first_episode(read_episodes(made.episodes)), Ledger("heads", "made", {}, ()))
    return draw, open_album(read_manifest(made.manifest), folder)


def test_each_class_shows_its_first_picture_that_can_be_read(here):
    draw, album = here
    first = album.root / "cat-4.png"
    kept = first.read_bytes()
    first.write_bytes(b"no picture")
    found = components.mixed_pictures(draw, album)
    first.write_bytes(kept)
    assert [one.id for one in found] == ["ant-4", "cat-5", "eel-4"]
    assert {one.picture.size for one in found} == {(24, 24)}


def test_the_map_is_the_responsibilities_row_by_row_heaviest_component_first(here):
    draw, album = here
    for one in components.mixed_pictures(draw, album):
        dealt = world.mixture(np.zeros((len(world.IDS), 9, 1), np.float16))
        row = world.IDS.index(one.id)
        gamma = dealt.responsibilities.reshape(-1, 9, world.K)[row].astype(float)
        order = sorted((k for k in range(world.K) if gamma[:, k].any()), key=lambda k: (-gamma[:, k].sum(), k))
        for patch in range(9):
            np.testing.assert_allclose(one.owners[patch // 3, patch % 3], gamma[patch, order], atol=1e-3)
        assert one.weights == pytest.approx(gamma[:, order].mean(axis=0), abs=1e-3)
        assert (np.diff(one.weights) <= 0).all()


def test_a_dead_component_has_no_colour(here):
    draw, album = here
    found = {one.id: one.owners.shape[2] for one in components.mixed_pictures(draw, album)}
    assert found == {"ant-4": 2, "cat-4": 2, "eel-4": 2}  # of every fourth item the last component is dead


@pytest.mark.parametrize(
    ("patches", "size", "expected"),
    [
        (49, (224, 224), (7, 7)),
        (196, (224, 224), (14, 14)),
        (50, (224, 224), None),  # with a class token there would be no grid, and none is kept
        (98, (224, 448), (7, 14)),
        (98, (448, 224), (14, 7)),
        (1, (224, 224), (1, 1)),
        (0, (224, 224), None),
    ],
)
def test_patches_make_a_grid_of_squares_or_none(patches, size, expected):
    assert components.grid_of(patches, *size) == expected


def striped(width: int, height: int) -> Image.Image:
    """A picture whose red is the column, 0 to 255, and whose green is the row."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([red, green, 0 * red], axis=2).astype(np.uint8))


def seen(picture: Image.Image, told: dict[str, object]) -> tuple[float, float, float, float]:
    """Red at the left and right edge, green at the top and the bottom, of what is framed."""
    pixels = np.asarray(components.framed(picture, told)).astype(float)
    return pixels[:, 0, 0].mean(), pixels[:, -1, 0].mean(), pixels[0, :, 1].mean(), pixels[-1, :, 1].mean()


def test_the_frame_is_what_the_encoder_saw():
    wide = striped(400, 200)
    cut = seen(wide, {"size": [64, 64], "resize_mode": "shortest"})
    assert cut == pytest.approx((64, 191, 0, 255), abs=3)
    assert seen(wide, {"size": 64, "resize_mode": "squash"}) == pytest.approx((0, 255, 0, 255), abs=4)
    bordered = components.framed(wide, {"size": 64, "resize_mode": "longest"})
    assert not np.asarray(bordered)[:15].any()
    assert np.asarray(bordered)[32, -1, 0] > 250
    timm = seen(wide, {"size": [64, 64], "crop_mode": "center", "crop_pct": 0.5})
    assert timm == pytest.approx((96, 159, 64, 191), abs=4)


def test_without_patches_or_their_geometry_nothing_is_drawn(here, tmp_path):
    _, album = here
    made = build.write_inputs(tmp_path)
    write_ledger(made.heads, Ledger("heads", "made", {}, ()))
    plain = load_items(made.store, made.manifest, made.features, None, "first")
    episode = first_episode(read_episodes(made.episodes))
    assert components.mixed_pictures(look(made.store, plain, episode, Ledger("heads", "made", {}, ())), album) == []


def test_the_owner_is_the_component_with_the_largest_responsibility():
    owners = np.array([[[0.2, 0.8], [0.6, 0.4]]], np.float32)
    assert components.owner_of(owners).tolist() == [[1, 0]]
