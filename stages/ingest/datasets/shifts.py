"""Names of the form `<dataset>-to-<how>`: copies of a dataset's pictures, degraded. Light: no picture is read here."""

from __future__ import annotations

from dataclasses import replace

from cache.errors import UsageError
from stages.ingest.datasets.dataset import Dataset

KINDS = {"blur": "blurred", "grey": "without their colours", "sketch": "as if drawn with a pencil"}
BETWEEN = "-to-"
LOAD = "stages.ingest.datasets.degraded:load"


def is_shift(name: str) -> bool:
    """Whether a name is that of degraded copies."""
    base, between, how = name.rpartition(BETWEEN)
    return bool(base and between and how in KINDS)


def parts_of(name: str) -> tuple[str, str]:
    """The dataset behind such a name, and how its pictures were degraded."""
    base, _, how = name.rpartition(BETWEEN)
    return base, how


def shift_of(base: Dataset, name: str) -> Dataset:
    """What the registry says of degraded copies; UsageError for a dataset without pictures."""
    if not base.pictures:
        raise UsageError(f"dataset '{name}': {base.name} has no pictures that could be degraded; name another dataset")
    _, how = parts_of(name)
    source = f"nothing: they are made of the pictures of {base.name}"
    about = f"{base.about}; the pictures {KINDS[how]}"
    bare = replace(base, source=source, layout="nothing: the copies are made there", download="none", address=None)
    return replace(bare, name=name, about=about, load=LOAD, parts=(), folder=name)
