"""Where a dataset's files lie, how messages name them, and a guard that keeps reading inside its folder."""

from __future__ import annotations

import os
from pathlib import Path

from cache.errors import UserError
from stages.ingest.params import IngestParams


def dataset_folder(params: IngestParams) -> Path:
    """The folder of a named dataset: <ingest.root>/<dataset>, against the home folder."""
    return params.home / params.section.root / params.dataset


def from_home(path: Path, home: Path) -> str:
    """A path for people and manifests: relative to the home folder where it lies in it, else absolute."""
    full, base = Path(os.path.normpath(path)), Path(os.path.normpath(home))
    return full.relative_to(base).as_posix() if full.is_relative_to(base) else full.as_posix()


def confined(name: str, root: Path, relative: str) -> Path:
    """The file at `relative` under a dataset's root; UserError if `..`, an absolute path or a link leads out of it."""
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{name}: '{relative[:100]}' leads out of {root}; "
            "its files must lie under it, without '..', absolute paths or links to elsewhere"
        )
    return path
