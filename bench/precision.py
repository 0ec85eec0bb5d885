"""What a precision, or a narrower storage, changes: the same pictures and names against fp32 and float32."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache.errors import UsageError
from cache.manifest import Manifest
from pipeline.params import read_values
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoded, load_encoder
from stages.extract.params import Precision
from stages.ingest.datasets.openmoji import load
from stages.ingest.params import IngestParams, IngestSection

ROOT = Path(__file__).resolve().parent.parent
ENCODER, A_CLASS, NEAR, BATCH = "lite0-minilm", 6, 10, 8
PICTURES: dict[Precision, int] = {"fp32": 96, "bf16": 96, "fp16": 24}  # a CPU takes seconds a picture in fp16
Side = Literal["images", "texts"]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Change:
    """How far vectors moved: cosines with what they were, the largest step relative to a vector's length, and the
    shares of nearest, and of the ten nearest, neighbours that stayed."""

    least: float
    mean: float
    step: float
    nearest: float
    ten: float


def facts() -> list[dict[str, Any]]:
    """A dict a change and side: what, side, items, pooled and tokens (a Change, or None where nothing changes); or
    what and `fault`."""
    with tempfile.TemporaryDirectory() as home:
        pairs = _openmoji(Path(home))
        exact = _encoded(Path(home), pairs, "fp32")
        told = [_stored(exact[side], side) for side in exact]
        for precision in ("bf16", "fp16"):
            try:
                inexact = _encoded(Path(home), pairs, precision)
            except UsageError as error:
                told.append({"what": f"precision {precision}", "fault": str(error)})
            else:
                told += [
                    _computed(precision, _first(exact[side], inexact[side]), inexact[side], side) for side in exact
                ]
    return told


def _openmoji(home: Path) -> Manifest:
    """A few drawings of each class of the embedded dataset, with their names."""
    values = {**read_values(ROOT / "params.yaml")["ingest"], "root": "raw", "max_per_class": A_CLASS}
    section = IngestSection.model_validate(values)
    nowhere = home / "manifest.parquet"
    return load(IngestParams(dataset="openmoji", section=section, home=home, manifest=nowhere, made_from=""))


def _encoded(home: Path, pairs: Manifest, precision: Precision) -> dict[Side, Encoded]:
    encoder = load_encoder(EncoderChoice(ENCODER, None, None, "cpu", precision, home, False))
    order = np.random.default_rng(0).permutation(len(pairs.ids))  # the first few are of all classes
    pictures = [Image.open(home / pairs.root / pairs.images[i]) for i in order[: PICTURES[precision]]]
    images = [encoder.encode_images(pictures[i : i + BATCH], "raw") for i in range(0, len(pictures), BATCH)]
    return {"images": _joined(images), "texts": encoder.encode_texts([pairs.texts[i][0] for i in order], "raw")}


def _joined(parts: list[Encoded]) -> Encoded:
    tokens = np.concatenate([part.tokens for part in parts if part.tokens is not None])
    counts = np.concatenate([part.n_tokens for part in parts])
    return Encoded(tokens, counts, np.concatenate([part.pooled for part in parts]), None)


def _first(exact: Encoded, few: Encoded) -> Encoded:
    """The same items as a few of the first."""
    assert exact.tokens is not None
    assert few.tokens is not None
    n = len(few.pooled)
    return Encoded(exact.tokens[: len(few.tokens)], exact.n_tokens[:n], exact.pooled[:n], None)


def _computed(precision: str, exact: Encoded, inexact: Encoded, side: Side) -> dict[str, Any]:
    pooled = change(exact.pooled, inexact.pooled, exact.pooled, inexact.pooled)
    return _told(f"precision {precision}", side, asdict(pooled), exact, inexact)


def _stored(exact: Encoded, side: Side) -> dict[str, Any]:
    assert exact.tokens is not None
    narrow = Encoded(exact.tokens.astype(np.float16).astype(np.float32), exact.n_tokens, exact.pooled, None)
    return _told("storage float16", side, None, exact, narrow)


def _told(what: str, side: Side, pooled: dict[str, float] | None, exact: Encoded, after: Encoded) -> dict[str, Any]:
    tokens = _tokens(exact, after)
    return {"what": what, "side": side, "items": len(exact.pooled), "pooled": pooled, "tokens": tokens}


def _tokens(exact: Encoded, inexact: Encoded) -> dict[str, float]:
    """Tokens one by one; neighbours by the mean of an item's tokens."""
    assert exact.tokens is not None
    assert inexact.tokens is not None
    width = exact.tokens.shape[-1]
    before, after = exact.tokens.reshape(-1, width), inexact.tokens.reshape(-1, width)
    return asdict(change(before, after, means(before, exact.n_tokens), means(after, inexact.n_tokens)))


def means(tokens: Vectors, counts: NDArray[np.int32]) -> Vectors:
    """The mean (n, D) of each item's tokens (sum T, D)."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.asarray(np.add.reduceat(tokens, starts, axis=0) / counts[:, None], np.float32)


def change(before: Vectors, after: Vectors, items: Vectors, items_after: Vectors) -> Change:
    """How far vectors (m, D) moved, and what that did to the neighbours among items (n, D)."""
    before, after = before.astype(np.float64), after.astype(np.float64)
    lengths = np.linalg.norm(before, axis=1)
    cosines = (before * after).sum(1) / (lengths * np.linalg.norm(after, axis=1))
    steps = np.linalg.norm(after - before, axis=1) / lengths
    old, new = neighbours(items), neighbours(items_after)
    kept = [len(set(a) & set(b)) / NEAR for a, b in zip(old.tolist(), new.tolist(), strict=True)]
    nearest = float((old[:, 0] == new[:, 0]).mean())
    return Change(float(cosines.min()), float(cosines.mean()), float(steps.max()), nearest, float(np.mean(kept)))


def neighbours(items: Vectors) -> NDArray[np.int64]:
    """The ten nearest others (n, 10) of each item by cosine, nearest first."""
    unit = items / np.linalg.norm(items, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :NEAR]
