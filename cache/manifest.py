"""The manifest: the pairs of a dataset, one row each, as Parquet."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from cache.errors import DamagedError, UserError, counted, shortened
from cache.files import CHUNK, canonical, digest_of_list, read_about, read_table, write_through
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
    the picture's file. Imported features have no pictures: `images` are empty, and both are those of the image vector.
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
    write_blocks(path, manifest.name, manifest.root, [manifest], made_from)


def write_blocks(path: Path, name: str, root: str, blocks: Iterable[Manifest], made_from: str) -> None:
    """The same of a manifest that comes in blocks of rows, no more than one of which is in memory; where they end in an
    error, nothing is written."""
    write_through(path, lambda part: _write_blocks(part, name, root, blocks, made_from))


def _write_blocks(part: Path, name: str, root: str, blocks: Iterable[Manifest], made_from: str) -> None:
    with ExitStack() as opened:
        texts = [opened.enter_context(TemporaryFile(dir=part.parent)) for _ in SCHEMA.names]
        writer = opened.enter_context(pq.ParquetWriter(part, SCHEMA, write_page_checksum=True, compression="zstd"))
        for block in blocks:
            columns = block._columns()
            writer.write_table(pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA))
            for text, column in zip(texts, columns, strict=True):
                _add_text(text, column)
        about = {"made_from": made_from, "digest": _digest_of_texts(name, texts), "name": name, "root": root}
        writer.add_key_value_metadata({**about, "format": FORMAT})


def _add_text(text: IO[bytes], column: Sequence[object]) -> None:
    """Add some rows of a column to its JSON text, the brackets round it left out."""
    if column:
        text.write(b"," * bool(text.tell()) + canonical(list(column))[1:-1])


def _digest_of_texts(name: str, texts: Sequence[IO[bytes]]) -> str:
    """Manifest.digest, of the JSON texts of the columns: each lies in a file, since they are hashed one by one."""
    hasher = xxhash.xxh3_128(b"[" + canonical(name))
    for text in texts:
        hasher.update(b",[")
        text.seek(0)
        while read := text.read(CHUNK):
            hasher.update(read)
        hasher.update(b"]")
    hasher.update(b"]")
    return hasher.hexdigest()


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


def check_manifest(manifest: Manifest, bare: bool = False) -> None:
    """Refuse what no later stage could use, with one line (UserError): what is wrong, how often, where first.

    No rows; an item without text; an item without label where another has one; ids that stand twice; an unknown
    split; an id or a picture's path that is empty, absolute, leads upwards, or holds NUL or what UTF-8 cannot say.
    One class, or none at all, is no fault here: only `split` needs two. bare: features came without their pictures and
    texts, so that neither a picture's path nor a text is asked for.
    """
    check_blocks(manifest.name, lambda: [manifest], bare)


def check_blocks(name: str, blocks: Callable[[], Iterable[Manifest]], bare: bool = False) -> int:
    """The same of a manifest that comes in blocks of rows, anew at each call; returns how many rows there are."""
    faults = {kind: _Fault() for kind in _FAULTS}
    rows, labelled, ids = 0, False, array("Q")
    for block in blocks():
        rows += len(block)
        ids.extend(_short(block.ids))
        labelled = labelled or any(block.labels)
        for kind, found in _faulty(block, bare).items():
            faults[kind].add(block, found)
    if not rows:
        raise UserError(f"{name}: no items; look at the data and at the parameters of ingest")
    for kind, fault in faults.items():
        if fault.count and (kind != "label" or labelled):
            have = "has" if fault.count == 1 else "have"
            raise UserError(
                f"{name}: {fault.count} of {rows} items {have} {_FAULTS[kind].format(repr(shortened(fault.first)))}"
            )
    if twice := _repeated(ids, lambda: (block.ids for block in blocks())):
        many = counted(len(twice), "id stands", "ids stand")
        raise UserError(
            f"{name}: {many} more than once, the first is '{shortened(twice[0])}'; give each row an id of its own"
        )
    return rows


def repeated(blocks: Callable[[], Iterable[Sequence[str]]]) -> list[str]:
    """The words that stand more than once in blocks of words, in the order in which they first stand there.

    Eight bytes a word are kept; the words themselves are looked at again only where two have the same."""
    short = array("Q")
    for words in blocks():
        short.extend(_short(words))
    return _repeated(short, blocks)


def _short(words: Iterable[str]) -> Iterator[int]:
    return (xxhash.xxh3_64_intdigest(word.encode(errors="surrogatepass")) for word in words)


def _repeated(short: array[int], blocks: Callable[[], Iterable[Sequence[str]]]) -> list[str]:
    """The same, of words whose eight bytes are known."""
    found, counts = np.unique(np.array(short, np.uint64), return_counts=True)
    doubtful = set(found[counts > 1].tolist())
    if not doubtful:
        return []
    looked_at = (word for words in blocks() for word, own in zip(words, _short(words), strict=True) if own in doubtful)
    return [word for word, times in Counter(looked_at).items() if times > 1]


_UNSAFE = "an unusable {} (empty, absolute, with '..' or NUL), the first is {{}}; {}"
_FAULTS = {  # in the order in which they are told of
    "image": _UNSAFE.format("image", "name its picture's file"),
    "id": _UNSAFE.format("id", "give it an id of its own"),
    "text": "no text, the first is {}; give it one or leave it out",
    "label": "no label, the first is {}; give it one, leave it out, or leave out every label",
    "split": "a split other than train, val, test, the first is {}; mend it or leave it empty",
}


@dataclass
class _Fault:
    """How many rows have a fault, and the id of the first."""

    count: int = 0
    first: str = ""

    def add(self, block: Manifest, rows: list[int]) -> None:
        """Count the rows of a block that have it."""
        if rows and not self.count:
            self.first = block.ids[rows[0]]
        self.count += len(rows)


def _faulty(block: Manifest, bare: bool) -> dict[str, list[int]]:
    """The rows of a block that have a fault, by its kind."""
    splits = {None, *SPLITS}
    return {
        "image": [] if bare else _unsafe(block.images),
        "id": _unsafe(block.ids),
        "text": [] if bare else _blank(block.texts),
        "label": _blank(block.labels),
        "split": [i for i, split in enumerate(block.splits) if split not in splits],
    }


_LEADS_OUT = re.compile(r"^$|^[\\/]|^[A-Za-z]:[\\/]|(?:^|[\\/])\.\.(?:[\\/]|\Z)|[\0\ud800-\udfff]")


def _unsafe(values: Iterable[str]) -> list[int]:
    """Where what should be a relative path leads out of its root, in Unix's or in Windows' spelling."""
    return [i for i, value in enumerate(values) if _LEADS_OUT.search(value)]


def _blank(lists: Iterable[list[str]]) -> list[int]:
    return [i for i, items in enumerate(lists) if not items or any(not item.strip() for item in items)]
