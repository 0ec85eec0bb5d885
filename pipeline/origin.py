"""Where a key of the store comes from: the ledger that names it, and the manifest that it was extracted from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import MissingError, UsageError, UserError
from cache.files import read_about, read_json
from cache.manifest import Manifest, read_manifest
from cache.store import Ledger, folder_of, read_ledger, shown
from cache.verify import all_ledgers
from pipeline.setting import Setting
from pipeline.wiring import STAGES
from stages.extract.plan import rows_digest, rows_of
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


def datasets_by_key(setting: Setting) -> dict[str, str]:
    """The dataset, or datasets, of each key of features: by the ledgers that name it, or by its rows."""
    named: dict[str, list[str]] = {}
    for origin in origins(setting.places.root):
        for key in origin.ledger.keys:
            named.setdefault(key.key, []).append(str(origin.ledger.about["dataset"]))
    abouts = sorted(setting.places.store.glob("features/*/cache.json"))
    unnamed = [path.parent for path in abouts if path.parent.name not in named]
    named |= {key: [manifest.name for manifest in found] for key, found in _by_rows(setting, unnamed).items()}
    return {key: ", ".join(dict.fromkeys(names)) for key, names in named.items()}


def origins_of(root: Path, key: str) -> list[Origin]:
    """The ledgers that name a key, those of the prompt first."""
    return [origin for origin in origins(root) if any(named.key == key for named in origin.ledger.keys)]


def manifest_of(setting: Setting, folder: Path) -> Manifest | None:
    """The manifest of a feature cache: the one that a ledger of it names, else one that has the cache's rows, for a
    ledger is replaced when its encoder is run with other parameters. None where neither stands."""
    found = origins_of(setting.places.root, folder.name)
    path = next((path for origin in found if (path := _manifest_path(origin))), None)
    if path:
        return read_manifest(path)
    return next(iter(_by_rows(setting, [folder]).get(folder.name, [])), None)


def _by_rows(setting: Setting, folders: Sequence[Path]) -> dict[str, list[Manifest]]:
    """The manifests that stand here and have the rows of some feature caches, by key; names under the present
    templates."""
    contents = {folder.name: read_json(folder / "cache.json").get("content", {}) for folder in folders}
    found: dict[str, list[Manifest]] = {}
    for manifest in _manifests(setting.places.root) if contents else ():
        digests = _rows_digests(setting, manifest, {content.get("rows") for content in contents.values()})
        for key, content in contents.items():
            if content.get("rows_digest") in digests:
                found.setdefault(key, []).append(manifest)
    return found


def _rows_digests(setting: Setting, manifest: Manifest, kinds: Collection[str]) -> set[str]:
    rows = rows_of(manifest, setting.params.extract.templates)
    return {rows_digest(rows[kind]) for kind in rows if kind in kinds}


def _manifests(root: Path) -> Iterator[Manifest]:
    """Every readable manifest under runs/ and data/, those of the prompt first; others are told of."""
    for base in (root / "runs", root / "data"):
        for path in sorted((base / "manifests").glob("*.parquet")):
            try:
                yield read_manifest(path)
            except UserError as error:
                reporter().warn(str(error))


def _manifest_path(origin: Origin) -> Path | None:
    """Where the manifest stands, unchanged, that a ledger names."""
    said = origin.ledger.about["manifest"]
    return next((path for path in _manifest_paths(origin) if read_about(path).get("digest") == said), None)


def _manifest_paths(origin: Origin) -> list[Path]:
    """The manifests that stand where the one of a ledger stood."""
    dataset = origin.path.relative_to(origin.base / "features").parts[0]
    bases = dict.fromkeys((origin.base, origin.base.parent / "runs", origin.base.parent / "data"))
    return [path for base in bases if (path := base / "manifests" / f"{dataset}.parquet").is_file()]


def require_manifest(setting: Setting, folder: Path) -> Manifest:
    """The manifest of a feature cache; MissingError where none that stands has its rows: never known, gone, or
    replaced by another table's."""
    if manifest := manifest_of(setting, folder):
        return manifest
    found = origins_of(setting.places.root, folder.name)
    if not found:
        what = "no ledger names it, and no manifest under runs/ or data/ has its rows"
        raise MissingError(f"{shown(folder)}: {what}; run 'ingest' on what it was extracted from")
    if others := _manifest_paths(found[0]):
        what = f"made from another table than {shown(others[0])} holds now"
        raise MissingError(f"{shown(found[0].path)}: {what}; run 'ingest' on that one, or 'extract' on this")
    raise MissingError(f"{shown(found[0].path)}: the manifest that it was made from is gone; run 'extract' again")
