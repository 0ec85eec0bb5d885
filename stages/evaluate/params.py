"""The parameters of evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.section import Section

Gallery = Literal["target", "rest", "all"]


class EvaluateSection(Section):
    """The section `evaluate` of params.yaml."""

    galleries: list[Gallery] = Field(min_length=1)
    draws: int = Field(ge=100)


@dataclass(frozen=True, kw_only=True)
class EvaluateParams:
    """What `evaluate` runs on: reads all that training read and its heads; writes scores, queries and metrics."""

    section: EvaluateSection
    dataset: str
    label: str
    captions: str
    store: Path
    manifest: Path
    features: Path
    mixtures: Path
    episodes: Path
    heads: Path
    scores: Path
    queries: Path
    metrics: Path
    made_from: str
