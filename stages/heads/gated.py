"""The head of the methods that blend a projection into the features by a gate (FLEX-CLIP; DESIGN section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit

from stages.heads.head import Affine, Step, Vectors, check_encoder, part_of, to_sphere
from stages.heads.linear import Residual
from stages.items import MODALITIES, Array, Items, Modality, unit
from stages.section import Gallery

KIND = "gated"


@dataclass(frozen=True)
class Gate:
    """f -> g P(f) + (1 - g) f, g = sigmoid([f; P(f)] W + b) for each of d dimensions.

    projector P, (ours) a residual of f, so that a head whose projector adds nothing is CLIP, as one with g = 0 is;
    weight W (2d, d) and bias b (d,) float32."""

    projector: Residual
    weight: Array
    bias: Array

    def __call__(self, values: Array) -> Array:
        """Blend vectors (..., d) into (..., d) float32."""
        projected = self.projector(values)
        share = expit(np.concatenate([values, projected], axis=-1) @ self.weight + self.bias)
        return np.asarray(share * projected + (1 - share) * values, dtype=np.float32)


@dataclass(frozen=True)
class GatedHead:
    """norm(gate(x)) of unit vectors x (see to_sphere), one gate a modality; align[m] where two towers share no space.

    `about` holds at least method, encoder and aligned."""

    about: dict[str, Any]
    align: Mapping[Modality, Affine]
    gates: Mapping[Modality, Gate]
    history: tuple[Step, ...] = field(default=(), compare=False)

    def vectors(self, items: Items, modality: Modality, gallery: Gallery) -> Vectors:  # noqa: ARG002
        """(N, 1, d) of unit length, the same for every gallery."""
        check_encoder(self.about, items)
        values = to_sphere(items.pooled[modality], self.about["aligned"], self.align.get(modality))
        return Vectors(unit(self.gates[modality](values))[:, None], "dot")

    def tensors(self) -> dict[str, Array]:
        """`<modality>.mean` and `.map` as far as they are there, `.projector.` with each of its tensors, `.gate.weight`
        and `.gate.bias`."""
        out = {f"{m}.{name}": values for m, part in self.align.items() for name, values in vars(part).items()}
        for m, gate in self.gates.items():
            out |= {f"{m}.projector.{name}": values for name, values in gate.projector.tensors().items()}
            out |= {f"{m}.gate.weight": gate.weight, f"{m}.gate.bias": gate.bias}
        return out


def read(tensors: Mapping[str, Array], about: dict[str, Any]) -> GatedHead:
    """The head that a file's tensors and `about` are of."""
    parts = {m: part_of(tensors, f"{m}.") for m in MODALITIES}
    align = {m: Affine(part["mean"], part["map"]) for m, part in parts.items() if "map" in part}
    return GatedHead(about, align, {m: _gate(part) for m, part in parts.items()})


def _gate(part: Mapping[str, Array]) -> Gate:
    return Gate(Residual(**part_of(part, "projector.")), part["gate.weight"], part["gate.bias"])
