"""The parameters of split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stages.section import Section

Protocol = Literal["parity", "random", "classic"]


class SplitSection(Section):
    """The section `split` of params.yaml."""

    protocol: Protocol
    halves: int = Field(ge=1)
    shots: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    seeds: int = Field(ge=1)


@dataclass(frozen=True, kw_only=True)
class SplitParams:
    """What `split` runs on: reads the manifest and the features ledger, writes `episodes`."""

    section: SplitSection
    store: Path
    manifest: Path
    features: Path
    episodes: Path
    made_from: str
