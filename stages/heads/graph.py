"""A head as an ONNX graph, for use where this project is not: pooled features in, the vectors of retrieval out.

Built node by node from the head's own arrays, so that the graph says what `vectors` computes and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cache.errors import UsageError
from stages.heads.classifier import ClassHead
from stages.heads.gated import Gate, GatedHead
from stages.heads.head import Affine, Head
from stages.heads.linear import MATCH_OF, LinearHead, Residual
from stages.heads.own import OwnHead
from stages.heads.posterior import Neighbours, PosteriorHead, Vote
from stages.items import MODALITIES, Array, Items, Modality
from stages.section import Gallery

OPSET = 17
TINY = 1e-30  # a length below it counts as this: a zero vector stays zero, as in items.unit


@dataclass
class _Graph:
    """Nodes and constants as they come; names are numbered."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """One node; the name of its output."""
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """An array that the graph holds; its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def input(self, name: str, *shape: str | int) -> str:
        """What the graph is given, float32."""
        if name not in [known.name for known in self.inputs]:
            self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        return name

    def output(self, value: str, name: str, *shape: str | int) -> None:
        """What the graph gives, float32."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def unit(self, value: str) -> str:
        """Vectors along the last axis at length 1."""
        length = self.add("ReduceL2", value, axes=[-1], keepdims=1)
        return self.add("Div", value, self.add("Max", length, self.constant(TINY)))

    def affine(self, value: str, part: Affine) -> str:
        """(x - mean) map."""
        return self.add("MatMul", self.add("Sub", value, self.constant(part.mean)), self.constant(part.map))

    def residual(self, value: str, part: Residual) -> str:
        """x + xW + b, or with a hidden layer."""
        inner = value
        if part.hidden_weight is not None and part.hidden_bias is not None:
            inner = self.add("Relu", self.linear(value, part.hidden_weight, part.hidden_bias))
        return self.add("Add", value, self.linear(inner, part.weight, part.bias))

    def linear(self, value: str, weight: Array, bias: Array) -> str:
        """xW + b."""
        return self.add("Add", self.add("MatMul", value, self.constant(weight)), self.constant(bias))

    def sphere(self, value: str, aligned: bool, part: Affine | None) -> str:
        """As head.to_sphere."""
        if part is not None:
            value = self.affine(self.unit(value) if aligned else value, part)
        return self.unit(value)


def onnx_of(head: Head, like: Items, gallery: Gallery) -> onnx.ModelProto:
    """The graph of a head on items of the widths of `like`.

    Inputs, float32: `<modality>` (N, D) pooled; with it `<modality>_raw` (N, D0) where the head judges in the towers'
    own spaces, `<modality>_views` (N, K, D) and `<modality>_weights` (N, K) where it compares views. Outputs:
    `<modality>_vectors` (N, d), or (N, V, d) where an item has several, as Head.vectors has them in that gallery. Who
    has one modality only gives no rows, (0, D), of the other. UsageError for a head that reads single tokens."""
    graph = _Graph()
    for modality in MODALITIES:
        if isinstance(head, LinearHead):
            _linear(graph, head, like, modality)
        elif isinstance(head, GatedHead):
            _gated(graph, head, like, modality)
        elif isinstance(head, ClassHead):
            _classifier(graph, head, like, modality)
        elif isinstance(head, PosteriorHead):
            _posterior(graph, head, like, modality, gallery)
        elif isinstance(head, OwnHead):
            raise UsageError(f"{head.own.file}: code of your own is no graph; give the head a name in .safetensors")
        else:
            raise TypeError(f"no graph of a {type(head).__name__} yet")
    made = helper.make_graph(graph.nodes, "head", graph.inputs, graph.outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="pipeline")
    model.ir_version = 8  # of that operator set: older runtimes refuse a newer one
    helper.set_model_props(model, _told(head, gallery))
    onnx.checker.check_model(model, full_check=True)
    return model


def _told(head: Head, gallery: Gallery) -> dict[str, str]:
    match = MATCH_OF[head.about["retrieve"]] if isinstance(head, LinearHead) else "dot"
    return {"about": json.dumps(head.about, sort_keys=True), "gallery": gallery, "match": match}


def _refuse_tokens(needed: bool) -> None:
    if needed:
        raise UsageError("this head reads single tokens, which no ONNX graph is made of; export it as .safetensors")


def _pooled(graph: _Graph, like: Items, modality: Modality) -> str:
    return graph.input(modality, f"{modality}s", like.pooled[modality].shape[1])


def _linear(graph: _Graph, head: LinearHead, like: Items, modality: Modality) -> None:
    _refuse_tokens(bool(head.about.get("per_token")))
    retrieve = head.about["retrieve"]
    if retrieve == "pooled":
        found = _mapped(graph, head, modality, _pooled(graph, like, modality))
        graph.output(found, f"{modality}_vectors", f"{modality}s", "d")
        return
    assert like.views is not None  # or the head could not be applied to these items
    count, width = like.views[modality].shape[1:]
    views = graph.input(f"{modality}_views", f"{modality}s", count, width)
    found = _mapped(graph, head, modality, views)
    if retrieve == "mean":
        _mean(graph, found, modality, count)
        return
    if retrieve == "mix":
        pooled = _mapped(graph, head, modality, _pooled(graph, like, modality))
        middle = graph.add("Unsqueeze", pooled, graph.constant([1], np.int64))
        found = graph.add("Concat", middle, found, axis=1)
    graph.output(found, f"{modality}_vectors", f"{modality}s", count + (retrieve == "mix"), "d")


def _mean(graph: _Graph, views: str, modality: Modality, count: int) -> None:
    """norm(sum_k pi_k z_k)."""
    weights = graph.input(f"{modality}_weights", f"{modality}s", count)
    rows = graph.add("Unsqueeze", weights, graph.constant([1], np.int64))
    summed = graph.add("Squeeze", graph.add("MatMul", rows, views), graph.constant([1], np.int64))
    graph.output(graph.unit(summed), f"{modality}_vectors", f"{modality}s", "d")


def _mapped(graph: _Graph, head: LinearHead, modality: Modality, value: str) -> str:
    found = graph.sphere(value, head.about["aligned"], head.align.get(modality))
    own = head.residual.get(modality)
    return found if own is None else graph.unit(graph.residual(found, own))


def _gated(graph: _Graph, head: GatedHead, like: Items, modality: Modality) -> None:
    values = graph.sphere(_pooled(graph, like, modality), head.about["aligned"], head.align.get(modality))
    found = graph.unit(_blended(graph, values, head.gates[modality]))
    graph.output(found, f"{modality}_vectors", f"{modality}s", "d")


def _classifier(graph: _Graph, head: ClassHead, like: Items, modality: Modality) -> None:
    found = graph.sphere(_pooled(graph, like, modality), head.about["aligned"], head.align.get(modality))
    if head.mapped is not None and modality == "image":
        found = graph.unit(graph.residual(found, head.mapped))
    graph.output(found, f"{modality}_vectors", f"{modality}s", "d")


def _blended(graph: _Graph, values: str, gate: Gate) -> str:
    """g P(f) + (1 - g) f, as f + g (P(f) - f)."""
    projected = graph.residual(values, gate.projector)
    both = graph.add("Concat", values, projected, axis=-1)
    share = graph.add("Sigmoid", graph.linear(both, gate.weight, gate.bias))
    return graph.add("Add", values, graph.add("Mul", share, graph.add("Sub", projected, values)))


def _posterior(graph: _Graph, head: PosteriorHead, like: Items, modality: Modality, gallery: Gallery) -> None:
    _refuse_tokens(any(vote.attention is not None for vote in head.votes))
    places = {0: _place(graph, head, head.votes[0], like, modality)}
    classes = head.about["classes"]
    judged = len(classes["target"]) + len(classes["source"]) * (gallery == "all")
    found = places[0]
    if classes["target"]:
        parts = []
        for number, vote in enumerate(head.votes):
            if vote.asked(modality):
                place = places.get(number) or _place(graph, head, vote, like, modality)
                parts.append(_logits(graph, vote.first(judged), place, modality))
        total = graph.add("Sum", *parts)
        likely = graph.add("Softmax", graph.add("Div", total, graph.constant(head.about["tau"])), axis=1)
        found = _together(graph, likely, found, float(head.about["cosine"]))
    graph.output(found, f"{modality}_vectors", f"{modality}s", "d")


def _together(graph: _Graph, likely: str, place: str, share: float) -> str:
    """[sqrt(1-w) P, sqrt(w) z]."""
    parts = [
        graph.add("Mul", value, graph.constant(np.sqrt(weight)))
        for value, weight in ((likely, 1 - share), (place, share))
    ]
    return graph.add("Concat", *parts, axis=1)


def _place(graph: _Graph, head: PosteriorHead, vote: Vote, like: Items, modality: Modality) -> str:
    value = _features(graph, head, vote, like, modality)
    return graph.unit(graph.affine(value, vote.whiten[modality]))


def _features(graph: _Graph, head: PosteriorHead, vote: Vote, like: Items, modality: Modality) -> str:
    if vote.space == "joint":
        return graph.sphere(_pooled(graph, like, modality), head.about["aligned"], head.align.get(modality))
    if not like.aligned or like.pooled_raw is None:
        return graph.unit(_pooled(graph, like, modality))
    raw = graph.input(f"{modality}_raw", f"{modality}s", like.pooled_raw[modality].shape[1])
    return graph.unit(raw)


def _logits(graph: _Graph, vote: Vote, place: str, modality: Modality) -> str:
    cosines = graph.add("MatMul", place, graph.constant(vote.prototypes[modality].T))
    found = graph.add("Mul", cosines, graph.constant(vote.weight[modality]))
    near = vote.neighbours.get(modality)
    return found if near is None else graph.add("Add", found, _nearest(graph, near, place))


def _nearest(graph: _Graph, near: Neighbours, place: str) -> str:
    """weight tau log mean_s exp(u s / tau) of each class; what is subtracted before exp is the largest of a row."""
    members = np.repeat(np.eye(len(near.counts), dtype=np.float32), near.counts, axis=0)
    held = near.counts > 0
    scaled = graph.add("Div", graph.add("MatMul", place, graph.constant(near.keys.T)), graph.constant(near.tau))
    top = graph.add("ReduceMax", scaled, axes=[1], keepdims=1)
    summed = graph.add("MatMul", graph.add("Exp", graph.add("Sub", scaled, top)), graph.constant(members))
    mean = graph.add("Div", summed, graph.constant(np.maximum(near.counts, 1)))
    mean = graph.add("Add", mean, graph.constant(~held))  # log 1 = 0 where a class has no key
    logs = graph.add("Add", graph.add("Log", graph.add("Max", mean, graph.constant(TINY))), top)
    return graph.add("Mul", logs, graph.constant(near.weight * near.tau * held))
