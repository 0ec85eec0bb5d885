"""What is to be extracted, decided before the first byte moves: rows, shards, batches, keys. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from cache.errors import ParamsError
from cache.features import RowKind
from cache.files import digest_of_list
from cache.manifest import Manifest

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One row of a cache: the id, which caption or template of it, and what is encoded.

    `content` is a picture's path below the root, or a text; `digest` is that of the picture's bytes, "" for a text.
    """

    id: str
    caption: int
    content: str
    digest: str


@dataclass(frozen=True)
class Rows(Sequence[Row]):
    """Rows that are made when they are looked at, so that millions of them cost next to nothing.

    `made` gives the row at a place; a slice is as light as the whole. Another process gets a plain list.
    """

    made: Callable[[int], Row]
    places: range

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Row]:
        return map(self.made, self.places)

    @overload
    def __getitem__(self, at: int) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> Rows: ...

    def __getitem__(self, at: int | slice) -> Row | Rows:
        return Rows(self.made, self.places[at]) if isinstance(at, slice) else self.made(self.places[at])

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


@dataclass(frozen=True)
class Shard:
    """Rows [start, stop) of a cache, which become its part `index`."""

    index: int
    start: int
    stop: int


def rows_of(manifest: Manifest, templates: Sequence[str]) -> dict[RowKind, Sequence[Row]]:
    """The rows of the three caches of a dataset: pictures, captions, class names under the templates."""
    return {
        "image": image_rows(manifest),
        "text": text_rows(manifest),
        "name": name_rows(manifest.classes, templates),
    }


def image_rows(manifest: Manifest) -> Rows:
    """A row a picture."""

    def made(item: int) -> Row:
        return Row(manifest.ids[item], 0, manifest.images[item], manifest.xxh3[item])

    return Rows(made, range(len(manifest)))


def text_rows(manifest: Manifest) -> Rows:
    """A row a caption."""
    counts = np.fromiter(map(len, manifest.texts), np.int64, len(manifest))
    firsts = np.cumsum(counts) - counts

    def made(place: int) -> Row:
        item = int(np.searchsorted(firsts, place, "right")) - 1
        caption = place - int(firsts[item])
        return Row(manifest.ids[item], caption, manifest.texts[item][caption], "")

    return Rows(made, range(int(counts.sum())))


def name_rows(classes: Sequence[str], templates: Sequence[str]) -> list[Row]:
    """A row a class and template; ParamsError for a template without {}."""
    if empty := [t for t in templates if "{}" not in t]:
        raise ParamsError(f"'extract.templates': '{empty[0]}' has no place for the name; write {{}} there")
    return [Row(name, i, t.replace("{}", spoken(name)), "") for name in classes for i, t in enumerate(templates)]


def spoken(name: str) -> str:
    """A class name as words: lower case, blanks for `_` and `-`."""
    return name.lower().replace("_", " ").replace("-", " ")


def rows_digest(rows: Sequence[Row]) -> str:
    """The digest of all rows in their order, 32 hex digits."""
    return digest_of_list([row.id, row.caption, row.content, row.digest] for row in rows)


def plan_shards(n_rows: int, rows_per_shard: int, done: Collection[int]) -> list[Shard]:
    """The shards still to write, in order."""
    spans = enumerate(range(0, n_rows, rows_per_shard))
    return [Shard(i, lo, min(lo + rows_per_shard, n_rows)) for i, lo in spans if i not in done]


def shard_count(n_rows: int, rows_per_shard: int) -> int:
    """How many shards n rows make."""
    return -(-n_rows // rows_per_shard)


def batches(n_rows: int, batch: int) -> list[Places]:
    """The places of n rows in their order, `batch` at a time."""
    return [np.arange(lo, min(lo + batch, n_rows)) for lo in range(0, n_rows, batch)]


def batches_by_length(lengths: Sequence[int], batch: int) -> list[Places]:
    """The same, shortest rows first (ties in their order): a batch is then as narrow as its longest row."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    return [order[places] for places in batches(len(order), batch)]


def cache_content(rows: RowKind, digest: str, encoder: dict[str, Any], storage: str, tokens: str) -> dict[str, Any]:
    """All that decides the numbers of a cache, and nothing else: what its key is the digest of.

    `encoder` is name, weights, preprocessing or tokenizer, precision and device type. Neither rows_per_shard, batch
    nor workers are here.
    """
    return {
        "rows": rows,
        "rows_digest": digest,
        **encoder,
        "storage": storage,
        "tokens": tokens,
        "layer": None if tokens == "none" else "last",
    }
