"""Two modalities in one space, before training and after: similarities within each, and both in two dimensions. Pure.

Letters: N items, d width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from stages.heads.head import Affine, Head, Vectors
from stages.heads.linear import KIND, LinearHead
from stages.items import Array, Items, Modality, unit
from stages.retrieval import Float64


def start_of(items: Items, heads: Mapping[str, Head]) -> LinearHead | None:
    """The space in which training starts: that of the encoder where it is aligned, else CCA alone, as the first head
    with one has it; None where there is neither."""
    align: Mapping[Modality, Affine] = {}
    if not items.aligned:
        align = next((own for head in heads.values() if (own := getattr(head, "align", None))), {})
    if not items.aligned and not align:
        return None
    about = {"kind": KIND, "encoder": items.encoder, "aligned": items.aligned, "retrieve": "pooled"}
    return LinearHead(about, align, {})


def pooled_alone(head: LinearHead) -> LinearHead:
    """The same head, read by its pooled vectors alone: zbar of the paper."""
    return replace(head, about={**head.about, "retrieve": "pooled", "per_token": False})


def one_vector(vectors: Vectors) -> Array:
    """A unit vector an item, (N, d): its pooled one, for `max` the mean of its views, as where the gap is measured."""
    values = vectors.values
    return unit(values.mean(axis=1) if vectors.match == "max" else values[:, 0])


def similarities(values: Array) -> Float64:
    """S_ij = z_i . z_j of unit vectors (N, d), (N, N): the paper's D_v, and D_t of texts."""
    wide = np.asarray(values, np.float64)
    return np.asarray(wide @ wide.T)


def mean_apart(one: Float64, other: Float64) -> float:
    """The mean of |S_ij - S'_ij| over i != j, of two (N, N); 0 for one item."""
    count = len(one)
    apart = np.abs(one - other)[~np.eye(count, dtype=bool)]
    return float(apart.mean()) if len(apart) else 0.0


def gap(image: Array, text: Array) -> float:
    """The distance between the means of two sets of unit vectors (Liang et al. 2022), 0 to 2."""
    return float(np.linalg.norm(image.mean(axis=0, dtype=np.float64) - text.mean(axis=0, dtype=np.float64)))


def two_axes(parts: Sequence[Array]) -> tuple[list[Float64], tuple[float, float]]:
    """Several sets of vectors (N, d) on the two first principal axes of all of them together: (N, 2) each, and the
    share of the variance that each axis has.

    An axis points to where the first set's mean lies, so that pictures of two methods do not differ by a mirror."""
    whole = np.concatenate(parts).astype(np.float64)
    middle = whole.mean(axis=0)
    _, lengths, axes = np.linalg.svd(whole - middle, full_matrices=False)
    two = np.zeros((2, whole.shape[1]))
    two[: min(2, len(axes))] = axes[:2]
    lean = two @ (parts[0].mean(axis=0, dtype=np.float64) - middle)
    two *= np.where(lean < 0, -1.0, 1.0)[:, None]
    total = float(np.square(lengths).sum()) or 1.0
    shares = [float(np.square(own) / total) for own in (*lengths[:2], 0.0, 0.0)][:2]
    return [(np.asarray(part, np.float64) - middle) @ two.T for part in parts], (shares[0], shares[1])
