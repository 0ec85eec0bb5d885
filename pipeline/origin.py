"""Where a key of the store comes from: the ledger that names it, and the manifest that it was extracted from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cache.errors import MissingError, UsageError, UserError
from cache.files import read_about
from cache.manifest import Manifest, read_manifest
from cache.store import Ledger, folder_of, read_ledger, shown
from cache.verify import all_ledgers
from pipeline.setting import Setting
from pipeline.wiring import STAGES
from stages.progress import reporter


@dataclass(frozen=True)
class Origin:
    """A features ledger: where it lies, what it says, and the data/ or runs/ that it lies under."""

    path: Path
    ledger: Ledger
    base: Path


def key_with(store: Path, beginning: str) -> Path:
    """The folder of the one key in the store that begins so; UsageError where there is none, or more than one."""
    found = [path.parent for path in store.glob("*/*/cache.json") if path.parent.name.startswith(beginning)]
    if len(found) != 1:
        raise UsageError(f"{store}: {len(found)} keys begin with '{beginning}'; 'info' without a key lists them")
    return found[0]


def present_pictures(setting: Setting) -> Path:
    """The folder of the image cache that the ledger of the present dataset and encoder names; MissingError if none."""
    name = STAGES["extract"].artefacts(setting)[0]
    path = next((path for path in setting.places.to_read(name) if path.is_file()), None)
    if path is None:
        raise MissingError(
            f"{setting.params.dataset}: no features of {setting.label} yet; run 'extract', or name a key"
        )
    return folder_of(setting.places.store, "features", read_ledger(path).find(rows="image").key)


def origins(root: Path) -> Iterator[Origin]:
    """Every readable ledger of features under runs/ and data/, those of the prompt first; others are told of."""
    for base in (root / "runs", root / "data"):
        for path in all_ledgers(base):
            if path.is_relative_to(base / "features") and (ledger := _readable(path)):
                yield Origin(path, ledger, base)


def _readable(path: Path) -> Ledger | None:
    try:
        return read_ledger(path)
    except UserError as error:
        reporter().warn(str(error))
        return None


def datasets_by_key(root: Path) -> dict[str, str]:
    """The dataset, or datasets, of each key that a ledger of features names."""
    named: dict[str, list[str]] = {}
    for origin in origins(root):
        for key in origin.ledger.keys:
            named.setdefault(key.key, []).append(str(origin.ledger.about["dataset"]))
    return {key: ", ".join(dict.fromkeys(names)) for key, names in named.items()}


def origins_of(root: Path, key: str) -> list[Origin]:
    """The ledgers that name a key, those of the prompt first."""
    return [origin for origin in origins(root) if any(named.key == key for named in origin.ledger.keys)]


def manifest_of(found: list[Origin]) -> Manifest | None:
    """The manifest that some ledgers' caches were extracted from; None where none of them stands unchanged."""
    paths = (_manifest_path(origin) for origin in found)
    path = next((path for path in paths if path), None)
    return read_manifest(path) if path else None


def _manifest_path(origin: Origin) -> Path | None:
    dataset = origin.path.relative_to(origin.base / "features").parts[0]
    for base in (origin.base, origin.base.parent / "runs", origin.base.parent / "data"):
        path = base / "manifests" / f"{dataset}.parquet"
        if path.is_file() and read_about(path).get("digest") == origin.ledger.about["manifest"]:
            return path
    return None


def require_manifest(root: Path, folder: Path) -> Manifest:
    """The manifest of a feature cache; MissingError where no ledger names the cache, or its manifest is gone."""
    found = origins_of(root, folder.name)
    if not found:
        raise MissingError(f"{shown(folder)}: no ledger under runs/ or data/ names it; run its 'extract' again")
    manifest = manifest_of(found)
    if manifest is None:
        raise MissingError(f"{shown(found[0].path)}: the manifest that it was made from is gone; run 'extract' again")
    return manifest
