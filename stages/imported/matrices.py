"""The vectors of one kind among what a source holds: which array they are in, and that it is one of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cache.errors import ParamsError, UserError
from stages.imported.arrays import MOST, RAW, TOKENS, Ragged, Source, evened, joined, ragged
from stages.imported.captions import Counts, one_behind_the_other, told_counts
from stages.imported.cells import flag
from stages.imported.places import is_mat
from stages.imported.vectors import Vectors


def image_vectors(source: Source, names: Sequence[str], texts: Sequence[str]) -> Vectors:
    """Those of the pictures, in arrays of these names, one behind the other. ParamsError where nothing is called so: it
    names what may be meant, but for the texts' arrays; UserError where it is no array of vectors."""
    _require_held(source, "image", names, texts)
    tokens = _beside(source, names, TOKENS, (3,))
    tokens = evened(tokens) if isinstance(tokens, Ragged) else tokens
    return Vectors(source.where, "image", matrix(source, names), _beside(source, names, RAW, (2,)), tokens)


def text_vectors(source: Source, names: Sequence[str], images: Sequence[str]) -> tuple[Vectors, Counts, Counts | None]:
    """The same of the texts, one behind the other, and how many each pair has: an array of three axes, or a ragged one,
    holds several texts a pair. Last, how many the raw vectors say it has, None where they do not."""
    _require_held(source, "text", names, images)
    values, counts = one_behind_the_other(matrix(source, names, (2, 3)))
    raw = _beside(source, names, RAW, (2, 3))
    flat = None if raw is None else one_behind_the_other(raw)[0]
    vectors = Vectors(source.where, "text", values, flat, _beside(source, names, TOKENS, (3,)))
    return vectors, counts, None if raw is None else told_counts(raw)


def name_vectors(source: Source, name: str) -> Vectors:
    """The same of class names."""
    return Vectors(source.where, "name", matrix(source, [name]), _beside(source, [name], RAW, (2,)), None)


def _require_held(source: Source, what: str, names: Sequence[str], others: Sequence[str]) -> None:
    mat = is_mat(source.where)
    key = f"mat.{what}" if mat else what
    lost = next((name for name in names if name not in source.held), None)
    if names and lost is None:
        return
    wrong = f"nothing is called '{lost}'" if names else f"ingest.features.{key} is empty"
    maybe = [name for name in sorted(source.held) if name not in others and _fits(source, name)][:MOST]
    if not maybe:
        raise ParamsError(f"{source.where}: {wrong}, and nothing in it has a vector a row; it holds {source.told()}")
    say = f"say which are the {what} vectors, as in {flag(key, f'[{maybe[0]}]' if mat else maybe[0])}"
    raise ParamsError(f"{source.where}: {wrong}; it has vectors in {', '.join(maybe)}: {say}")


def _fits(source: Source, name: str) -> bool:
    try:
        matrix(source, [name])
    except UserError:
        return False
    return True


def _beside(source: Source, names: Sequence[str], suffix: str, axes: Sequence[int]) -> Any | None:
    """The arrays that belong to others, where every one of them is there."""
    own = [name + suffix for name in names]
    return matrix(source, own, axes) if all(name in source.held for name in own) else None


def matrix(source: Source, names: Sequence[str], axes: Sequence[int] = (2,)) -> Any:
    """Numbers of so many axes, or Ragged, which has three. UserError for anything else."""
    parts = [source.read(name) for name in names]
    for name, part in zip(names, parts, strict=True):
        _require_numbers(source.where, name, part, axes)
    if any(isinstance(part, Ragged) for part in parts):
        return parts[0] if len(parts) == 1 else ragged([row for part in parts for row in _each(part)])
    widths = sorted({part.shape[1:] for part in parts})
    if len(widths) > 1:
        found = f"rows of shapes {', '.join(map(str, widths))}"
        raise UserError(f"{source.where}: {', '.join(names)} have {found}; they make one array, of one width")
    return joined(parts)


def _require_numbers(where: str, name: str, part: Any, axes: Sequence[int]) -> None:
    values = part.values if isinstance(part, Ragged) else part
    shape = getattr(values, "shape", ())
    found = len(shape) + isinstance(part, Ragged)
    if isinstance(part, list) or values.dtype.kind not in "fiu" or found not in axes or 0 in shape[1:]:
        held = f"shape {shape}, {values.dtype}" if hasattr(values, "dtype") else "words"
        raise UserError(f"{where}: '{name}' is no array of numbers of {axes[0]} axes ({held}); a row a pair")


def _each(part: Any) -> list[Any]:
    if not isinstance(part, Ragged):
        return list(part)
    return [np.asarray(part.values[lo:hi]) for lo, hi in zip(part.offsets[:-1], part.offsets[1:], strict=True)]
