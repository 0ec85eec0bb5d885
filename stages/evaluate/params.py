"""The parameters of evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from stages.section import Gallery, Section, twice


class EvaluateSection(Section):
    """The section `evaluate` of params.yaml."""

    galleries: list[Gallery] = Field(min_length=1)
    draws: int = Field(ge=100)

    @field_validator("galleries")
    @classmethod
    def _each_once(cls, galleries: list[Gallery]) -> list[Gallery]:
        if again := twice([str(name) for name in galleries]):
            raise ValueError(f"'{again}' stands twice, name each gallery once")
        return galleries


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
    mixtures: Path | None
    episodes: Path
    heads: Path
    scores: Path
    queries: Path
    metrics: Path
    made_from: str
    shifted: bool = False  # manifest and features are those of another dataset than the heads and episodes
