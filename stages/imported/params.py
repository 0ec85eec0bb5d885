"""The section `ingest.features` of params.yaml: where features lie that others computed, and what they are called."""

from __future__ import annotations

from typing import Annotated

from stages.section import Section, spelled

DATASET = "features"  # the dataset that imported features make


class MatSection(Section):
    """What a .mat file holds: variables of the parts of both modalities, and a list of the rows of each part."""

    image: list[str]
    text: list[str]
    lists: list[str]
    categories: str


class FeaturesSection(Section):
    """Where imported features are, and what their arrays, datasets or columns are called."""

    path: str | None
    name: Annotated[str, spelled(r"[A-Za-z0-9][A-Za-z0-9._-]*", "letters, digits and . _ -, a letter or digit first")]
    aligned: bool
    allow_zero: bool
    table: str | None
    image: str
    text: str
    names: str
    id: str | list[str]
    label: str | list[str] | None
    separator: str | None
    caption: str | None
    split: str | None
    split_lists: list[str]
    mat: MatSection
