"""What a person wants to know of a feature cache: counts, lengths, bytes, failures, on one card."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import shards
from cache.features import FAILED, FeatureCache
from cache.store import command_of, is_locked, shown
from pipeline.origin import manifest_of, origins_of
from pipeline.setting import Setting
from pipeline.tables import Row, folder_bytes, sized

BINS = 10  # bars of the histogram at most
BAR = 40  # characters of the longest bar
EIGHTHS = " ▏▎▍▌▋▊▉"
PLURAL = {"image": "images", "text": "texts", "name": "class names"}

Card = dict[str, Any]


def card_of(folder: Path, setting: Setting) -> Card:
    """The figures of a whole feature cache; UserError unless it is whole. `dataset` and `classes` come from the
    ledger and the manifest, None where none stands."""
    cache = FeatureCache.open(folder)
    found = origins_of(setting.places.root, folder.name)
    manifest = manifest_of(setting, folder)
    content, columns = cache.about["content"], cache.columns(["n_tokens", "truncated"])
    lengths = np.asarray(columns["n_tokens"].to_numpy(), np.int64)
    ids = len(set(cache.ids)) if cache.rows_kind == "name" else None
    return {
        "kind": cache.rows_kind,
        "count": len(cache),
        "dataset": found[0].ledger.about["dataset"] if found else manifest.name if manifest else None,
        "classes": ids if ids is not None else len(manifest.classes) if manifest else None,
        "tokens": content["tokens"],
        "tokens_an_image": cache.about["dims"]["tokens_an_image"],
        "width": cache.about["dims"]["tokens"],
        "pooled": cache.about["dims"]["pooled"],
        "lengths": None if cache.rows_kind == "image" else histogram(lengths),
        "truncated": int(np.asarray(columns["truncated"].to_numpy(zero_copy_only=False)).sum()),
        "bytes": folder_bytes(folder),
        "bytes_of_tokens": _bytes_of_tokens(cache, int(lengths.sum())),
        "parts": sum(name.endswith(".h5") for name in cache.about["files"]),
        "failed": cache.failed.num_rows,
        "failures": dict(Counter(cache.failed["error"].to_pylist()).most_common()),
        "named_by": [shown(origin.path) for origin in found],
    }


def _bytes_of_tokens(cache: FeatureCache, tokens: int) -> int:
    width = cache.about["dims"]["tokens"] or 0
    return int(tokens * width * np.dtype(cache.about["content"]["storage"]).itemsize)


def histogram(lengths: NDArray[np.int64]) -> dict[str, int]:
    """How many lengths fall into each of at most BINS ranges, named as in `9-16`; ranges are a power of two wide."""
    if not len(lengths):
        return {}
    longest = max(int(lengths.max()), 1)
    width = 1
    while -(-longest // width) > BINS:
        width *= 2
    bins = (np.maximum(lengths, 1) - 1) // width
    counts = enumerate(np.bincount(bins).tolist())
    return {_range(i, width): count for i, count in counts if i >= bins.min()}


def _range(number: int, width: int) -> str:
    """The lengths of a bin, the first of which begins at 1."""
    return f"{number * width + 1}-{(number + 1) * width}" if width > 1 else str(number + 1)


def bars(counts: dict[str, int]) -> list[str]:
    """A histogram as lines of text: range, bar, count."""
    most = max(counts.values(), default=0)
    names, digits = max(map(len, counts), default=0), len(str(most))
    return [
        f"{name:>{names}}  {count:>{digits}}  {_bar(count / most if most else 0)}" for name, count in counts.items()
    ]


def _bar(share: float) -> str:
    """A bar to an eighth of a character; what is there at all can be seen."""
    eighths = max(round(share * BAR * 8), 1 if share else 0)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def card_rows(card: Card, folder: Path) -> list[Row]:
    """The card as a table for a person."""
    about = shards.about_of(folder)
    lines = [
        ("rows", f"{card['count']} {PLURAL[card['kind']]}" + (f" of {card['dataset']}" if card["dataset"] else "")),
        ("classes", None if card["classes"] is None else str(card["classes"])),
        ("tokens", _tokens_text(card, about)),
        *_lengths_lines(card),
        ("pooled", f"{card['pooled']} wide, float32, by {about['pooling']}"),
        ("bytes", _bytes_text(card)),
        ("encoder", _encoder_text(about)),
        ("failures", _failures_text(card, folder)),
        *(("named by", path) for path in card["named_by"] or ["no ledger; 'clean --unused' removes it"]),
        ("key", folder.name),
        ("folder", shown(folder)),
    ]
    return [{"what": what, "value": value} for what, value in lines if value is not None]


def progress_of(folder: Path) -> Card:
    """How far an unfinished folder of the store is: files, of a feature cache parts, recorded of planned, and rows
    recorded; whether somebody writes it now. UserError where it is damaged."""
    to_come, lines = shards.unfinished(folder), shards.recorded(folder)
    files, unit = shards.about_of(folder)["files"], "files"
    if folder.parent.name == "features":
        files, unit = [name for name in files if name.endswith(".h5")], "parts"
    return {
        unit: len(set(files) - set(to_come)),
        f"{unit}_planned": len(files),
        "rows": sum(lines[name].rows for name in files if name in lines),
        "being_written": is_locked(folder.parent.parent, folder.parent.name, folder.name),
        "goes_on_with": command_of(folder),
    }


def state_text(progress: Card) -> str:
    """What is to be done about unfinished work."""
    if progress["being_written"]:
        return "unfinished, and being written now"
    return f"unfinished; run '{progress['goes_on_with']}' again, as it was begun, and it goes on from what is recorded"


def progress_rows(progress: Card, folder: Path, setting: Setting) -> list[Row]:
    """The card of an unfinished feature cache as a table for a person."""
    about, manifest = shards.about_of(folder), manifest_of(setting, folder)
    lines = [
        ("state", state_text(progress)),
        ("holds", PLURAL[about["rows"]] + (f" of {manifest.name}" if manifest else "")),
        ("parts", f"{progress['parts']} of {progress['parts_planned']} recorded"),
        ("rows", f"{progress['rows']} recorded"),
        ("bytes", sized(folder_bytes(folder))),
        ("encoder", _encoder_text(about)),
        ("key", folder.name),
        ("folder", shown(folder)),
    ]
    return [{"what": what, "value": value} for what, value in lines]


def _tokens_text(card: Card, about: dict[str, Any]) -> str:
    if card["tokens"] == "none":
        return "none kept"
    many = f"{card['tokens_an_image']} an image, " if card["tokens_an_image"] else ""
    return f"{many}{card['width']} wide, {about['content']['storage']}, {card['tokens']}"


def _lengths_lines(card: Card) -> list[tuple[str, str | None]]:
    if not card["lengths"]:
        return []
    drawn = bars(card["lengths"])
    names = ["text lengths", *[""] * len(drawn)]
    cut = f"{card['truncated']} were cut to the encoder's context" if card["truncated"] else "none was cut"
    return [*zip(names, drawn, strict=False), ("", cut)]


def _bytes_text(card: Card) -> str:
    share = card["bytes_of_tokens"] / max(card["bytes"], 1)
    parts = "1 part" if card["parts"] == 1 else f"{card['parts']} parts"
    return f"{sized(card['bytes'])} in {parts}, {sized(card['bytes_of_tokens'])} ({share:.0%}) of them tokens"


def _encoder_text(about: dict[str, Any]) -> str:
    content = about["content"]
    aligned = "aligned" if content["aligned"] else "not aligned"
    where = f"{content['precision']} on {content['device']}"
    return f"{content['encoder']}, {aligned}, {where}, weights {content['weights']}"


def _failures_text(card: Card, folder: Path) -> str:
    found = card["failures"]
    if not found:
        return "none"
    classes = ", ".join(f"{count} {name}" for name, count in found.items())
    return f"{card['failed']}: {classes}; listed in {shown(folder / FAILED)}"
