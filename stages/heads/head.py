"""What a head is: features in, vectors for retrieval out; no word here of methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from stages.items import MODALITIES, Array, Items, Modality, Rows, unit
from stages.section import Gallery, Match
from stages.tokens import Tokens, read_tokens

TOKEN_CELLS = 1 << 20  # values of padded tokens that stand at a time: some 30 MB with their copies


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


def to_sphere(values: Array, aligned: bool, align: Affine | None) -> Array:
    """Features (..., D) as unit vectors (..., d) of the space that retrieval is in: (ours) joint vectors count by
    their direction alone, a tower's own as they are, and `align`, where there is one, maps them then."""
    if align is not None:
        values = align(unit(values) if aligned else values)
    return unit(values)


def tokens_in_space(source: Tokens, rows: Rows, align: Affine | None) -> tuple[Array, NDArray[np.bool_]]:
    """The tokens of some items in the space that retrieval is in, at their own length: (B, N, d) float32 and mask
    (B, N) bool, False where there is no token. align: what maps them there, None where they are in it."""
    tokens, mask = read_tokens(source, rows)
    own = np.asarray(tokens, np.float32)
    return own if align is None else align(own), mask


def check_encoder(about: Mapping[str, Any], items: Items) -> None:
    """Refuse features that another encoder made than the one the head was trained on. Those that it was trained on it
    knows by their keys, which say what decides the numbers, whatever the file is called now that they came from."""
    expected, own = str(about["encoder"]), about.get("features", {})
    the_same = all(own.get(m) == items.keys[m] for m in MODALITIES)
    if expected != items.encoder and not the_same:
        raise UserError(f"head expects {expected}, the cache holds {items.encoder}; {_remedy(expected)}")


def _remedy(expected: str) -> str:
    """What to pass so that features are those of the encoder with this label."""
    name, _, stem = expected.partition("@")
    if name == "imported":
        return f"import the features called {stem} that it was trained on, or run 'train' on these"
    return f"pass --encoder {name}" + (f" with the --heads file called {stem}" if stem else "")


def part_of(tensors: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The tensors of a file whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
