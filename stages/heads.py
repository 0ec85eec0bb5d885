"""Applying a trained head: features in, vectors for retrieval out; no word here of methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from cache.errors import DamagedError, MissingError, UserError
from cache.heads import read_head, write_head
from stages.items import MODALITIES, Array, Items, Modality, unit
from stages.section import Gallery, Match, Retrieve

MATCH_OF: dict[Retrieve, Match] = {"mix": "mix", "pooled": "dot", "max": "max", "mean": "dot"}


@dataclass(frozen=True)
class Vectors:
    """What N items look like to a retriever: values (N, V, d) float32 and how two items are matched.

    `dot`: V = 1, the dot product; `max`: the largest dot product of any two vectors; `mix`: half the dot
    product of the first vectors and half the largest of any two of the others."""

    values: Array
    match: Match


class Step(NamedTuple):
    """One figure of a training curve."""

    step: int
    name: str
    value: float


class Head(Protocol):
    """What a method's `fit` returns: `about` says what it is and was made from.

    `history` is how it was trained, and empty once read back."""

    @property
    def about(self) -> dict[str, Any]:
        """JSON; written into the head's file."""

    @property
    def history(self) -> tuple[Step, ...]:
        """Every figure of every step of its training."""

    def vectors(self, items: Items, modality: Modality, gallery: Gallery) -> Vectors:
        """The vectors of all items in one modality, for a gallery; UserError where they do not fit."""

    def tensors(self) -> dict[str, Array]:
        """What a file must hold so that the head can be read back."""


@dataclass(frozen=True)
class Affine:
    """x -> (x - mean) map: mean (D,) float32, map (D, d) float32. What brings two towers into one space."""

    mean: Array
    map: Array

    def __call__(self, values: Array) -> Array:
        """Map vectors (..., D) to (..., d) float32."""
        return np.asarray((values - self.mean) @ self.map, dtype=np.float32)


@dataclass(frozen=True)
class Residual:
    """x -> x + xW + b: weight (d, d) float32, bias (d,) float32."""

    weight: Array
    bias: Array

    def __call__(self, values: Array) -> Array:
        """Map vectors (..., d) to (..., d) float32."""
        return np.asarray(values + values @ self.weight + self.bias, dtype=np.float32)


def to_sphere(values: Array, aligned: bool, align: Affine | None) -> Array:
    """Features (..., D) as unit vectors (..., d) of the space that retrieval is in: (ours) joint vectors count by
    their direction alone, a tower's own as they are, and `align`, where there is one, maps them then."""
    if align is not None:
        values = align(unit(values) if aligned else values)
    return unit(values)


@dataclass(frozen=True)
class LinearHead:
    """norm(h(x)) of unit vectors x (see to_sphere), h(x) = x + xW + b or nothing, read as `retrieve` says.

    align[m] and residual[m] as far as a modality has them. `about` holds at least method, encoder, aligned and
    retrieve; all readings but `pooled` need items with views."""

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
        views = self.apply(live_views(items, modality), modality)
        if retrieve == "max":
            return Vectors(views, match)
        if retrieve == "mean":
            return Vectors(weighted_mean(views, items, modality), match)
        return Vectors(np.concatenate([self._pooled(items, modality), views], axis=1), match)

    def tensors(self) -> dict[str, Array]:
        """`<modality>.mean` and `.map`, `<modality>.weight` and `.bias`, as far as they are there."""
        parts = [(m, vars(part)) for group in (self.align, self.residual) for m, part in group.items()]
        return {f"{m}.{name}": values for m, part in parts for name, values in part.items()}

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


def check_encoder(about: Mapping[str, Any], items: Items) -> None:
    """Refuse features that another encoder made than the one the head was trained on."""
    expected = str(about["encoder"])
    if expected != items.encoder:
        name, _, heads = expected.partition("@")
        remedy = f"pass --encoder {name}" + (f" with the --heads file called {heads}" if heads else "")
        raise UserError(f"head expects {expected}, the cache holds {items.encoder}; {remedy}")


def save_head(path: Path, head: Head) -> None:
    """Write a head as one safetensors file with `about` in its header; equal heads give equal bytes."""
    write_head(path, head.tensors(), head.about)


def load_head(path: Path) -> Head:
    """Read a head back; DamagedError where the file is none of ours."""
    tensors, about = read_head(path)
    if about.get("kind") != "linear":
        raise DamagedError(f"{path}: holds a head of unknown kind; delete its folder and run 'train' again")
    parts = {m: _part(tensors, f"{m}.") for m in MODALITIES}
    return LinearHead(
        about=dict(about),
        align={m: Affine(part["mean"], part["map"]) for m, part in parts.items() if "map" in part},
        residual={m: Residual(part["weight"], part["bias"]) for m, part in parts.items() if "weight" in part},
    )


def _part(tensors: Mapping[str, Any], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
