"""The head of the methods that map pooled vectors and views: CCA or nothing, then a residual map or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cache.errors import MissingError
from stages.heads.head import Affine, Step, Vectors, check_encoder, part_of, to_sphere
from stages.heads.per_token import token_views
from stages.items import MODALITIES, Array, Items, Modality, unit
from stages.section import Gallery, Match, Retrieve

KIND = "linear"
MATCH_OF: dict[Retrieve, Match] = {"mix": "mix", "pooled": "dot", "max": "max", "mean": "dot"}


@dataclass(frozen=True)
class Residual:
    """x -> x + xW + b, or with a hidden layer x -> x + relu(x W1 + b1) W + b; all float32.

    weight W (d, d), or (H, d) behind a hidden layer; bias b (d,); hidden_weight W1 (d, H), hidden_bias b1 (H,)."""

    weight: Array
    bias: Array
    hidden_weight: Array | None = None
    hidden_bias: Array | None = None

    def __call__(self, values: Array) -> Array:
        """Map vectors (..., d) to (..., d) float32."""
        inner = values
        if self.hidden_weight is not None and self.hidden_bias is not None:
            inner = np.maximum(values @ self.hidden_weight + self.hidden_bias, 0)
        return np.asarray(values + inner @ self.weight + self.bias, dtype=np.float32)

    def tensors(self) -> dict[str, Array]:
        """The tensors by name, as many as there are."""
        return {name: values for name, values in vars(self).items() if values is not None}


@dataclass(frozen=True)
class LinearHead:
    """norm(h(x)) of unit vectors x (see to_sphere), h a Residual or nothing, read as `retrieve` says.

    align[m] and residual[m] as far as a modality has them. `about` holds at least method, encoder, aligned and
    retrieve; all readings but `pooled` need items with views, and where `per_token` is true, with tokens: h then maps
    each of them before they are gathered into views."""

    about: dict[str, Any]
    align: Mapping[Modality, Affine]
    residual: Mapping[Modality, Residual]
    history: tuple[Step, ...] = field(default=(), compare=False)

    def apply(self, values: Array, modality: Modality) -> Array:
        """Unit vectors (..., d) float32 of one modality's features (..., D)."""
        values = to_sphere(values, self.about["aligned"], self.align.get(modality))
        return unit(self.residual[modality](values)) if modality in self.residual else values

    def vectors(self, items: Items, modality: Modality, gallery: Gallery) -> Vectors:  # noqa: ARG002
        """(N, V, d): V = 1 for `pooled` and `mean`, K for `max`, 1 + K for `mix`; all of unit length."""
        check_encoder(self.about, items)
        retrieve: Retrieve = self.about["retrieve"]
        match = MATCH_OF[retrieve]
        if retrieve == "pooled":
            return Vectors(self._pooled(items, modality), match)
        views = self._views(items, modality)
        if retrieve == "max":
            return Vectors(views, match)
        if retrieve == "mean":
            return Vectors(weighted_mean(views, items, modality), match)
        return Vectors(np.concatenate([self._pooled(items, modality), views], axis=1), match)

    def tensors(self) -> dict[str, Array]:
        """`<modality>.mean` and `.map`, `.weight` and `.bias`, `.hidden_weight` and `.hidden_bias`, as far as they are
        there."""
        parts = [(m, vars(part)) for m, part in self.align.items()]
        parts += [(m, part.tensors()) for m, part in self.residual.items()]
        return {f"{m}.{name}": values for m, part in parts for name, values in part.items()}

    def _views(self, items: Items, modality: Modality) -> Array:
        """The views of N items after the head, (N, K, d)."""
        if self.about.get("per_token"):
            return token_views(items, modality, self.align.get(modality), self.residual[modality])
        return self.apply(live_views(items, modality), modality)

    def _pooled(self, items: Items, modality: Modality) -> Array:
        return self.apply(items.pooled[modality], modality)[:, None]


def live_views(items: Items, modality: Modality) -> Array:
    """The component views (N, K, D) of one modality; a dead component repeats a live one and adds nothing."""
    if items.views is None:
        raise MissingError("this head compares component views and none were read; run 'mixture' first")
    return items.views[modality]


def weighted_mean(views: Array, items: Items, modality: Modality) -> Array:
    """norm(sum_k pi_k z_k) of mapped views (N, K, d), as (N, 1, d); a dead component has weight 0."""
    if items.weights is None:
        raise MissingError("this head averages component views and none were read; run 'mixture' first")
    return unit(np.einsum("nk,nkd->nd", items.weights[modality], views))[:, None]


def read(tensors: Mapping[str, Array], about: dict[str, Any]) -> LinearHead:
    """The head that a file's tensors and `about` are of."""
    parts = {m: part_of(tensors, f"{m}.") for m in MODALITIES}
    return LinearHead(
        about=about,
        align={m: Affine(part["mean"], part["map"]) for m, part in parts.items() if "map" in part},
        residual={m: _residual(part) for m, part in parts.items() if "weight" in part},
    )


def _residual(part: Mapping[str, Array]) -> Residual:
    return Residual(part["weight"], part["bias"], part.get("hidden_weight"), part.get("hidden_bias"))
