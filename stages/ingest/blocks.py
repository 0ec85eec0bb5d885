"""A dataset as `ingest` goes through it: blocks of rows, so that a long one needs no more memory than a short one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from cache.manifest import Manifest
from stages.ingest.absent import Incomplete, rows_kept
from stages.ingest.pairs import Pair, unmeasured

BLOCK = 8192  # rows

Blocks = Callable[[], Iterator[Manifest]]  # the rows in their order, anew at each call


@dataclass(frozen=True)
class Listed:
    """What a loader found: the pairs in blocks, the pictures' bytes and digests not yet read, and the missing files of
    pairs that are left out."""

    name: str
    root: str
    blocks: Blocks
    lost: list[str] = field(default_factory=list)


def listed(found: Manifest | Incomplete | Listed) -> Listed:
    """Whatever a loader gives, in blocks."""
    if isinstance(found, Listed):
        return found
    manifest, lost = (found.manifest, found.lost) if isinstance(found, Incomplete) else (found, [])
    return Listed(manifest.name, manifest.root, lambda: _cut(manifest), lost)


def in_blocks(name: str, root: str, pairs: Callable[[], Iterator[Pair]]) -> Listed:
    """Pairs that are found anew at each call, bytes and digests not yet read; one block of them is held at a time."""

    def blocks() -> Iterator[Manifest]:
        found = pairs()
        while block := list(islice(found, BLOCK)):
            yield unmeasured(name, root, block)

    return Listed(name, root, blocks)


def _cut(manifest: Manifest) -> Iterator[Manifest]:
    for start in range(0, len(manifest), BLOCK):
        yield rows_kept(manifest, range(start, min(start + BLOCK, len(manifest))))
