"""The parameters of mixture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stages.covariance import Covariance
from stages.section import Section


class MixtureSection(Section):
    """The section `mixture` of params.yaml."""

    components: int = Field(ge=1, le=8)
    covariance: Covariance
    iterations: int = Field(ge=1)
    temperature: Literal["auto"] | Annotated[float, Field(gt=0)]
    floor: float = Field(gt=0)
    groups: Literal["em", "random"]


@dataclass(frozen=True, kw_only=True)
class MixtureParams:
    """What `mixture` runs on: reads the manifest and the features ledger, writes the mixtures ledger to `ledger`."""

    section: MixtureSection
    captions: str
    store: Path
    manifest: Path
    features: Path
    ledger: Path
    made_from: str
    wait_for_lock: bool
