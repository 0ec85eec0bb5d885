"""Features that others computed: a manifest without pictures, each row with the digest of its image vector."""

from __future__ import annotations

from dataclasses import replace

from cache.errors import ParamsError, counted
from cache.manifest import Manifest, check_manifest
from stages.imported.arrays import MOST
from stages.imported.bundle import Bundle, check_bundle, open_bundle
from stages.imported.cells import flag
from stages.imported.params import FeaturesSection
from stages.ingest.params import Captions, IngestParams
from stages.progress import reporter


def load(params: IngestParams) -> Manifest:
    """The manifest of imported features, whole: every number that is kept was read, and is finite. Nothing is said
    before all is known to fit, so that a refusal is the one line there is."""
    section = params.section.features
    bundle = open_bundle(section, params.home)
    manifest = unread(bundle, section.name)
    check_manifest(replace(manifest, name=bundle.where), bare=True)
    _require_own_rows(bundle, params.section.captions)
    check_bundle(bundle, section.allow_zero, params.storage)
    for line in remarks(bundle, section):
        reporter().say(line)
    return replace(manifest, xxh3=bundle.vectors["image"].row_digests())


def unread(bundle: Bundle, name: str) -> Manifest:
    """The manifest of features whose numbers are not yet read."""
    image, rows = bundle.vectors["image"], bundle.rows
    count = len(rows.ids)
    return Manifest(
        name=name,
        root=bundle.where,
        ids=rows.ids,
        images=[""] * count,
        texts=rows.texts,
        labels=rows.labels,
        splits=rows.splits,
        bytes=[4 * (image.width + (image.raw_width or 0))] * count,
        xxh3=[""] * count,
    )


def _require_own_rows(bundle: Bundle, captions: Captions) -> None:
    """ParamsError where the texts of a pair are to be joined, though each has a vector of its own."""
    if captions == "join" and any(len(texts) > 1 for texts in bundle.rows.texts):
        raise ParamsError(
            f"{bundle.where}: ingest.captions is join, but its texts have a vector each; set it to first or mean"
        )


def remarks(bundle: Bundle, section: FeaturesSection) -> list[str]:
    """What there is, what is lacking, and whether both modalities might share a space after all."""
    name, widths = section.name, [bundle.vectors[kind].width for kind in ("image", "text")]
    spaces = "one space" if bundle.aligned else "two spaces"
    lines = [f"{name}: image vectors {widths[0]} wide, text vectors {widths[1]}, {spaces}{_several(bundle)}"]
    if lacking := bundle.lacks():
        lines.append(f"{name}: not there: {', '.join(lacking)}")
    if not any(bundle.rows.labels):
        lines.append(f"{name}: {unlabelled(bundle, section)}")
    if widths[0] == widths[1] and not bundle.aligned:
        lines.append(f"{name}: the widths are equal; if the space is, too, set ingest.features.aligned to true")
    return lines


def _several(bundle: Bundle) -> str:
    counts = [len(texts) for texts in bundle.rows.texts]
    return f"; {sum(counts)} texts of {counted(len(counts), 'pair')}" if max(counts) > 1 else ""


def unlabelled(bundle: Bundle, section: FeaturesSection) -> str:
    """What of features without a label runs, and where labels might be."""
    why = "the column is empty"
    if section.label is None:
        why = "ingest.features.label is null"
    elif isinstance(section.label, list):
        why = f"nothing is called {' or '.join(map(repr, section.label))}"
    maybe = bundle.rows.maybe
    where = f"; classes may stand in {', '.join(maybe[:MOST])}: {flag('label', maybe[0])}" if maybe else ""
    return f"no labels ({why}), so that stage one is all that runs{where}"
