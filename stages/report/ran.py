"""What ran: data, encoder, keys, software, machine and times, for the page's end. Pure but for the times of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cache.errors import counted
from cache.manifest import Manifest
from cache.store import Ledger
from stages.items import Items

Lines = list[tuple[str, str]]
LEADING = ("this project", "python")  # of the software


@dataclass(frozen=True)
class Ran:
    """What ran, as lines of a name and a value each."""

    data: Lines
    keys: Lines
    software: Lines
    times: Lines


def what_ran(
    manifest: Manifest, features: Ledger, items: Items, about: Mapping[str, Any], made: Mapping[str, Path]
) -> Ran:
    """Everything of it. about: what the pipeline knows of the machine and the software; made: what was made, by
    what it is called, in the order of the stages."""
    image = items.tokens["image"].cache.about if items.tokens else {}
    return Ran(
        data=_data(manifest, features, image),
        keys=[("manifest", manifest.digest), *((kind, key) for kind, key in items.keys.items())],
        software=software({**image.get("libraries", {}), **about.get("software", {})}),
        times=[(name, when(path)) for name, path in made.items()],
    )


def _data(manifest: Manifest, features: Ledger, image: Mapping[str, Any]) -> Lines:
    content = image.get("content", {})
    named = [
        ("Pairs", f"{counted(len(manifest), 'pair')} of {counted(len(manifest.classes), 'class', 'classes')}"),
        ("Encoder", f"{features.about['label']}, {'aligned' if features.about['aligned'] else 'not aligned'}"),
        ("Extracted", _extracted(content)),
        ("Tokens", _tokens(image)),
    ]
    return [(name, value) for name, value in named if value]


def _extracted(content: Mapping[str, Any]) -> str:
    return f"{content['precision']} on {content['device']}" if {"precision", "device"} <= content.keys() else ""


def _tokens(image: Mapping[str, Any]) -> str:
    dims = image.get("dims", {})
    if not dims.get("tokens"):
        return ""
    return f"{dims.get('tokens_an_image')} patches a picture, {dims['tokens']} wide, {image['content']['storage']}"


def software(versions: Mapping[str, str]) -> Lines:
    """Names and versions, the project and Python first."""
    order = [name for name in (*LEADING, *sorted(versions)) if name in versions]
    return [(name, versions[name]) for name in dict.fromkeys(order)]


def when(path: Path) -> str:
    """When a file was written, to the minute, UTC; a dash where it is not there."""
    if not path.exists():
        return "\N{EN DASH}"
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
