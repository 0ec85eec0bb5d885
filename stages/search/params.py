"""The parameters of search."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from stages.section import Section

Searched = Literal["all", "test"]  # every item of a dataset; the target test items, on which methods are measured
GALLERIES: tuple[Searched, ...] = get_args(Searched)


class SearchSection(Section):
    """The section `search` of params.yaml."""

    method: str
    shots: int = Field(ge=0)
    top: int = Field(ge=1)
    gallery: Searched
    port: int = Field(ge=0, le=65535)
