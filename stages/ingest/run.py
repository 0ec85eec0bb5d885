"""A dataset on disk becomes a manifest: which texts and classes go with which picture, and the pictures' digests."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from cache.manifest import Manifest, check_manifest, write_manifest
from stages.ingest.datasets import find, loader
from stages.ingest.params import Captions, IngestParams
from stages.ingest.pictures import measure
from stages.progress import reporter


def run(params: IngestParams) -> None:
    """Read the dataset, check it, read its pictures' bytes and write the manifest; raises UserErrors of one line."""
    listed = captioned(loader(find(params.dataset))(params), params.section.captions)
    check_manifest(listed)
    sizes, digests = measure(listed.name, params.home / listed.root, listed.images)
    manifest = replace(listed, bytes=sizes, xxh3=digests)
    write_manifest(params.manifest, manifest, params.made_from)
    reporter().say(summary(manifest))


def captioned(manifest: Manifest, captions: Captions) -> Manifest:
    """`join` makes one caption of an item's several, a blank between them; `first` and `mean` keep them all."""
    if captions != "join":
        return manifest
    return replace(manifest, texts=[[" ".join(texts)] if texts else [] for texts in manifest.texts])


def summary(manifest: Manifest) -> str:
    """One line: pairs, captions, classes, and the split where the dataset declares one."""
    captions = sum(map(len, manifest.texts))
    counts = Counter(split for split in manifest.splits if split)
    splits = "".join(f", {counts[name]} {name}" for name in ("train", "val", "test") if counts[name])
    classes = f"{len(manifest.classes)} class{'' if len(manifest.classes) == 1 else 'es'}"
    return f"{manifest.name}: {len(manifest)} pairs, {captions} captions, {classes}{splits}"
