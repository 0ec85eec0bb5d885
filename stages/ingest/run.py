"""A dataset on disk becomes a manifest: which texts and classes go with which picture, and the pictures' digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from cache.errors import UserError
from cache.manifest import Manifest, check_manifest, write_manifest
from stages.ingest.absent import Incomplete, rows_kept, settle
from stages.ingest.datasets import find, loader
from stages.ingest.params import Captions, IngestParams
from stages.ingest.pictures import measure
from stages.progress import reporter


def run(params: IngestParams) -> None:
    """Read the dataset, check it, read its pictures' bytes and write the manifest; raises UserErrors of one line."""
    with _readable(params):
        read = loader(find(params.dataset))(params)
        found = read if isinstance(read, Incomplete) else Incomplete(read, [])
        listed = captioned(found.manifest, params.section.captions)
        check_manifest(listed)
        manifest = measured(listed, found.lost, params)
    write_manifest(params.manifest, manifest, params.made_from)
    reporter().say(summary(manifest))


def measured(listed: Manifest, lost: list[str], params: IngestParams) -> Manifest:
    """The manifest with its pictures' bytes and digests, without the rows whose picture is missing.

    lost: the missing files of pairs that are left out already. MissingError where too many are missing."""
    root = params.home / listed.root
    seen = measure(listed.name, root, listed.images)
    pairs = len(lost) + len(listed)
    lost = [*lost, *(image for image, found in zip(listed.images, seen, strict=True) if found is None)]
    record = params.manifest.with_suffix(".missing.txt")
    settle(listed.name, lost, pairs, str(root), params.section.allow_missing, record)
    there = [(row, *found) for row, found in enumerate(seen) if found is not None]
    kept = rows_kept(listed, [row for row, _, _ in there])
    check_manifest(kept)  # nothing may be left
    return replace(kept, bytes=[size for _, size, _ in there], xxh3=[digest for _, _, digest in there])


@contextmanager
def _readable(params: IngestParams) -> Iterator[None]:
    """Turn what this user may not read into one line."""
    try:
        yield
    except PermissionError as error:
        raise UserError(
            f"{params.dataset}: {error.filename} may not be read by this user; give the right to, as in "
            f"chmod -R u+rX {error.filename}"
        ) from error


def captioned(manifest: Manifest, captions: Captions) -> Manifest:
    """`join` makes one caption of an item's several, a blank between them; `first` and `mean` keep them all."""
    if captions != "join":
        return manifest
    return replace(manifest, texts=[[" ".join(texts)] if texts else [] for texts in manifest.texts])


def summary(manifest: Manifest) -> str:
    """One line: pairs, captions, classes, and the split where the dataset declares one."""
    captions = sum(bool(text) for texts in manifest.texts for text in texts)
    counts = Counter(split for split in manifest.splits if split)
    splits = "".join(f", {counts[name]} {name}" for name in ("train", "val", "test") if counts[name])
    classes = f"{len(manifest.classes)} class{'' if len(manifest.classes) == 1 else 'es'}"
    return f"{manifest.name}: {len(manifest)} pairs, {captions} captions, {classes}{splits}"
