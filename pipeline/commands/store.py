"""Looking after the store: info, verify, clean.

What is slow to import is imported inside the commands: `--help` does not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cache.errors import counted
from pipeline.commands.options import AsJson, takes_setting
from pipeline.console import show
from pipeline.setting import Setting
from stages.progress import reporter

Quick = Annotated[bool, typer.Option("--quick", help="Names and sizes only, no digests.")]
Repair = Annotated[bool, typer.Option("--repair", help="Drop what is damaged, so that its stage makes it again.")]
Mend = Annotated[bool, typer.Option("--mend", help="Repair, then make again what a ledger names and the store lacks.")]
Unused = Annotated[bool, typer.Option("--unused", help="Remove what no ledger names.")]
Key = Annotated[str | None, typer.Argument(help="A key, or its beginning; without one, a line for each.")]

# What a card goes by in JSON, the card, and its rows for a person; none of them for what has no card.
Explained = tuple[str, dict[str, Any] | None, list[dict[str, Any]]]

Thumbnails = Annotated[
    Path | None, typer.Option("--thumbnails", metavar="PNG", help="Draw the pictures of an image cache on one sheet.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (info, doctor, verify, outdated, clean):
        app.command(rich_help_panel="Store")(takes_setting(command))


def info(setting: Setting, key: Key = None, thumbnails: Thumbnails = None, as_json: AsJson = False) -> None:
    """What the store holds, or what one key is; --thumbnails draws the pictures of a key, or of the present dataset."""
    if thumbnails is not None:
        _draw_thumbnails(setting, key, thumbnails)
    elif key is None:
        _list(setting, as_json)
    else:
        _explain(setting, key, as_json)


def _list(setting: Setting, as_json: bool) -> None:
    from pipeline.origin import datasets_by_key
    from pipeline.tables import entry_rows

    show(entry_rows(setting.places.store, datasets_by_key(setting)), as_json)


def _draw_thumbnails(setting: Setting, key: str | None, target: Path) -> None:
    from pipeline.contact_sheet import require_place, write_sheet
    from pipeline.origin import key_with, present_pictures, require_manifest

    require_place(target)
    folder = key_with(setting.places.store, key) if key else present_pictures(setting)
    drawn = write_sheet(target, folder, require_manifest(setting, folder), setting.places.home)
    reporter().say(f"{counted(drawn, 'picture')} of {folder.name}")
    print(target)


def _explain(setting: Setting, key: str, as_json: bool) -> None:
    """A card for a feature cache, whole or unfinished; every value of cache.json for what is none, and in JSON."""
    from cache.errors import UserError
    from cache.shards import is_whole
    from pipeline.origin import key_with
    from pipeline.tables import about_rows, as_texts

    folder = key_with(setting.places.store, key)
    try:
        name, card, rows = (_whole if is_whole(folder) else _unfinished)(setting, folder)
    except UserError as error:  # damaged: what cache.json says may still tell which cache it is
        reporter().warn(str(error))
        name, card, rows = "", None, []
    everything = about_rows(folder, {name: card} if card else {})
    show(everything if as_json else rows or as_texts(everything), as_json)


def _whole(setting: Setting, folder: Path) -> Explained:
    from pipeline.cache_card import card_of, card_rows

    if folder.parent.name != "features":
        return "", None, []
    card = card_of(folder, setting)
    return "card", card, card_rows(card, folder)


def _unfinished(setting: Setting, folder: Path) -> Explained:
    from pipeline.cache_card import progress_of, progress_rows, state_text

    progress = progress_of(folder)
    if folder.parent.name == "features":
        return "progress", progress, progress_rows(progress, folder, setting)
    reporter().warn(f"{folder.name}: {state_text(progress)}")
    return "progress", progress, []


def doctor(setting: Setting, as_json: AsJson = False) -> None:
    """Whether this machine is fit: versions, device, precisions, disk, rights, locks, hub, DVC, each with its mend."""
    from pipeline import doctor as checks

    lines = checks.diagnose(setting)
    show(checks.rows_of(lines), as_json)
    checks.require_none(lines)


def verify(
    setting: Setting, quick: Quick = False, repair: Repair = False, mend: Mend = False, as_json: AsJson = False
) -> None:
    """Check every file of the store against its record, and every ledger against the store."""
    from pipeline import upkeep

    if repair or mend:
        upkeep.repair(setting)
    if mend:
        upkeep.mend(setting)
    gaps = upkeep.tell_gaps_of_the_prompt(setting)
    findings = upkeep.findings(setting, hashes=not quick)
    if findings or as_json:
        show(upkeep.finding_rows(findings), as_json)
    upkeep.require_none(findings)
    reporter().say(f"{setting.places.store}: {upkeep.verdict(setting, gaps)}")


def outdated(setting: Setting) -> None:
    """Name the stage whose inputs outside dvc.yaml (table, heads, weights, method) changed: `dvc repro -f -s` it."""
    from pipeline import upkeep

    for name in upkeep.outdated(setting):
        print(name)


def clean(setting: Setting, unused: Unused = False, as_json: AsJson = False) -> None:
    """List the keys that no ledger under data/ or runs/ names; --unused removes them."""
    from pipeline import upkeep

    folders = upkeep.unused(setting)
    show(upkeep.folder_rows(folders), as_json)
    if unused:
        reporter().say(f"{counted(upkeep.remove(folders), 'key')} removed")
