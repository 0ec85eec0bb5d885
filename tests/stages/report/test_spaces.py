"""Similarities, gaps and principal axes against loops and a trusted library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from stages.heads.head import Affine, Vectors
from stages.heads.linear import LinearHead, Residual
from stages.items import unit
from stages.report import spaces
from tests.stages.train import build as world

RNG = np.random.default_rng(0)
IMAGE, TEXT = (unit(RNG.standard_normal((n, 7)).astype(np.float32) + shift) for n, shift in ((9, 0.0), (6, 0.4)))
ALIGN = {
    m: Affine(np.zeros(world.WIDTH, np.float32), np.eye(world.WIDTH, dtype=np.float32)[:, :6])
    for m in ("image", "text")
}
TURN = Residual(np.full((6, 6), 0.3, np.float32), np.zeros(6, np.float32))


def test_similarities_and_their_mean_difference_are_those_of_loops():
    first, second = spaces.similarities(IMAGE[:6]), spaces.similarities(TEXT)
    loop = [[sum(float(a) * float(b) for a, b in zip(x, y, strict=True)) for y in TEXT] for x in TEXT]
    np.testing.assert_allclose(second, loop, atol=1e-12)
    apart = [abs(first[i, j] - second[i, j]) for i in range(6) for j in range(6) if i != j]
    assert spaces.mean_apart(first, second) == pytest.approx(sum(apart) / len(apart))
    assert spaces.mean_apart(first[:1, :1], second[:1, :1]) == 0


def test_the_gap_is_the_distance_between_the_means():
    assert spaces.gap(IMAGE, TEXT) == pytest.approx(np.linalg.norm(IMAGE.mean(0) - TEXT.mean(0)))
    assert spaces.gap(TEXT[:1], -TEXT[:1]) == pytest.approx(2)


def test_two_axes_are_the_first_principal_components_of_both_together():
    (image, text), shares = spaces.two_axes([IMAGE, TEXT])
    trusted = PCA(2).fit(np.concatenate([IMAGE, TEXT]).astype(np.float64))
    np.testing.assert_allclose(np.abs(image), np.abs(trusted.transform(IMAGE.astype(np.float64))), atol=1e-6)
    assert text.shape == (6, 2)
    assert shares == pytest.approx(tuple(trusted.explained_variance_ratio_), abs=1e-6)


def test_no_picture_is_the_mirror_of_another():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        (image, _), _ = spaces.two_axes([rng.standard_normal((9, 7)).astype(np.float32) + 1, TEXT])
        assert (image.mean(axis=0) >= 0).all()


def test_two_axes_of_one_dimension_or_of_one_point_are_flat():
    (points, _), shares = spaces.two_axes([IMAGE[:, :1], TEXT[:, :1]])
    assert not points[:, 1].any()
    assert shares[0] == pytest.approx(1)
    (points, _), shares = spaces.two_axes([IMAGE[:1], IMAGE[:1]])
    assert not points.any()
    assert shares == (0, 0)


def test_training_starts_from_the_encoder_or_from_cca():
    items, head = world.items(aligned=True), LinearHead({"retrieve": "mix"}, ALIGN, {"image": TURN})
    start = spaces.start_of(items, {"gap": head})
    values = spaces.one_vector(start.vectors(items, "image", "target"))
    np.testing.assert_allclose(values, unit(items.pooled["image"]), atol=1e-6)
    towers = replace(items, aligned=False)
    start = spaces.start_of(towers, {"gap": head})
    values = spaces.one_vector(start.vectors(towers, "image", "target"))
    np.testing.assert_allclose(values, unit(items.pooled["image"][:, :6]), atol=1e-6)
    assert spaces.start_of(towers, {}) is None


def test_a_head_read_alone_by_its_pooled_vectors_keeps_what_it_learnt():
    items = world.items(aligned=False)
    head = LinearHead(
        {"retrieve": "mix", "encoder": "tiny", "aligned": False, "per_token": True}, ALIGN, {"image": TURN}
    )
    vectors = spaces.pooled_alone(head).vectors(items, "image", "target")
    assert vectors.values.shape == (len(items), 1, 6)
    x = unit(items.pooled["image"][:, :6])
    np.testing.assert_allclose(vectors.values[:, 0], unit(x + x @ TURN.weight), atol=1e-5)


def test_of_views_alone_the_mean_stands_for_an_item():
    views = unit(RNG.standard_normal((4, 3, 5)).astype(np.float32))
    np.testing.assert_allclose(spaces.one_vector(Vectors(views, "max")), unit(views.mean(axis=1)), atol=1e-6)
    np.testing.assert_allclose(spaces.one_vector(Vectors(views, "mix")), views[:, 0], atol=1e-6)
