"""The parameters of train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.section import Section

Positives = Literal["out", "in"]
Retrieve = Literal["mix", "pooled", "max", "mean"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class CcaSection(Section):
    """Regularised CCA: kept dimensions, ridge in units of the mean eigenvalue, power of the correlations."""

    dims: int = Field(ge=1)
    ridge: Weight
    power: float


class GapSection(Section):
    """A linear residual head on pooled features."""

    tau: Positive
    lr: Positive
    steps: int = Field(ge=0)
    batch: int = Field(ge=2)
    support_share: Fraction
    positives: Positives


class GcrdpSection(GapSection):
    """GCRDP: the weights of its losses, the threshold of its mask, and how its views are read."""

    retrieve: Retrieve
    theta: float
    theta_kind: Literal["quantile", "absolute"]
    contrast: Weight
    alpha: Weight
    lambda_: Weight = Field(alias="lambda")

    @model_validator(mode="after")
    def _something_to_learn(self) -> GcrdpSection:
        if not (self.contrast or self.alpha or self.lambda_):
            raise ValueError("contrast, alpha and lambda are all 0, which leaves no loss; raise one of them")
        return self


class TrainSection(Section):
    """The section `train` of params.yaml."""

    methods: list[str] = Field(min_length=1)
    align: CcaSection
    cca: CcaSection
    gap: GapSection
    gcrdp: GcrdpSection


@dataclass(frozen=True, kw_only=True)
class TrainParams:
    """What `train` runs on: reads the artefacts before it; writes the heads ledger and the history."""

    section: TrainSection
    captions: str
    store: Path
    manifest: Path
    features: Path
    mixtures: Path
    episodes: Path
    ledger: Path
    history: Path
    made_from: str
    wait_for_lock: bool
