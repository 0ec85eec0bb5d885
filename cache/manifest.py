"""The manifest: the pairs of a dataset, one row each, as Parquet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from cache.errors import DamagedError, UserError
from cache.files import digest_of_list, read_about, read_table, write_table
from cache.store import shown

FORMAT = "1"
SPLITS = ("train", "val", "test")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("text", pa.list_(pa.string())),
        ("label", pa.list_(pa.string())),
        ("split", pa.string()),
        ("bytes", pa.int64()),
        ("xxh3", pa.string()),
    ]
)


@dataclass(frozen=True)
class Manifest:
    """The pairs of a dataset, row by row.

    `name` is the dataset's, or the table's; `root` the folder of the pictures, relative to home where it can be;
    `images` are relative to `root`; `texts` are all captions, `labels` all classes of an item (none of any, in a
    dataset without classes); `splits` are train, val, test or None; `bytes` and `xxh3` (32 hex digits) are those of
    the picture's file.
    """

    name: str
    root: str
    ids: list[str]
    images: list[str]
    texts: list[list[str]]
    labels: list[list[str]]
    splits: list[str | None]
    bytes: list[int]
    xxh3: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """The digest of the name and all rows, 32 hex digits; where the pictures lie does not enter."""
        return digest_of_list([self.name, *self._columns()])

    @cached_property
    def classes(self) -> list[str]:
        """The class names, sorted."""
        return sorted({label for labels in self.labels for label in labels})

    def _columns(self) -> list[Sequence[object]]:
        return [self.ids, self.images, self.texts, self.labels, self.splits, self.bytes, self.xxh3]


def write_manifest(path: Path, manifest: Manifest, made_from: str) -> None:
    """Write a manifest whole; its metadata holds made_from, digest, name, root and format."""
    columns = dict(zip(SCHEMA.names, manifest._columns(), strict=True))
    about = {"made_from": made_from, "digest": manifest.digest, "name": manifest.name, "root": manifest.root}
    write_table(path, pa.table(columns, schema=SCHEMA), {**about, "format": FORMAT})


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; MissingError if it is absent, DamagedError if it is not what its digest says."""
    about = read_about(path)
    remedy = f"{shown(path)}: not a whole manifest of format {FORMAT}; delete it and run 'ingest'"
    if about.get("format") != FORMAT or not {"name", "root", "digest"} <= about.keys():
        raise DamagedError(remedy)
    table = read_table(path)
    if table.column_names != SCHEMA.names:
        raise DamagedError(remedy)
    manifest = Manifest(about["name"], about["root"], *(column.to_pylist() for column in table.columns))
    if manifest.digest != about["digest"]:
        raise DamagedError(remedy)
    return manifest


def check_manifest(manifest: Manifest) -> None:
    """Refuse what no later stage could use, with one line (UserError): what is wrong, how often, where first.

    No rows; an item without text; an item without label where another has one; ids that stand twice; an unknown
    split; an id or a picture's path that is empty, absolute, leads upwards, or holds NUL or what UTF-8 cannot say.
    One class, or none at all, is no fault here: only `split` needs two.
    """
    if not len(manifest):
        raise UserError(f"{manifest.name}: no items; look at the data and at the parameters of ingest")
    for what, values in (("image", manifest.images), ("id", manifest.ids)):
        _refuse(manifest, [i for i, value in enumerate(values) if not _is_safe(value)], _UNSAFE.format(what))
    _refuse(
        manifest, _blank(manifest.texts), "{} of {} items have no text, the first is {}; give it one or leave it out"
    )
    _refuse(
        manifest,
        _blank(manifest.labels) if manifest.classes else [],
        "{} of {} items have no label, the first is {}; give it one, leave it out, or leave out every label",
    )
    strange = [i for i, split in enumerate(manifest.splits) if split is not None and split not in SPLITS]
    _refuse(
        manifest,
        strange,
        "{} of {} items have a split other than train, val, test, the first is {}; mend it or leave it empty",
    )
    _check_unique(manifest)


_UNSAFE = "{{}} of {{}} items have an unusable {} (empty, absolute, with '..' or NUL), the first is {{}}; rename it"


def _refuse(manifest: Manifest, rows: list[int], text: str) -> None:
    if rows:
        raise UserError(f"{manifest.name}: {text.format(len(rows), len(manifest), repr(manifest.ids[rows[0]]))}")


def _is_safe(value: str) -> bool:
    """A relative path that stays below its root, in Unix and in Windows spelling alike."""
    parts = re.split(r"[\\/]", value)
    rooted = parts[0] == "" or re.match(r"[A-Za-z]:[\\/]", value)
    speakable = value.isprintable() or not re.search(r"[\0\ud800-\udfff]", value)
    return not rooted and ".." not in parts and speakable


def _blank(lists: Iterable[list[str]]) -> list[int]:
    return [i for i, items in enumerate(lists) if not items or any(not item.strip() for item in items)]


def _check_unique(manifest: Manifest) -> None:
    twice = [name for name, count in Counter(manifest.ids).items() if count > 1]
    if twice:
        raise UserError(
            f"{manifest.name}: {len(twice)} ids stand more than once, the first is '{twice[0]}'; make them unique"
        )
