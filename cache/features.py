"""Feature caches: parts of contiguous HDF5, the index over them, and the reader that maps them into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from cache import shards
from cache.errors import MissingError
from cache.files import read_table, write_table
from cache.hdf5 import Array, map_arrays, strings_of, text_array, write_arrays
from cache.store import shown

Modality = Literal["image", "text"]
RowKind = Literal["image", "text", "name"]
INDEX, FAILED = "index.parquet", "failed.parquet"
REMEDY = "verify --mend"

PART_NAME: Callable[[int], str] = "part-{:05d}.h5".format
"""The file name of the i-th part."""


def file_names(parts: int) -> list[str]:
    """The files of a feature cache of so many parts, as cache.json lists them."""
    return [*(PART_NAME(i) for i in range(parts)), INDEX, FAILED]


@dataclass(frozen=True)
class Failure:
    """A row that could not be used: its id, the file's path, the class of the error, and its message."""

    id: str
    path: str
    error: str
    message: str


@dataclass
class Part:
    """The features of n rows, and the rows that failed.

    captions int32 (n,): which caption, or template, of the id; n_tokens int32 (n,); truncated bool (n,);
    tokens (n, P, D) for images, (sum T, D) with offsets int64 (n+1,) for texts and names, None where none are kept;
    pooled (n, d) float32, not normalised; pooled_raw (n, D0) float32, before the projection, or None.
    """

    ids: list[str]
    captions: Array
    n_tokens: Array
    truncated: Array
    tokens: Array | None
    offsets: Array | None
    pooled: Array
    pooled_raw: Array | None
    failures: list[Failure] = field(default_factory=list)


def write_part(path: Path, part: Part) -> None:
    """Write a part as one HDF5 file, bit-identical for equal input; ValueError if its arrays disagree.

    `path` is a temporary that `shards.record` names; on any error nothing is left there, UserError on a full disk.
    """
    arrays = _arrays_of(part)
    with shards.room(path.parent):
        write_arrays(path, arrays)


def _arrays_of(part: Part) -> dict[str, Array]:
    """The arrays of a part by name, as a file has them."""
    _agree(part)
    optional = {"tokens": part.tokens, "offsets": part.offsets, "pooled_raw": part.pooled_raw}
    columns = zip(*map(astuple, part.failures), strict=True) if part.failures else ((), (), (), ())
    return {
        "id": text_array(part.ids),
        "caption": np.asarray(part.captions, np.int32),
        "n_tokens": np.asarray(part.n_tokens, np.int32),
        "truncated": np.asarray(part.truncated, np.bool_),
        "pooled": np.asarray(part.pooled, np.float32),
        **{name: array for name, array in optional.items() if array is not None},
        **{f"failed_{name}": text_array(column) for name, column in zip(_FAILURE, columns, strict=True)},
    }


_FAILURE = ("id", "path", "error", "message")


def _agree(part: Part) -> None:
    n = len(part.ids)
    rows = (part.captions, part.n_tokens, part.truncated, part.pooled)
    if any(len(array) != n for array in rows) or (part.pooled_raw is not None and len(part.pooled_raw) != n):
        raise ValueError(f"the arrays of a part of {n} ids have other lengths")
    if part.tokens is None:
        return
    if part.offsets is None and part.tokens.shape[:1] != (n,):
        raise ValueError(f"tokens {part.tokens.shape} are not those of {n} rows")
    if part.offsets is not None and (
        part.offsets.shape != (n + 1,)
        or part.offsets[-1] != len(part.tokens)
        or not np.array_equal(np.diff(part.offsets), part.n_tokens)
    ):
        raise ValueError("offsets, tokens and n_tokens of a part disagree")


def finish(folder: Path) -> pa.Table:
    """Build index.parquet and failed.parquet from the recorded parts and record them; returns the index.

    For the leader, once every part is recorded; ValueError before that. Doing it again gives the same bytes.
    """
    parts = _part_names(shards.about_of(folder))
    if missing := set(parts) - set(shards.recorded(folder)):
        raise ValueError(f"{min(missing)} is not recorded yet")
    arrays = [map_arrays(folder / name) for name in parts]
    index = pa.concat_tables([_INDEX.empty_table(), *(_index_rows(i, part) for i, part in enumerate(arrays))])
    failed = pa.concat_tables([_FAILED.empty_table(), *(_failed_rows(part) for part in arrays)])
    for name, table in ((INDEX, index), (FAILED, failed)):
        written = shards.temporary(folder)
        with shards.room(folder):
            write_table(written, table, {"format": str(shards.FORMAT)})
        shards.record(folder, written, name, table.num_rows)
    return index


_INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("caption", pa.int32()),
        ("n_tokens", pa.int32()),
        ("truncated", pa.bool_()),
        ("part", pa.int32()),
        ("row", pa.int32()),
    ]
)
_FAILED = pa.schema([(name, pa.string()) for name in _FAILURE])


def _part_names(about: dict[str, Any]) -> list[str]:
    return [name for name in about["files"] if name.endswith(".h5")]


def _index_rows(number: int, part: dict[str, Array]) -> pa.Table:
    ids = strings_of(part["id"])
    columns = [ids, *(np.asarray(part[name]) for name in ("caption", "n_tokens", "truncated"))]
    place = [np.full(len(ids), number, np.int32), np.arange(len(ids), dtype=np.int32)]
    return pa.table(dict(zip(_INDEX.names, [*columns, *place], strict=True)), schema=_INDEX)


def _failed_rows(part: dict[str, Array]) -> pa.Table:
    return pa.table({name: strings_of(part[f"failed_{name}"]) for name in _FAILURE}, schema=_FAILED)


class FeatureCache:
    """A whole feature cache, read only. Row i is row i of `index`; mappings survive fork and pickle."""

    def __init__(self, path: Path, about: dict[str, Any], lines: dict[str, shards.ShardLine], verify: bool) -> None:
        self.path = path
        self.about = about
        self.rows_kind: RowKind = about["rows"]
        self._lines = lines
        self._verify = verify
        self._names = _part_names(about)
        self._maps: dict[int, dict[str, Array]] = {}
        self._columns: dict[str, pa.ChunkedArray] = {}
        self._compared: set[str] = set()

    @classmethod
    def open(cls, path: Path, verify: bool = False) -> FeatureCache:
        """Open a cache: every file is there with its size, cache.json with its digest; MissingError or DamagedError.

        With `verify` each file is compared with its digest when it is first read, a part when the first of its rows
        is, and a damaged one is refused by the same DamagedError: what comes of `pooled`, `tokens`, ... is sound.
        """
        about, lines = shards.require_whole(Path(path), REMEDY)
        return cls(Path(path), about, lines, verify)

    @classmethod
    def of_part(cls, rows: RowKind, part: Part, content: dict[str, Any]) -> FeatureCache:
        """A cache of one part that is in memory and nowhere else: for rows that are asked about and not kept.

        content: what cache.json would say decides its numbers. It cannot be sent to another process."""
        arrays = _arrays_of(part)
        found = cls(Path("memory"), {"rows": rows, "content": content, "files": [PART_NAME(0)]}, {}, False)
        found._maps[0] = arrays
        found._columns = dict(zip(_INDEX.names, _index_rows(0, arrays).columns, strict=True))
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureCache.open, (self.path, self._verify)

    def __len__(self) -> int:
        return len(self._part)

    @property
    def index(self) -> pa.Table:
        """id, caption, n_tokens, truncated, part, row of every row."""
        return self.columns(_INDEX.names)

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Some columns of the index, of every row; those that nobody asked for are never read."""
        if new := [name for name in names if name not in self._columns]:
            read = self._table(INDEX, new)
            self._columns |= {name: read[name] for name in new}
        return pa.table({name: self._columns[name] for name in names})

    @cached_property
    def failed(self) -> pa.Table:
        """id, path, error, message of every row that could not be used."""
        return self._table(FAILED, _FAILED.names)

    def _table(self, name: str, columns: Sequence[str]) -> pa.Table:
        return read_table(self._sound(name), list(columns))

    @cached_property
    def ids(self) -> list[str]:
        """The id of every row; a text cache has an id once a caption, a name cache once a template."""
        ids: list[str] = self.columns(["id"])["id"].to_pylist()
        return ids

    @cached_property
    def _part(self) -> Array:
        return np.asarray(self.columns(["part"])["part"].to_numpy())

    @cached_property
    def _row(self) -> Array:
        return np.asarray(self.columns(["row"])["row"].to_numpy())

    @property
    def has_tokens(self) -> bool:
        """Whether tokens were kept (extract.tokens is not none)."""
        return "tokens" in self._first

    def tokens(self, rows: Iterable[int] | Array) -> Array | tuple[Array, Array]:
        """The tokens of some rows, in the order asked, as stored (float16 or float32).

        Images: (B, P, D). Texts and names: (values (sum T, D), offsets int64 (B+1,)), row b having
        values[offsets[b]:offsets[b+1]]. MissingError if none were kept, IndexError for a row that is not there.
        """
        if not self.has_tokens:
            raise MissingError(
                f"{shown(self.path)}: no tokens here; set extract.tokens to joint or raw and run 'extract'"
            )
        rows = np.asarray(rows, np.int64)
        places = list(zip(self._part[rows].tolist(), self._row[rows].tolist(), strict=True))
        return self._ragged(places) if "offsets" in self._first else self._dense(places)

    def _dense(self, places: list[tuple[int, int]]) -> Array:
        like = self._like("tokens")
        out = np.empty((len(places), *like.shape[1:]), like.dtype)
        for i, (part, row) in enumerate(places):  # a copy a row: one gather would make a second copy of the batch
            out[i] = self._arrays(part)["tokens"][row]
        return out

    def _ragged(self, places: list[tuple[int, int]]) -> tuple[Array, Array]:
        spans = [(part, *self._arrays(part)["offsets"][row : row + 2].tolist()) for part, row in places]
        offsets = np.cumsum([0, *(end - begin for _, begin, end in spans)], dtype=np.int64)
        like = self._like("tokens")
        values = np.empty((int(offsets[-1]), *like.shape[1:]), like.dtype)
        for at, (part, begin, end) in zip(offsets.tolist(), spans, strict=False):
            values[at : at + end - begin] = self._arrays(part)["tokens"][begin:end]
        return values, offsets

    def pooled(self) -> Array:
        """The pooled vectors of all rows (N, d) float32, as the encoder gives them, not normalised."""
        return self._all("pooled")

    def pooled_raw(self) -> Array | None:
        """The towers' pooled vectors before the projection (N, D0) float32; None where the encoder is not aligned."""
        return self._all("pooled_raw") if "pooled_raw" in self._first else None

    def _all(self, name: str) -> Array:
        filled = [a for i in range(len(self._names)) if len(a := self._arrays(i)[name])]
        return np.concatenate(filled) if filled else np.array(self._like(name))

    def _like(self, name: str) -> Array:
        """The first part's array that has rows: a part whose rows all failed may not know their width."""
        parts = (self._arrays(i)[name] for i in range(len(self._names)))
        return next((a for a in parts if len(a)), self._first[name])

    @property
    def _first(self) -> dict[str, Array]:
        """The arrays of the first part, whose names all parts share; those of no rows where there is no part."""
        return self._arrays(0) if self._names else _nothing(self.rows_kind, self.about)

    def _arrays(self, part: int) -> dict[str, Array]:
        if part not in self._maps:
            self._maps[part] = map_arrays(self._sound(self._names[part]))
        return self._maps[part]

    def _sound(self, name: str) -> Path:
        """Where a file lies, once its bytes were compared with its digest if that is wanted."""
        if self._verify and name not in self._compared:
            shards.require_sound_file(self.path, self._lines[name])
            self._compared.add(name)
        return self.path / name


def _nothing(rows: RowKind, about: dict[str, Any]) -> dict[str, Array]:
    """The arrays of a part without rows, of the widths that cache.json names."""
    dims, storage = about["dims"], about["content"]["storage"]
    arrays = {name: np.empty((0, dims[name]), np.float32) for name in ("pooled", "pooled_raw") if dims[name]}
    if dims["tokens"] and rows == "image":
        return arrays | {"tokens": np.empty((0, dims["tokens_an_image"], dims["tokens"]), storage)}
    if dims["tokens"]:
        return arrays | {"tokens": np.empty((0, dims["tokens"]), storage), "offsets": np.zeros(1, np.int64)}
    return arrays
