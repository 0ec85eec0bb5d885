"""One run of a command: its parameters and its places."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stages.extract.encoders.registry import IMPORTED, label

if TYPE_CHECKING:  # pydantic is slow to import, and --help does not need it
    from pipeline.params import Params
    from pipeline.places import Places


@dataclass(frozen=True)
class Setting:
    """One run of a command: the parameters and the places. made: what it has made so far, by stage, which then stands
    for this command though a part of it may have failed. scanned: the state of folders that were gone through. more:
    further datasets that a command was asked for, see pipeline.several."""

    params: Params
    places: Places
    made: dict[str, Path] = field(default_factory=dict, compare=False)
    scanned: dict[Path, str] = field(default_factory=dict, compare=False)
    more: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The encoder's label: its name, with `@<heads file stem>` where heads are used, `@<stem of the source>` where
        features are imported."""
        params = self.params
        if params.encoder == IMPORTED:
            return label(params.encoder, params.ingest.features.path)
        return label(params.encoder, params.extract.heads, params.extract.weights)
