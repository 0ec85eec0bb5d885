"""The formats that features come in, each opened as a Source of arrays and columns by name."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cache.errors import UsageError, UserError, counted
from stages.imported.arrays import Ragged, Source, joined, load_array, no_pickle, plainly, ragged
from stages.imported.matlab import open_mat
from stages.imported.params import FeaturesSection

OFFSETS = "_offsets"  # beside an array of the same name: where its rows begin, and where the last one ends
IMAGES, TEXTS, METADATA = "img_emb", "text_emb", "metadata"  # the folders that clip-retrieval writes


def open_source(path: Path, where: str, section: FeaturesSection) -> Source:
    """Open a file by its ending, or a folder by what lies in it; UsageError for one of no known kind."""
    suffix = path.suffix.lower()
    with plainly(where, f"{suffix} file" if suffix in FORMATS else "folder"):
        if path.is_dir():
            theirs = any((path / name).is_dir() for name in (IMAGES, TEXTS, METADATA))
            return _open_clip_retrieval(path, where, section) if theirs else _open_folder(path, where)
        if suffix not in FORMATS:
            alone = "; of .npy files name the folder" if suffix == ".npy" else "; name one of these"
            raise UsageError(
                f"{where}: features come as {', '.join(FORMATS)}, as a folder of .npy files, or as the folder that "
                f"clip-retrieval writes{alone}"
            )
        return FORMATS[suffix](path, where)


def _open_npz(path: Path, where: str) -> Source:
    zipfile.ZipFile(path).close()  # numpy would take what is none for a pickle
    file = np.load(path, allow_pickle=False)
    return with_ragged(Source(where, {name: partial(_member, where, file, name) for name in file.files}))


def _member(where: str, file: Any, name: str) -> Any:
    array = load_array(where, name, lambda: file[name])
    if not isinstance(array, np.ndarray):  # numpy hands over the bytes of what else lies in the archive
        raise UserError(f"{where}: '{name}' in it is no array; write it with numpy.savez")
    return no_pickle(where, name, array)


def _open_folder(path: Path, where: str) -> Source:
    """A folder with an .npy file an array, mapped."""
    files = sorted(file for file in path.iterdir() if file.suffix == ".npy")  # glob takes what is shut for empty
    if not files:
        raise UserError(
            f"{where}: no .npy file and no folder {IMAGES} in it; put image.npy and text.npy there, or name a file"
        )
    return with_ragged(Source(where, {file.stem: partial(_mapped, where, file) for file in files}))


def _mapped(where: str, file: Path) -> Any:
    with plainly(f"{where}/{file.name}", ".npy file"), file.open("rb") as opened:
        np.lib.format.read_magic(opened)  # numpy takes what has none for a pickle
        array = load_array(where, file.name, lambda: np.load(file, mmap_mode="r", allow_pickle=False))
    return no_pickle(where, file.name, array)


def _open_hdf5(path: Path, where: str) -> Source:
    file = h5py.File(path, "r")
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return with_ragged(Source(where, {name: partial(_dataset, where, file[name], name) for name in found}))


def _dataset(where: str, dataset: Any, name: str) -> Any:
    """A dataset, read when it is sliced; text as a list."""
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return dataset.asstr()[()].tolist()
    if dataset.dtype.hasobject:
        raise UserError(f"{where}: '{name}' holds objects; store numbers, ragged ones flat with '{name}{OFFSETS}'")
    return dataset


def with_ragged(source: Source) -> Source:
    """The source with every array that has offsets beside it as a Ragged."""
    held = dict(source.held)
    for name in source.held:
        if name + OFFSETS in source.held:
            held[name] = partial(_ragged, source, name)
            del held[name + OFFSETS]
    return Source(source.where, held)


def _ragged(source: Source, name: str) -> Ragged:
    values, offsets = source.held[name](), np.asarray(source.held[name + OFFSETS]())
    whole = offsets.ndim == 1 and len(offsets) and offsets[0] == 0 and offsets[-1] == len(values)
    if not whole or (np.diff(offsets.astype(np.int64)) < 0).any():
        raise UserError(
            f"{source.where}: '{name}{OFFSETS}' must be n + 1 growing numbers from 0 to {len(values)}, "
            f"the rows of '{name}'"
        )
    return Ragged(values, offsets.astype(np.int64))


def _open_parquet(path: Path, where: str) -> Source:
    """The columns of a table; UserError where it has no rows, of which many a column has no type."""
    if not pq.read_metadata(path).num_rows:
        raise UserError(f"{where}: no items; look at the data and at the parameters of ingest")
    return _of_columns(where, lambda name: pq.read_table(path, columns=[name]), [pq.read_schema(path)])


def _of_columns(where: str, read: Callable[[str], pa.Table], schemas: list[pa.Schema]) -> Source:
    names = dict.fromkeys(name for schema in schemas for name in schema.names)
    kept = [name for name in names if not name.startswith("__index_level")]  # what pandas leaves behind
    return Source(where, {name: partial(_column, where, read, name) for name in kept})


def _column(where: str, read: Callable[[str], pa.Table], name: str) -> Any:
    """A column: lists of numbers as (n, d), lists of such lists as Ragged, all else as a list of cells."""
    column = read(name).column(name).combine_chunks()
    column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    if not _is_list(column.type) or _is_word(column.type.value_type):
        return column.to_pylist()
    if _is_list(column.type.value_type):
        return ragged([row or [] for row in column.to_pylist()])
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) > 1 or column.null_count:
        raise UserError(f"{where}: column '{name}' has vectors of different lengths or none; they must have one width")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_word(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _open_clip_retrieval(path: Path, where: str, section: FeaturesSection) -> Source:
    """The folder that clip-retrieval writes: both arrays under the names asked for, and the columns of its metadata."""
    arrays = {section.image: _parts(path, where, IMAGES, "npy"), section.text: _parts(path, where, TEXTS, "npy")}
    tables = _parts(path, where, METADATA, "parquet")
    for folder, files in ((IMAGES, arrays[section.image]), (TEXTS, arrays[section.text])):
        if len(files) != len(tables):
            raise UserError(
                f"{where}: {counted(len(files), 'part')} in {folder}, {len(tables)} in {METADATA}; write it again"
            )
    schemas = [pq.read_schema(file) for file in tables]
    columns = _of_columns(where, partial(_metadata, tables, schemas), schemas)
    held = {name: partial(_joined, where, files) for name, files in arrays.items()}
    return Source(where, {**columns.held, **held})


def _metadata(files: list[Path], schemas: list[pa.Schema], name: str) -> pa.Table:
    """A column of all parts; each part has the types, and the columns, that its own rows have."""
    parts = [
        pq.read_table(file, columns=[name])
        if name in schema.names
        else pa.table({name: pa.nulls(pq.read_metadata(file).num_rows)})
        for file, schema in zip(files, schemas, strict=True)
    ]
    return pa.concat_tables(parts, promote_options="permissive")


def _joined(where: str, files: list[Path]) -> Any:
    return joined([_mapped(where, file) for file in files])


def _parts(path: Path, where: str, folder: str, suffix: str) -> list[Path]:
    """The numbered parts of one folder, by number; UserError where there is none, or one is gone."""
    if not (path / folder).is_dir():
        both = "run clip-retrieval with --enable_image True --enable_text True"
        raise UserError(f"{where}: the folder {folder} is missing; {both}")
    pattern = re.compile(rf"{folder}_(\d+)\.{suffix}")
    found = {int(m[1]): file for file in (path / folder).iterdir() if (m := pattern.fullmatch(file.name))}
    lost = sorted(set(range(max(found, default=0) + 1)) - set(found))
    if lost:
        raise UserError(f"{where}: {folder}/{folder}_{lost[0]}.{suffix} is missing; clip-retrieval writes one a part")
    return [found[number] for number in sorted(found)]


FORMATS: dict[str, Callable[[Path, str], Source]] = {
    ".mat": open_mat,
    ".npz": _open_npz,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".parquet": _open_parquet,
    ".pq": _open_parquet,
}
