"""Datasets that are known by name and have no reader in this release."""

from __future__ import annotations

from cache.errors import UserError
from cache.manifest import Manifest
from stages.ingest.datasets import find, missing
from stages.ingest.params import IngestParams
from stages.ingest.places import dataset_folder, from_home


def load(params: IngestParams) -> Manifest:
    """Always raises: MissingError where the data is absent, UserError where it is there and cannot be read yet."""
    folder = dataset_folder(params)
    place = from_home(folder, params.home)
    if not folder.is_dir():
        raise missing(find(params.dataset), place, place)
    raise UserError(
        f"{params.dataset}: this release reads it only through --dataset table; "
        f"name the pairs of {place} in a CSV file (docs/data.md)"
    )
