"""What of a dataset's features is told beside the rows of an experiment on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.ablation.dimension import participation, two_nn
from pipeline.setting import Setting
from pipeline.wiring import require
from stages.items import MODALITIES, Items, load_items
from stages.tokens import Tokens, read_tokens

CALLED = {"image": "picture", "text": "text"}
ITEMS = 300  # whose tokens are read, evenly over the dataset


def complexity(setting: Setting) -> Mapping[str, float]:
    """Classes, intrinsic dimension of the pooled vectors by modality, and over how many directions an item's tokens
    spread, the mean over items of two tokens or more."""
    paths = require(setting, "ingest"), require(setting, "extract")
    items = load_items(setting.places.store, *paths, None, setting.params.ingest.captions)
    found = {"class_count": float(len({name for own in items.labels for name in own}))}
    found |= {f"{CALLED[m]}_dimension": two_nn(items.pooled[m]) for m in MODALITIES}
    return found | {f"{CALLED[m]}_token_spread": spread(own) for m, own in _tokens(items).items()}


def _tokens(items: Items) -> dict[str, Tokens]:
    return {m: items.tokens[m] for m in MODALITIES} if items.tokens else {}


def spread(source: Tokens) -> float:
    """The mean participation ratio of the tokens of some items; nan where no item has two."""
    rows = np.unique(np.linspace(0, len(source) - 1, min(ITEMS, len(source))).astype(np.int64))
    several = rows[source.lengths[rows] > 1]
    found = []
    for row in several:
        values, mask = read_tokens(source, np.array([row]))
        found.append(participation(values[0][mask[0]]))
    return float(np.mean(found)) if found else float("nan")
