"""The parameters of ingest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stages.imported.params import FeaturesSection
from stages.section import Section, spelled

Captions = Literal["first", "join", "mean"]


class TableSection(Section):
    """Where a user's own table is, and what its columns are called; `id` and `label` are None where it has none."""

    path: str | None
    name: Annotated[str, spelled(r"[A-Za-z0-9][A-Za-z0-9._-]*", "letters, digits and . _ -, a letter or digit first")]
    id: str | None
    image: str
    text: str | list[str]
    label: str | None
    separator: str | None
    split: str | None


class IngestSection(Section):
    """The section `ingest` of params.yaml; blur: of degraded copies, in units of a picture's shorter side."""

    root: str
    captions: Captions
    max_per_class: int = Field(ge=2)
    class_text: Annotated[str, spelled(r"[^{}]*\{\}[^{}]*", "text with one {} for the class name")]
    blur: float = Field(gt=0, le=0.5)
    allow_missing: bool
    table: TableSection
    features: FeaturesSection


@dataclass(frozen=True, kw_only=True)
class IngestParams:
    """What `ingest` runs on: `root` and `home` absolute; the manifest is written to `manifest`, stamped `made_from`.

    storage: the type that imported tokens are to be stored in; None where they are left out, or none are imported."""

    dataset: str
    section: IngestSection
    home: Path
    manifest: Path
    made_from: str
    storage: str | None = None
