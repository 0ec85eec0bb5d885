"""Small artefacts for the tests of cache/: the same on every machine, and a cache of two parts built step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cache import shards
from cache.features import PART_NAME, Failure, Part, RowKind, file_names, finish, write_part
from cache.manifest import Manifest
from cache.store import folder_of, make_key


def some(shape: tuple[int, ...], dtype: type, start: int = 0) -> np.ndarray:
    """Sixteenths, exact in every float dtype."""
    return ((np.arange(np.prod(shape)).reshape(shape) + start) % 97 / 16).astype(dtype)


def small_part(rows: RowKind, number: int, n: int = 4, tokens: bool = True) -> Part:
    """Part `number` of a tiny cache: n rows, two patches or 1..n tokens a row, one failure."""
    lengths = [2] * n if rows == "image" else list(range(1, n + 1))
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    shape = (n, 2, 3) if rows == "image" else (int(offsets[-1]), 3)
    return Part(
        ids=[f"é{number}-{i}" for i in range(n)],
        captions=np.zeros(n, np.int32),
        n_tokens=np.array(lengths, np.int32),
        truncated=np.arange(n) % 2 == 1,
        tokens=some(shape, np.float16, 10 * number) if tokens else None,
        offsets=offsets if tokens and rows != "image" else None,
        pooled=some((n, 4), np.float32, number),
        pooled_raw=some((n, 5), np.float32, number),
        failures=[Failure(f"bad{number}", f"bad{number}.png", "UnidentifiedImageError", "not a picture")],
    )


def content_of(rows: RowKind) -> dict[str, object]:
    return {"rows": rows, "encoder": "tiny", "tokens": "joint"}


def features_folder(store: Path, rows: RowKind) -> Path:
    return folder_of(store, "features", make_key("features", content_of(rows)))


def begin_features(folder: Path, rows: RowKind, parts: int) -> None:
    about = {"rows": rows, "content": content_of(rows), "dims": {"tokens": 3, "pooled": 4, "pooled_raw": 5}}
    shards.begin(folder, about, file_names(parts))


def write_features(folder: Path, rows: RowKind, sizes: tuple[int, ...] = (4, 3), tokens: bool = True) -> list[str]:
    """What extract does, in small: begin, write what is unfinished, finish; returns the parts that it wrote."""
    begin_features(folder, rows, len(sizes))
    missing = shards.unfinished(folder)
    written = [i for i in range(len(sizes)) if PART_NAME(i) in missing]
    for i in written:
        finished = shards.temporary(folder)
        write_part(finished, small_part(rows, i, sizes[i], tokens))
        shards.record(folder, finished, PART_NAME(i), sizes[i])
    if missing:
        finish(folder)
    return [PART_NAME(i) for i in written]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip_bit(path: Path, at: float = 0.5) -> None:
    """Turn one bit of a file over, somewhere in it."""
    data = bytearray(path.read_bytes())
    data[int((len(data) - 1) * at)] ^= 0x10
    path.write_bytes(bytes(data))


def small_manifest(**changed: object) -> Manifest:
    columns: dict[str, object] = {
        "name": "tiny",
        "root": "data/raw",
        "ids": ["a", "b", "c"],
        "images": ["x/a.png", "x/b.png", "x/c.png"],
        "texts": [["a dog"], ["a cat", "a second cat"], ["both"]],
        "labels": [["dog"], ["cat"], ["cat", "dog"]],
        "splits": ["train", None, "test"],
        "bytes": [10, 20, 30],
        "xxh3": ["0" * 32, "1" * 32, "2" * 32],
    }
    return Manifest(**{**columns, **changed})  # type: ignore[arg-type]
