from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cache.errors import UserError
from stages.heads.files import load_head, save_head
from stages.heads.gated import Gate, GatedHead
from stages.heads.head import Affine, to_sphere
from stages.heads.linear import Residual
from stages.items import MODALITIES, unit
from stages.retrieval import score
from tests.stages.train import build

HIDDEN = 4


def head(aligned: bool = True, **about: Any) -> GatedHead:
    """A head with everything in it: an affine map where the towers are apart, projectors and gates."""
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    width = build.WIDTH if aligned else 6
    align = {} if aligned else {m: Affine(some(build.WIDTH), some(build.WIDTH, 6)) for m in MODALITIES}
    gates = {
        m: Gate(
            Residual(some(HIDDEN, width), some(width), some(width, HIDDEN), some(HIDDEN)),
            some(2 * width, width),
            some(width),
        )
        for m in MODALITIES
    }
    return GatedHead({"kind": "gated", "method": "m", "encoder": "tiny", "aligned": aligned, **about}, align, gates)


def with_bias(one: GatedHead, bias: float) -> GatedHead:
    """The same head, its gates open by their bias alone."""
    shut = {
        m: replace(gate, weight=0 * gate.weight, bias=np.full_like(gate.bias, bias)) for m, gate in one.gates.items()
    }
    return replace(one, gates=shut)


@pytest.mark.parametrize("aligned", [True, False])
def test_a_gate_is_the_loop_over_its_formula(aligned):
    one, items = head(aligned), build.items(aligned)
    found = one.vectors(items, "text", "target").values
    width, gate = found.shape[2], one.gates["text"]
    for row, f in enumerate(to_sphere(items.pooled["text"], aligned, one.align.get("text")).astype(float)):
        inner = [
            max(0.0, f @ gate.projector.hidden_weight[:, j] + gate.projector.hidden_bias[j]) for j in range(HIDDEN)
        ]
        projected = [
            f[i] + sum(inner[j] * gate.projector.weight[j, i] for j in range(HIDDEN)) + gate.projector.bias[i]
            for i in range(width)
        ]
        both = [*f, *projected]
        blended = []
        for i in range(width):
            share = 1 / (1 + math.exp(-sum(x * gate.weight[j, i] for j, x in enumerate(both)) - gate.bias[i]))
            blended.append(share * projected[i] + (1 - share) * f[i])
        assert found[row, 0] == pytest.approx(np.array(blended) / np.linalg.norm(blended), abs=1e-5)


@pytest.mark.parametrize("aligned", [True, False])
def test_a_shut_gate_is_the_features_as_they_are_and_an_open_one_the_projection(aligned):
    one, items = head(aligned), build.items(aligned)
    for m in MODALITIES:
        plain = to_sphere(items.pooled[m], aligned, one.align.get(m))
        assert np.array_equal(with_bias(one, -math.inf).vectors(items, m, "all").values[:, 0], unit(plain))
        projected = unit(one.gates[m].projector(plain))
        assert with_bias(one, math.inf).vectors(items, m, "all").values[:, 0] == pytest.approx(projected, abs=1e-6)


def test_a_shut_gate_retrieves_as_clip_does():
    items = build.items()
    image, text = (with_bias(head(), -math.inf).vectors(items, m, "target").values for m in MODALITIES)
    raw = unit(items.pooled["image"]) @ unit(items.pooled["text"]).T
    assert score(image, text, "dot") == pytest.approx(raw, abs=1e-6)


def test_vectors_have_unit_length_and_are_matched_by_their_dot_product():
    found = head().vectors(build.items(), "image", "target")
    assert (found.values.shape, found.match) == ((len(build.IDS), 1, build.WIDTH), "dot")
    assert found.values.dtype == np.float32
    assert np.linalg.norm(found.values, axis=2) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("aligned", [True, False])
def test_a_head_read_back_says_the_same_in_the_same_bytes(aligned, tmp_path):
    before = head(aligned, episode="e", params={"lr": 1e-4})
    save_head(tmp_path / "head", before)
    after = load_head(tmp_path / "head")
    save_head(tmp_path / "again", after)
    items = build.items(aligned)
    assert after.about == before.about
    assert after.history == ()
    assert np.array_equal(after.vectors(items, "text", "all").values, before.vectors(items, "text", "all").values)
    assert (tmp_path / "head").read_bytes() == (tmp_path / "again").read_bytes()


def test_features_of_another_encoder_are_refused():
    with pytest.raises(UserError, match=r"^head expects ViT-B-32/openai, the cache holds tiny; pass --encoder"):
        head(encoder="ViT-B-32/openai").vectors(build.items(), "image", "target")
