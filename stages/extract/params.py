"""The parameters of extract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stages.imported.params import FeaturesSection
from stages.section import Backend, Section, spelled

Precision = Literal["fp32", "bf16", "fp16"]
Tokens = Literal["none", "joint", "raw"]
Storage = Literal["float16", "float32"]


class ExtractSection(Section):
    """The section `extract` of params.yaml."""

    device: Annotated[
        str, spelled(r"auto|cpu|mps|cuda(:\d+)?", "auto, cpu, mps, cuda, or one of several, as in cuda:1")
    ]
    precision: Precision
    tokens: Tokens
    storage: Storage
    weights: str | None
    heads: str | None
    allow_pickle: bool
    templates: list[Annotated[str, spelled(r"(?s).*\{\}.*", "text with {} for the class name")]] = Field(min_length=1)
    rows_per_shard: int = Field(ge=1)
    batch: int = Field(ge=1)
    workers: int = Field(ge=1)
    backend: Backend


@dataclass(frozen=True, kw_only=True)
class ExtractParams:
    """What `extract` runs on: reads `manifest`, fills `store`, writes the features ledger to `ledger`.

    features: where they are copied from in place of being extracted; None for an encoder."""

    encoder: str
    label: str
    section: ExtractSection
    home: Path
    store: Path
    manifest: Path
    ledger: Path
    made_from: str
    wait_for_lock: bool
    features: FeaturesSection | None = None
