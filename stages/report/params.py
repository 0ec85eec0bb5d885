"""The parameters of report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ReportParams:
    """What `report` runs on: reads scores, queries, metrics, history, the ledgers of mixtures and heads; writes `page`,
    `table` and the plots.

    `about` is what ran, for the page's head: dataset, encoder label, the values of params.yaml, and as
    `values_from` where the values of the trained heads come from."""

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
