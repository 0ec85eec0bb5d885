"""Export: vectors, heads and model cards, for use elsewhere.

What is slow to import is imported inside the command: `--help` does not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cache.errors import UsageError, UserError, counted
from pipeline.commands.options import takes_setting
from pipeline.commands.search import Method, Shots, Where, section_of
from pipeline.setting import Setting
from stages.progress import reporter

if TYPE_CHECKING:
    from pipeline.trained import Trained
    from stages.search.params import SearchSection

VectorsFile = Annotated[
    Path | None,
    typer.Option("--vectors", metavar="FILE", help="Every item's vectors, ids, modalities: .parquet or .npy."),
]
HeadFile = Annotated[
    Path | None,
    typer.Option("--head", metavar="FILE", help="The head: .safetensors, or .onnx (pip install '.[export]')."),
]
Card = Annotated[Path | None, typer.Option("--card", metavar="FILE", help="A model card: .md.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel="Use")(takes_setting(export))


def export(
    setting: Setting,
    vectors: VectorsFile = None,
    head: HeadFile = None,
    card: Card = None,
    method: Method = None,
    shots: Shots = None,
    gallery: Where = None,
    force: Force = False,
) -> None:
    """A trained head and what it makes of the items, as files: for a vector index, a runtime, a reader."""
    if not (vectors or head or card):
        raise UsageError("nothing to export; name --vectors FILE, --head FILE or --card FILE")
    _require_places(vectors, head, card, force)
    from pipeline.trained import trained_for

    section = section_of(setting, {"method": method, "shots": shots, "gallery": gallery})
    found = trained_for(setting, section.method, section.shots)
    if found is None:
        raise typer.Exit(UserError.exit_code)  # why is told of at the end
    _write(found, section, vectors, head, card)


def _require_places(vectors: Path | None, head: Path | None, card: Path | None, force: bool) -> None:
    from pipeline.exporting import CARDS, HEADS, VECTORS, require_place

    for target, suffixes in ((vectors, VECTORS), (head, HEADS), (card, CARDS)):
        if target is not None:
            require_place(target, suffixes, force)


def _write(found: Trained, section: SearchSection, vectors: Path | None, head: Path | None, card: Path | None) -> None:
    from pipeline.exporting import write_card, write_head, write_vectors
    from pipeline.trained import gallery_of

    gallery = gallery_of(section.gallery)
    if vectors is not None:
        count = write_vectors(vectors, found, gallery)
        reporter().say(f"{counted(count, 'vector')} of {counted(len(found.items), 'item')}: {found.source}")
    if head is not None:
        write_head(head, found, gallery)
    if card is not None:
        write_card(card, found, section.method, section.shots)
    for target in (vectors, head, card):
        if target is not None:
            print(target)
