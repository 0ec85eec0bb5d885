"""The parameters of split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stages.section import Section

Protocol = Literal["parity", "random", "classic", "classify"]


class SplitSection(Section):
    """The section `split` of params.yaml; validation: of `classify` on a dataset without a val split, how many train
    pairs of a class stand aside to choose values by, shots at most."""

    protocol: Protocol
    halves: int = Field(ge=1)
    shots: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    seeds: int = Field(ge=1)
    validation: int = Field(ge=0)


@dataclass(frozen=True, kw_only=True)
class SplitParams:
    """What `split` runs on: reads the manifest and the features ledger, writes `episodes`."""

    section: SplitSection
    store: Path
    manifest: Path
    features: Path
    episodes: Path
    made_from: str
