"""A dataset on disk becomes a manifest: which texts and classes go with which picture, and the pictures' digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cache.manifest import Manifest, check_blocks, write_blocks
from stages.ingest.absent import rows_kept, settle
from stages.ingest.blocks import Listed, listed
from stages.ingest.datasets import find, loader
from stages.ingest.params import Captions, IngestParams
from stages.ingest.pictures import measure
from stages.ingest.places import readable
from stages.progress import reporter, working


def run(params: IngestParams) -> None:
    """Read the dataset, check it, read its pictures' bytes and write the manifest; raises UserErrors of one line.

    It goes through the pairs in blocks, once to check them and once to write them."""
    with readable(params.dataset):
        dataset = find(params.dataset)
        found = listed(loader(dataset)(params))

        def blocks() -> Iterator[Manifest]:
            return (captioned(block, params.section.captions) for block in found.blocks())

        if found.lost and not any(map(len, blocks())):  # all there was is missing: that is what to say
            _settle(found, found.lost, len(found.lost), params)
        pairs = check_blocks(found.name, blocks, bare=not dataset.pictures)
    tally = Tally(found.name)
    kept = measured(blocks(), found, pairs, params) if dataset.pictures else blocks()
    write_blocks(params.manifest, found.name, found.root, map(tally.count, kept), params.made_from)
    reporter().say(tally.line)


def measured(blocks: Iterator[Manifest], found: Listed, pairs: int, params: IngestParams) -> Iterator[Manifest]:
    """The blocks with their pictures' bytes and digests, without the rows whose picture is missing; at the end
    MissingError where too many are missing, UserError where nothing is left.

    pairs: of all blocks; those that the loader left out already are missing, too."""
    root, lost, there = params.home / found.root, list(found.lost), 0
    with working("pictures", pairs):
        for block in blocks:
            with readable(params.dataset):
                seen = measure(found.name, root, block.images)
            rows = [(row, *each) for row, each in enumerate(seen) if each is not None]
            lost += [image for image, each in zip(block.images, seen, strict=True) if each is None]
            there += len(rows)
            sizes = [size for _, size, _ in rows]
            reporter().advance("pictures", len(block), megabytes=sum(sizes) / 1e6)
            kept = block if len(rows) == len(block) else rows_kept(block, [row for row, _, _ in rows])
            yield replace(kept, bytes=sizes, xxh3=[digest for _, _, digest in rows])
    _settle(found, lost, len(found.lost) + pairs, params)
    if not there:
        check_blocks(found.name, list)


def _settle(found: Listed, lost: Sequence[str], pairs: int, params: IngestParams) -> None:
    record = params.manifest.with_suffix(".missing.txt")
    settle(found.name, lost, pairs, str(params.home / found.root), params.section.allow_missing, record)


def captioned(manifest: Manifest, captions: Captions) -> Manifest:
    """`join` makes one caption of an item's several, a blank between them; `first` and `mean` keep them all."""
    if captions != "join":
        return manifest
    return replace(manifest, texts=[[" ".join(texts)] if texts else [] for texts in manifest.texts])


class Tally:
    """Counts pairs, captions, classes and splits of the blocks that go through it."""

    def __init__(self, name: str) -> None:
        self._name, self._classes, self._count = name, set[str](), Counter[str]()

    def count(self, block: Manifest) -> Manifest:
        """Count a block; returns it."""
        self._classes.update(label for labels in block.labels for label in labels)
        self._count += Counter(split for split in block.splits if split)
        self._count["pairs"] += len(block)
        self._count["captions"] += sum(bool(text) for texts in block.texts for text in texts)
        return block

    @property
    def line(self) -> str:
        """One line: pairs, captions, classes, and the split where the dataset declares one."""
        count = self._count
        splits = "".join(f", {count[name]} {name}" for name in ("train", "val", "test") if count[name])
        pairs, captions = _many(count["pairs"], "pair", "pairs"), _many(count["captions"], "caption", "captions")
        return f"{self._name}: {pairs}, {captions}, {_many(len(self._classes), 'class', 'classes')}{splits}"


def _many(count: int, one: str, several: str) -> str:
    """As many, without commas between the digits: who greps for a number finds it."""
    return f"{count} {one if count == 1 else several}"
