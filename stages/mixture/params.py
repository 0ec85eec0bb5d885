"""The parameters of mixture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.covariance import EmSection


class MixtureSection(EmSection):
    """The section `mixture` of params.yaml."""

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
