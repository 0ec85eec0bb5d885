"""The parameters of report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ReportParams:
    """What `report` runs on: reads scores, queries, metrics, history, manifest, episodes, the ledgers of features,
    mixtures and heads and of what they name in `store` what it draws, and pictures below `home`; writes `page`,
    `table` and the plots. captions: as params.yaml says.

    `about` is what ran, for the page: dataset, encoder label, the values of params.yaml, as `values_from` where the
    values of the trained heads come from, and the `machine` and its `software`."""

    captions: str
    home: Path
    store: Path
    manifest: Path
    features: Path
    episodes: Path
    scores: Path
    queries: Path
    metrics: Path
    history: Path
    mixtures: Path
    heads: Path
    page: Path
    table: Path
    plots: Path
    about: dict[str, Any]
