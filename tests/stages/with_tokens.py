"""The pairs of the small world with tokens in a store: five a picture, two to six a text, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cache.store import read_ledger
from stages.items import MODALITIES, Items, caption_rows, image_rows, open_features
from stages.tokens import Responsibilities, open_tokens
from tests.stages.small_features import place
from tests.stages.train import build

K = build.K
Ragged = list[np.ndarray[Any, np.dtype[Any]]]


def values() -> dict[str, Ragged]:
    """Tokens of every item by modality, each (T, WIDTH) float16."""
    lengths = [2 + row % 5 for row in range(len(build.IDS))]
    texts = np.random.default_rng(2).standard_normal((len(build.IDS), 6, build.WIDTH)).astype(np.float16)
    middle = build.tokens(1)[:, :1]
    told = (0.5 * texts + middle).astype(np.float16)
    return {"image": list(build.tokens(0)), "text": [own[:t] for own, t in zip(told, lengths, strict=True)]}


def owners(tokens: dict[str, Ragged]) -> dict[str, Ragged]:
    """Responsibilities (T, K) float16 of these tokens; the last component of every fourth item is dead."""
    found: dict[str, Ragged] = {}
    for modality, own in tokens.items():
        rng = np.random.default_rng(5)
        drawn = [rng.dirichlet(np.ones(K), len(x)).astype(np.float16) for x in own]
        for gamma in drawn[::4]:
            gamma[:, 0] += gamma[:, -1]
            gamma[:, -1] = 0
        found[modality] = drawn
    return found


def items(folder: Path, tokens: dict[str, Ragged], whose: dict[str, Ragged], aligned: bool = True) -> Items:
    """These tokens in a store at `folder`, as items whose pooled vectors are their means and whose views theirs by
    `whose`, by loops."""
    texts: Sequence[Sequence[Any]] = [[own] for own in tokens["text"]]
    here = place(folder, build.IDS, np.stack(tokens["image"]), texts, [list(own) for own in build.LABELS])
    image, text = (open_features(here.store, read_ledger(here.features), rows) for rows in MODALITIES)
    rows = {"image": image_rows(image, build.IDS), "text": caption_rows(text, build.IDS, "first")}
    caches = {"image": image, "text": text}
    return replace(
        build.items(aligned),
        pooled={m: np.stack([x.astype(np.float32).mean(0) for x in tokens[m]]) for m in MODALITIES},
        views={m: _views(tokens[m], whose[m]) for m in MODALITIES},
        weights={m: np.stack([g.astype(np.float32).mean(0) for g in whose[m]]) for m in MODALITIES},
        live={m: np.stack([g.sum(0) > 0 for g in whose[m]]) for m in MODALITIES},
        tokens={m: open_tokens(m, caches[m], rows[m]) for m in MODALITIES},
        responsibilities={m: _ragged(whose[m]) for m in MODALITIES},
    )


def _views(tokens: Ragged, whose: Ragged) -> Any:
    found = []
    for x, gamma in zip(tokens, whose, strict=True):
        heaviest = int(gamma.sum(0, dtype=np.float64).argmax())
        columns = [k if gamma[:, k].any() else heaviest for k in range(K)]
        found.append([np.average(x.astype(np.float64), axis=0, weights=gamma[:, k].astype(float)) for k in columns])
    return np.array(found, np.float32)


def _ragged(whose: Ragged) -> Responsibilities:
    lengths = np.array([len(own) for own in whose], np.int64)
    return Responsibilities(np.concatenate(whose), np.cumsum(lengths) - lengths, lengths)
