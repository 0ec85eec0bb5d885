"""The head of classification: its logits from their formulas, its file, and how any other head judges by names."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cache.errors import UsageError, UserError
from stages.heads.classifier import ClassHead, Keys
from stages.heads.files import load_head, save_head
from stages.heads.head import Affine
from stages.heads.judging import class_logits
from stages.heads.linear import LinearHead, Residual
from stages.items import unit
from tests.stages.train import build

C, D, S = 4, build.WIDTH, 7
ABOUT = {"kind": "classifier", "method": "toy", "encoder": "tiny", "aligned": True, "scale": 3.0, "share": 0.7}
CLASSES = {"target": build.CLASSES[:C], "source": []}


def head(mapped: bool, keys: bool, aligned: bool = True) -> ClassHead:
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return (0.3 * rng.standard_normal(shape)).astype(np.float32)

    owners = np.eye(C, dtype=np.float32)[rng.integers(0, C, S)]
    about = {**ABOUT, "aligned": aligned, "classes": CLASSES, **({"keys": {"alpha": 2.0, "beta": 1.5}} if keys else {})}
    align = {} if aligned else {m: Affine(drawn(D), drawn(D, D)) for m in ("image", "text")}
    own = Keys(unit(drawn(S, D)), owners, 2.0, 1.5) if keys else None
    return ClassHead(about, align, drawn(C, D), drawn(C), Residual(drawn(D, D), drawn(D)) if mapped else None, own)


def norm(values: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in values))
    return [x / length for x in values]


def affine(values: list[float], part: Affine) -> list[float]:
    return [
        sum((x - float(m)) * float(part.map[i, j]) for i, (x, m) in enumerate(zip(values, part.mean, strict=True)))
        for j in range(D)
    ]


def dot(a, b) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("mapped", "keys"), [(False, False), (True, False), (False, True), (True, True)])
def test_logits_are_those_of_a_loop(mapped, keys, aligned):
    own, items = head(mapped, keys, aligned), build.items(aligned).take(range(5))
    found = own.logits(items, "image")
    assert found.dtype == np.float32
    for i, row in enumerate(items.pooled["image"]):
        f = norm([float(x) for x in row]) if aligned else norm(affine([float(x) for x in row], own.align["image"]))
        h = [0.0] * D
        if own.mapped is not None:
            h = norm([f[j] + dot(f, own.mapped.weight[:, j]) + float(own.mapped.bias[j]) for j in range(D)])
        for c in range(C):
            expected = 3.0 * dot(f, own.weight[c]) + 0.7 * dot(h, own.weight[c]) + float(own.bias[c])
            if own.keys is not None:
                near = [math.exp(-1.5 * (1 - dot(f, key))) for key in own.keys.keys]
                expected += 2.0 * dot(near, own.keys.owners[:, c])
            assert found[i, c] == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(("mapped", "keys"), [(False, False), (True, True)])
@pytest.mark.parametrize("aligned", [True, False])
def test_a_head_is_read_back_to_the_bit(tmp_path, mapped, keys, aligned):
    own, items = head(mapped, keys, aligned), build.items(aligned)
    save_head(tmp_path / "head", own)
    again = load_head(tmp_path / "head")
    assert isinstance(again, ClassHead)
    assert again.about == own.about
    for modality in ("image", "text"):
        assert np.array_equal(again.logits(items, modality), own.logits(items, modality))
        assert np.array_equal(*(h.vectors(items, modality, "target").values for h in (again, own)))


def test_only_pictures_are_mapped():
    items = build.items()
    plain, mapped = (head(on, False).vectors(items, "text", "target").values for on in (False, True))
    assert np.array_equal(plain, mapped)
    plain, mapped = (head(on, False).vectors(items, "image", "target").values for on in (False, True))
    assert not np.allclose(plain, mapped, atol=1e-2)


def test_features_of_another_encoder_are_refused():
    with pytest.raises(UserError, match="head expects tiny, the cache holds other"):
        head(False, False).logits(replace(build.items(), encoder="other"), "image")


def test_classes_are_judged_in_the_order_in_which_they_are_asked_for():
    own, items = head(True, True), build.items()
    turned = class_logits(own, items, build.CLASSES[:C][::-1])
    assert np.array_equal(turned, own.logits(items, "image")[:, ::-1])
    with pytest.raises(UserError, match="the head of toy judges no class 'eel'; it was trained without it"):
        class_logits(own, items, ["ant", "eel"])


def test_a_head_without_logits_goes_by_the_nearest_name():
    items, plain = build.items(), LinearHead({**ABOUT, "retrieve": "pooled"}, {}, {})
    found = class_logits(plain, items, build.CLASSES[::-1])
    for i, row in enumerate(items.pooled["image"]):
        for c, name in enumerate(build.CLASSES[::-1]):
            expected = dot(norm([float(x) for x in row]), norm([float(x) for x in build.names()[name]]))
            assert found[i, c] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UserError, match="class 'gnu': its name has no vector"):
        class_logits(plain, items, ["gnu"])
    with pytest.raises(UsageError, match=r"of toy compares component views, .* pass -S train\.toy\.retrieve=pooled$"):
        class_logits(LinearHead({**ABOUT, "retrieve": "mix"}, {}, {}), items, ["ant"])
