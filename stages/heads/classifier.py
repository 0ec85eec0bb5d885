"""The head of the methods that classify: pictures in, a logit for each class out.

One form serves all of them: a linear classifier, beside it what the nearest supports say (a cache of keys), before it a
map of the features, each where a method has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.heads.head import Affine, Step, Vectors, check_encoder, part_of, to_sphere
from stages.heads.linear import Residual
from stages.items import MODALITIES, Array, Items, Modality, unit
from stages.section import Gallery

KIND = "classifier"


@dataclass(frozen=True)
class Keys:
    """What S supports say: alpha exp(-beta (1 - f K^T)) L (Tip-Adapter), K `keys` (S, d) and L `owners` (S, C), 1 where
    a support is of a class, float32."""

    keys: Array
    owners: Array
    alpha: float
    beta: float

    def logits(self, values: Array) -> Array:
        """Their share of the logits (N, C) float32 of unit vectors (N, d)."""
        near = np.exp(np.float32(self.beta) * (values @ self.keys.T - 1))
        return np.asarray(np.float32(self.alpha) * near @ self.owners, np.float32)


@dataclass(frozen=True)
class ClassHead:
    """Logits of unit vectors f (see to_sphere): (scale f + share h(f)) W^T + b, and those of the keys.

    weight W (C, d) and bias b (C,) float32; mapped: h of a picture is the norm of this residual map, None where there
    is none; keys: None where supports say nothing. `about` holds at least method, encoder, aligned, scale, share and
    classes, whose `target` are the names of the C classes (`source` is empty, all are judged)."""

    about: dict[str, Any]
    align: Mapping[Modality, Affine]
    weight: Array
    bias: Array
    mapped: Residual | None = None
    keys: Keys | None = None
    history: tuple[Step, ...] = field(default=(), compare=False)

    def logits(self, items: Items, modality: Modality) -> Array:
        """The logit of each class, (N, C) float32; it is not a probability, and adds up to nothing."""
        plain = self._plain(items, modality)
        mixed = np.float32(self.about["scale"]) * plain
        if self.mapped is not None:
            mixed = mixed + np.float32(self.about["share"]) * self._map(plain, modality)
        found = mixed @ self.weight.T + self.bias
        return np.asarray(found if self.keys is None else found + self.keys.logits(plain), np.float32)

    def vectors(self, items: Items, modality: Modality, gallery: Gallery) -> Vectors:  # noqa: ARG002
        """(N, 1, d) of unit length, the same for every gallery; pictures are mapped where there is a map."""
        return Vectors(self._map(self._plain(items, modality), modality)[:, None], "dot")

    def tensors(self) -> dict[str, Array]:
        """`<modality>.mean` and `.map`, `weight`, `bias`, `mapped.` with each of its tensors, `keys` and `owners`, as
        far as they are there."""
        out = {f"{m}.{name}": values for m, part in self.align.items() for name, values in vars(part).items()}
        out |= {"weight": self.weight, "bias": self.bias}
        if self.mapped is not None:
            out |= {f"mapped.{name}": values for name, values in self.mapped.tensors().items()}
        return out if self.keys is None else {**out, "keys": self.keys.keys, "owners": self.keys.owners}

    def _plain(self, items: Items, modality: Modality) -> Array:
        check_encoder(self.about, items)
        return to_sphere(items.pooled[modality], self.about["aligned"], self.align.get(modality))

    def _map(self, plain: Array, modality: Modality) -> Array:
        return plain if self.mapped is None or modality != "image" else unit(self.mapped(plain))


def read(tensors: Mapping[str, Array], about: dict[str, Any]) -> ClassHead:
    """The head that a file's tensors and `about` are of."""
    parts = {m: part_of(tensors, f"{m}.") for m in MODALITIES}
    mapped, told = part_of(tensors, "mapped."), about.get("keys")
    return ClassHead(
        about=about,
        align={m: Affine(**part) for m, part in parts.items() if part},
        weight=tensors["weight"],
        bias=tensors["bias"],
        mapped=Residual(**mapped) if mapped else None,
        keys=None if told is None else Keys(tensors["keys"], tensors["owners"], told["alpha"], told["beta"]),
    )
