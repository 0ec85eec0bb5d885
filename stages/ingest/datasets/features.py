"""Features that others computed: a manifest without pictures, each row with the digest of its image vector."""

from __future__ import annotations

from cache.manifest import Manifest
from stages.imported.bundle import Bundle, check_bundle, open_bundle
from stages.ingest.params import IngestParams
from stages.progress import reporter


def load(params: IngestParams) -> Manifest:
    """The manifest of imported features, whole: every number was read, and is finite."""
    section = params.section.features
    bundle = open_bundle(section, params.home)
    check_bundle(bundle, section.allow_zero)
    for line in remarks(bundle, section.name):
        reporter().say(line)
    image, rows = bundle.vectors["image"], bundle.rows
    count = len(rows.ids)
    return Manifest(
        name=section.name,
        root=bundle.where,
        ids=rows.ids,
        images=[""] * count,
        texts=[[text] for text in rows.texts],
        labels=rows.labels,
        splits=rows.splits,
        bytes=[4 * (image.width + (image.raw_width or 0))] * count,
        xxh3=image.row_digests(),
    )


def remarks(bundle: Bundle, name: str) -> list[str]:
    """What there is, what is lacking, and whether both modalities might share a space after all."""
    widths = [bundle.vectors[kind].width for kind in ("image", "text")]
    spaces = "one space" if bundle.aligned else "two spaces"
    lines = [f"{name}: image vectors {widths[0]} wide, text vectors {widths[1]}, {spaces}"]
    if lacking := bundle.lacks():
        lines.append(f"{name}: not there: {', '.join(lacking)}")
    if widths[0] == widths[1] and not bundle.aligned:
        lines.append(f"{name}: the widths are equal; if the space is, too, set ingest.features.aligned to true")
    return lines
