"""Planted sequences (ours): pairs whose classes differ in what a mean cannot see, as features that others computed.

A sequence is a row of frames, each a part and noise; both modalities of a pair show the same parts in one space. Three
kinds. `parts`: a class is two parts that cancel, so that the mean of all frames is the same for every class. `order`:
every class has the same four parts for the same time, one behind the other in an order of its own. `duration`: two
parts take turns, three visits each, for the same time in sum; a class is how long each visit is.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cache.files import digest_of, write_through
from stages.items import MODALITIES
from stages.section import Section

Array = NDArray[np.float32]
VISITS = (1, 2, 3)  # how long a part stays at its three visits, in units of `frames`
PATTERNS = list(itertools.product(itertools.permutations(VISITS), repeat=2))  # of both parts, for `duration`
ORDERS = list(itertools.permutations(range(4)))  # for `order`
VERSION = 1  # raised by hand when the same section plants other numbers
DRIFT = 2  # frames, by which a sequence is longer or shorter than its class says


class PlantSection(Section):
    """How sequences are planted. classes, and `items` pairs of each; frames: how many a part has, of `order` and
    `parts`, and in a unit of `duration`; width: of a frame; noise: its length beside that of a part, which is 1; place:
    the length of two coordinates that say when a frame is, 0 for none; shuffled: frames lie in an order of chance."""

    kind: Literal["parts", "order", "duration"]
    classes: int = Field(ge=4)
    items: int = Field(ge=4)
    frames: int = Field(ge=3)
    width: int = Field(ge=2)
    noise: float = Field(ge=0)
    place: float = Field(ge=0)
    shuffled: bool

    @model_validator(mode="after")
    def _parts_are_apart(self) -> PlantSection:
        most = {"duration": len(PATTERNS), "order": len(ORDERS)}.get(self.kind, self.classes)
        if self.classes > most:
            raise ValueError(f"classes {self.classes}: {self.kind} knows {most}; pass as many or fewer")
        if self.classes > self.width:
            raise ValueError(f"classes {self.classes}: a width of {self.width} has no room for so many parts")
        return self


def planted_file(folder: Path, section: PlantSection) -> Path:
    """The file that such sequences lie in, written where it is not there yet; its name tells what is in it."""
    path = folder / f"{section.kind}-{digest_of([VERSION, section.model_dump()])[:8]}.npz"
    if not path.is_file():
        arrays = planted(section)
        write_through(path, lambda part: _save(part, arrays))
    return path


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:  # numpy adds an ending to a name that has none of its own
        np.savez(file, **arrays)


def planted(section: PlantSection) -> dict[str, Any]:
    """Arrays as `import-features` reads them: image and text (N, D) float32, the means of their frames; the frames of
    all rows one behind the other, (sum T, D), with offsets (N + 1,); id and label (N,)."""
    rng = np.random.default_rng(0)
    parts = np.linalg.qr(rng.standard_normal((section.width, section.classes)))[0].T
    labels = [c for c in range(section.classes) for _ in range(section.items)]
    found: dict[str, Any] = {"id": [f"{c:02d}-{i:04d}" for i, c in enumerate(labels)]}
    found["label"] = [f"class {c:02d}" for c in labels]
    for modality in MODALITIES:
        rows = [_frames(section, parts, c, rng) for c in labels]
        found[modality] = np.stack([own.mean(axis=0) for own in rows])
        found[f"{modality}_tokens"] = np.concatenate(rows)
        found[f"{modality}_tokens_offsets"] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return found


def _frames(section: PlantSection, parts: NDArray[np.float64], label: int, rng: np.random.Generator) -> Array:
    """The frames of one sequence, (T, D) float32."""
    kinds, signs = script(section, label)
    lengths = np.repeat(1, len(kinds))
    lengths[rng.integers(len(kinds), size=rng.integers(DRIFT + 1))] += 1
    shown = np.repeat(parts[kinds] * signs[:, None], lengths, axis=0)
    shown = shown + section.noise * rng.standard_normal(shown.shape) / np.sqrt(section.width)
    when = np.pi * np.arange(len(shown)) / (len(shown) - 1)
    stamp = section.place * np.column_stack([np.cos(when), np.sin(when)])
    frames = np.hstack([shown, stamp] if section.place else [shown])
    if section.shuffled:  # by random numbers of its own, so that the frames are those of the sequence in its order
        frames = np.random.default_rng([len(shown), label]).permutation(frames)
    return np.asarray(frames, np.float32)


def script(section: PlantSection, label: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What a class shows, frame by frame: which part (T,), and its sign (T,)."""
    if section.kind == "parts":
        kinds = np.full(2 * section.frames, label)
        return kinds, np.repeat([1.0, -1.0], section.frames)
    if section.kind == "order":
        kinds = np.repeat(ORDERS[label * (len(ORDERS) // section.classes)], section.frames)
    else:
        pattern = PATTERNS[label * (len(PATTERNS) // section.classes)]
        visits = itertools.chain.from_iterable(zip(*pattern, strict=True))
        kinds = np.repeat(np.tile([0, 1], len(VISITS)), section.frames * np.array(list(visits)))
    return kinds, np.ones(len(kinds))
