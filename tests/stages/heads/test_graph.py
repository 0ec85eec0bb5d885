"""Heads as ONNX graphs, run by onnxruntime, against the heads themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cache.errors import UsageError
from stages.heads.attention import Attention
from stages.heads.classifier import ClassHead
from stages.heads.gated import Gate, GatedHead
from stages.heads.head import Affine, Head
from stages.heads.linear import LinearHead, Residual
from stages.heads.posterior import Neighbours
from stages.items import MODALITIES, Items, unit
from tests.stages.heads.test_posterior import COUNT, head, items
from tests.stages.train import build

EXTRA = "the extra `export` is not installed: pip install '.[export]'"
runtime = pytest.importorskip("onnxruntime", reason=EXTRA)
pytest.importorskip("onnx", reason=EXTRA)


def some(*shape: int) -> np.ndarray:
    return (0.4 * np.random.default_rng(shape[0] + 7 * len(shape)).standard_normal(shape)).astype(np.float32)


def given_to(session: Any, own: Items) -> dict[str, np.ndarray]:
    """What a graph asks for, of some items."""
    known: dict[str, Any] = {}
    for m in MODALITIES:
        known[m] = own.pooled[m]
        known[f"{m}_raw"] = None if own.pooled_raw is None else own.pooled_raw[m]
        known[f"{m}_views"] = None if own.views is None else own.views[m]
        known[f"{m}_weights"] = None if own.weights is None else own.weights[m]
    return {one.name: np.asarray(known[one.name], np.float32) for one in session.get_inputs()}


def agrees(one: Head, own: Items, gallery: Any) -> Any:
    """A session of the head's graph, once it gives what the head gives."""
    from stages.heads.graph import onnx_of

    session = runtime.InferenceSession(onnx_of(one, own, gallery).SerializeToString())
    found = session.run([f"{m}_vectors" for m in MODALITIES], given_to(session, own))
    for m, values in zip(MODALITIES, found, strict=True):
        wanted = one.vectors(own, m, gallery).values
        assert values.dtype == np.float32
        np.testing.assert_allclose(values.reshape(wanted.shape), wanted, atol=1e-5)
    return session


def align(aligned: bool) -> dict[Any, Affine]:
    return {} if aligned else {m: Affine(some(build.WIDTH), some(build.WIDTH, 6)) for m in MODALITIES}


def residual(width: int, hidden: bool) -> Residual:
    if not hidden:
        return Residual(some(width, width), some(width))
    return Residual(some(5, width), some(width), some(width, 5), some(5))


@pytest.mark.parametrize("retrieve", ["pooled", "mix", "max", "mean"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("hidden", [True, False])
def test_linear_heads(retrieve: str, aligned: bool, hidden: bool) -> None:
    own = items(aligned)
    own.pooled["text"][0] = 0  # a zero vector stays zero where nothing is added to it
    about = {"method": "gap", "encoder": "tiny", "aligned": aligned, "retrieve": retrieve}
    width = build.WIDTH if aligned else 6
    parts = {m: residual(width, hidden) for m in MODALITIES}
    agrees(LinearHead(about, align(aligned), parts), own, "target")
    agrees(LinearHead(about, align(aligned), {}), own, "all")


@pytest.mark.parametrize("aligned", [True, False])
def test_gated_heads(aligned: bool) -> None:
    width = build.WIDTH if aligned else 6
    gates = {m: Gate(residual(width, True), some(2 * width, width), some(width)) for m in MODALITIES}
    agrees(
        GatedHead({"method": "flexclip", "encoder": "tiny", "aligned": aligned}, align(aligned), gates),
        items(aligned),
        "all",
    )


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("mapped", [True, False])
def test_classifying_heads_give_their_vectors(mapped: bool, aligned: bool) -> None:
    width = build.WIDTH if aligned else 6
    about = {"method": "cmm_classifier", "encoder": "tiny", "aligned": aligned}
    own = residual(width, False) if mapped else None
    agrees(ClassHead(about, align(aligned), some(3, width), some(3), own), items(aligned), "target")


@pytest.mark.parametrize("votes", [1, 2])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("gallery", ["target", "all"])
def test_posterior_heads(gallery: Any, aligned: bool, votes: int) -> None:
    agrees(head(aligned=aligned, votes=votes), items(aligned), gallery)


def test_neighbours_and_classes_without_one() -> None:
    one = head()
    counts = np.array([3, 0, 2, 1, 4, 0])
    keys = unit(some(int(counts.sum()), 4))
    near = Neighbours(keys, counts, 0.7, 0.05)
    votes = (one.votes[0], replace(one.votes[1], neighbours=dict.fromkeys(MODALITIES, near)))
    agrees(replace(one, votes=votes), items(), "all")
    agrees(replace(one, votes=votes), items(), "target")


def test_a_head_that_judges_no_class_gives_its_places() -> None:
    agrees(head(classes={"target": [], "source": []}), items(), "all")


def test_one_modality_alone_is_asked_with_no_rows_of_the_other() -> None:
    own = items()
    session = agrees(head(), own, "all")
    given = given_to(session, own)
    alone = {name: values[:2] if name.startswith("text") else values[:0] for name, values in given.items()}
    (found,) = session.run(["text_vectors"], alone)
    np.testing.assert_allclose(found, head().vectors(own, "text", "all").values[:2, 0], atol=1e-5)


def test_the_graph_says_what_it_is_of() -> None:
    told = agrees(head(), items(), "all").get_modelmeta().custom_metadata_map
    assert (told["gallery"], told["match"]) == ("all", "dot")
    classes = json.loads(told["about"])["classes"]
    assert len(classes["target"]) + len(classes["source"]) == COUNT


def test_heads_that_read_tokens_are_refused() -> None:
    from stages.heads.graph import onnx_of

    one = head()
    attending = replace(one.votes[0], attention=Attention(dict.fromkeys(MODALITIES, 0.1), 0.5))
    with pytest.raises(UsageError, match="reads single tokens"):
        onnx_of(replace(one, votes=(attending, one.votes[1])), items(), "all")
    about = {"method": "gcrdp", "encoder": "tiny", "aligned": True, "retrieve": "mix", "per_token": True}
    with pytest.raises(UsageError, match=r"export it as \.safetensors"):
        onnx_of(LinearHead(about, {}, {}), items(), "all")
