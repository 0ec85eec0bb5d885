from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import DamagedError, MissingError, UserError
from cache.heads import write_head
from stages.heads.files import load_head, save_head
from stages.heads.head import Affine, to_sphere
from stages.heads.linear import LinearHead, Residual, live_views, weighted_mean
from stages.items import unit
from stages.retrieval import score
from tests.stages.train import build

SHAPES = {"mix": (1 + build.K, "mix"), "max": (build.K, "max"), "mean": (1, "dot"), "pooled": (1, "dot")}


def head(retrieve: str = "pooled", aligned: bool = True, **about: Any) -> LinearHead:
    """A head with everything in it: an affine map where the towers are apart, and a residual."""
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return (0.3 * rng.standard_normal(shape)).astype(np.float32)

    width = build.WIDTH if aligned else 6
    align = {} if aligned else {m: Affine(some(build.WIDTH), some(build.WIDTH, 6)) for m in ("image", "text")}
    residual = {m: Residual(some(width, width), some(width)) for m in ("image", "text")}
    told = {"kind": "linear", "method": "gap", "encoder": "tiny", "aligned": aligned, "retrieve": retrieve, **about}
    return LinearHead(told, align, residual)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("retrieve", sorted(SHAPES))
def test_vectors_have_the_shape_of_their_reading_and_unit_length(retrieve, aligned):
    found = head(retrieve, aligned).vectors(build.items(aligned), "image", "target")
    count, match = SHAPES[retrieve]
    assert found.values.shape == (len(build.IDS), count, build.WIDTH if aligned else 6)
    assert found.match == match
    assert found.values.dtype == np.float32
    assert np.linalg.norm(found.values, axis=2) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("retrieve", sorted(SHAPES))
def test_a_head_read_back_says_the_same(retrieve, aligned, tmp_path):
    before = head(retrieve, aligned, episode="e", params={"lr": 1e-4})
    save_head(tmp_path / "head", before)
    after = load_head(tmp_path / "head")
    items = build.items(aligned)
    assert after.about == before.about
    assert after.history == ()
    assert np.array_equal(after.vectors(items, "text", "all").values, before.vectors(items, "text", "all").values)


def test_equal_heads_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        save_head(tmp_path / name, head())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_head_of_unknown_kind_says_what_to_do(tmp_path):
    write_head(tmp_path / "head", {}, {"kind": "oracle"})
    with pytest.raises(DamagedError, match=r"head: holds a head of unknown kind; .* run 'train' again$"):
        load_head(tmp_path / "head")


def test_features_of_another_encoder_are_refused_with_what_to_pass():
    with pytest.raises(
        UserError, match=r"^head expects ViT-B-32/openai, the cache holds tiny; pass --encoder ViT-B-32/openai$"
    ):
        head(encoder="ViT-B-32/openai").vectors(build.items(), "image", "target")


def test_an_encoder_with_heads_is_named_with_both():
    told = (
        r"^head expects lite0@photos, the cache holds tiny; pass --encoder lite0 with the --heads file called photos$"
    )
    with pytest.raises(UserError, match=told):
        head(encoder="lite0@photos").vectors(build.items(), "image", "target")


def test_the_features_a_head_was_trained_on_are_its_own_whatever_they_are_called_now():
    items = build.items()
    renamed = head(encoder="imported@one", features=items.keys).vectors(items, "image", "target")
    assert np.array_equal(renamed.values, head().vectors(items, "image", "target").values)
    for kind in ("image", "text"):
        other = head(encoder="imported@one", features={**items.keys, kind: "0" * 32})
        told = "head expects imported@one, the cache holds tiny; import the features called one that it was trained on"
        with pytest.raises(UserError, match=told):
            other.vectors(items, "image", "target")


def test_readings_of_views_without_views_name_the_command():
    bare = replace(build.items(), views=None, weights=None, live=None)
    for retrieve in ("mix", "max", "mean"):
        with pytest.raises(MissingError, match="run 'mixture' first"):
            head(retrieve).vectors(bare, "image", "target")
    assert len(head().vectors(bare, "image", "target").values) == len(build.IDS)


def test_residual_and_affine_are_the_formulas():
    one, apart = head(), head(aligned=False)
    x = unit(build.items().pooled["text"]).astype(np.float64)
    moved = x + x @ one.residual["text"].weight + one.residual["text"].bias
    assert one.apply(build.items().pooled["text"], "text") == pytest.approx(
        moved / np.linalg.norm(moved, axis=1, keepdims=True), abs=1e-5
    )
    raw = build.items().pooled["text"].astype(np.float64)
    mapped = (raw - apart.align["text"].mean) @ apart.align["text"].map
    sphere = mapped / np.linalg.norm(mapped, axis=1, keepdims=True)
    assert to_sphere(raw.astype(np.float32), False, apart.align["text"]) == pytest.approx(sphere, abs=1e-5)


def test_the_mean_reading_is_the_loop_over_components():
    items, one = build.items(), head("mean")
    found = one.vectors(items, "image", "target").values[:, 0]
    for row in range(len(items)):
        views = [one.apply(items.views["image"][row, k], "image") for k in range(build.K)]
        total = sum(w * v for w, v in zip(items.weights["image"][row], views, strict=True))
        assert found[row] == pytest.approx(total / np.linalg.norm(total), abs=1e-5)


def test_the_first_vector_of_a_mix_is_the_pooled_one():
    items = build.items()
    mixed, pooled = (head(retrieve).vectors(items, "text", "target").values for retrieve in ("mix", "pooled"))
    assert np.array_equal(mixed[:, :1], pooled)


def test_a_dead_component_that_repeats_a_live_one_changes_no_score():
    items = build.items()
    values = [head("max").vectors(items, m, "target").values for m in ("image", "text")]
    alone = [np.where(items.live[m][..., None], v, v[:, :1]) for m, v in zip(("image", "text"), values, strict=True)]
    assert np.array_equal(score(*values, "max"), score(*alone, "max"))


@given(order=st.permutations(range(len(build.IDS))), retrieve=st.sampled_from(sorted(SHAPES)))
def test_permuting_items_permutes_their_vectors(order, retrieve):
    items = build.items()
    plain = head(retrieve).vectors(items, "image", "target").values
    shuffled = head(retrieve).vectors(items.take(order), "image", "target").values
    assert shuffled == pytest.approx(plain[order], abs=1e-6)


def test_views_and_their_mean_come_from_the_items():
    items = build.items()
    assert live_views(items, "image") is items.views["image"]
    assert weighted_mean(items.views["image"], items, "image").shape == (len(items), 1, build.WIDTH)


def hidden_head(width: int = build.WIDTH, units: int = 5) -> LinearHead:
    rng = np.random.default_rng(1)

    def some(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    parts = {m: Residual(some(units, width), some(width), some(width, units), some(units)) for m in ("image", "text")}
    return LinearHead(head().about, {}, parts)


def test_a_hidden_layer_is_the_loop_over_its_units():
    one, x = hidden_head(), unit(build.items().pooled["image"]).astype(np.float64)
    part = one.residual["image"]
    for row, found in zip(x, one.apply(build.items().pooled["image"], "image"), strict=True):
        moved = row + part.bias
        for unit_weight, bias, out in zip(part.hidden_weight.T, part.hidden_bias, part.weight, strict=True):
            moved = moved + max(float(row @ unit_weight + bias), 0.0) * out
        assert found == pytest.approx(moved / np.linalg.norm(moved), abs=1e-5)


def test_a_head_with_a_hidden_layer_is_read_back(tmp_path):
    before = hidden_head()
    save_head(tmp_path / "head", before)
    after = load_head(tmp_path / "head")
    assert sorted(before.tensors()) == [
        f"{m}.{name}" for m in ("image", "text") for name in ("bias", "hidden_bias", "hidden_weight", "weight")
    ]
    found, expected = (h.vectors(build.items(), "text", "all").values for h in (after, before))
    assert np.array_equal(found, expected)


def test_a_linear_head_has_no_tensor_of_a_hidden_layer():
    assert sorted(head().tensors()) == ["image.bias", "image.weight", "text.bias", "text.weight"]
