"""What a dataset's lists name and the disk lacks: left out and listed, or too much to go on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import MissingError, counted, shortened
from cache.files import write_bytes
from cache.manifest import Manifest
from stages.progress import reporter

TOLERATED = 0.01  # the share of the pairs that may lack a file


@dataclass(frozen=True)
class Incomplete:
    """A manifest without the pairs whose text files are missing, and those files: `lost`, one a pair."""

    manifest: Manifest
    lost: list[str]


def rows_kept(manifest: Manifest, rows: Sequence[int]) -> Manifest:
    """The manifest with these of its rows, in this order."""
    return Manifest(
        name=manifest.name,
        root=manifest.root,
        ids=[manifest.ids[row] for row in rows],
        images=[manifest.images[row] for row in rows],
        texts=[manifest.texts[row] for row in rows],
        labels=[manifest.labels[row] for row in rows],
        splits=[manifest.splits[row] for row in rows],
        bytes=[manifest.bytes[row] for row in rows],
        xxh3=[manifest.xxh3[row] for row in rows],
    )


def settle(name: str, lost: Sequence[str], pairs: int, folder: str, allowed: bool, record: Path) -> None:
    """Write the missing files to `record`, a line each, and warn of them.

    lost: the files, one a pair; pairs: of all that the lists name; folder: where the files belong; allowed: go on
    however many there are. MissingError where more than 1 % of the pairs lack one. The record is written in both
    cases; where nothing is missing, an older one is taken away.
    """
    if not lost:
        record.unlink(missing_ok=True)
        return
    write_bytes(record, "".join(f"{path}\n" for path in lost).encode(errors="backslashreplace"))
    names, them, are = ("names", "it", "is") if len(lost) == 1 else ("name", "them", "are")
    found = f"{name}: {len(lost):,} of {counted(pairs, 'pair')} {names} a file that is missing"
    first = shortened(lost[0])
    there = f"the first is '{first}', all stand in {record}" if len(lost) > 1 else f"'{first}' (noted in {record})"
    if len(lost) > TOLERATED * pairs and not allowed:
        raise MissingError(
            f"{found}, more than the {TOLERATED:.0%} that ingest does without: {there}; put {them} under {folder}, or "
            f"go on without {them} by --allow-missing"
        )
    reporter().warn(
        f"{found} and {are} left out: {there}; put {them} under {folder} and run 'ingest' again to have {them}"
    )
