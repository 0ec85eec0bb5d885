"""Whole files: digests, and writes that are seen complete or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from cache.errors import DamagedError, MissingError, one_line

CHUNK = 1 << 22  # bytes read at a time when a file is hashed


def digest_bytes(data: bytes) -> str:
    """xxh3-128 of some bytes, 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(data)


def digest_file(path: Path) -> str:
    """xxh3-128 of a file, 32 hex digits, read in blocks."""
    with path.open("rb") as file:
        return digest_open(file)


def digest_open(file: IO[bytes], block: int = CHUNK) -> str:
    """xxh3-128, 32 hex digits, of what is left to read in an open file, read in blocks of so many bytes."""
    hasher = xxhash.xxh3_128()
    while read := file.read(block):
        hasher.update(read)
    return hasher.hexdigest()


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: Any) -> str:
    """xxh3-128 of a JSON value in its canonical form; the same value has the same digest on every machine."""
    return digest_bytes(canonical(value))


def digest_of_list(values: Iterable[Any]) -> str:
    """The same as digest_of(list(values)), without their whole text in memory at once."""
    hasher = xxhash.xxh3_128(b"[")
    for number, value in enumerate(values):
        hasher.update(b"," * bool(number) + canonical(value))
    hasher.update(b"]")
    return hasher.hexdigest()


def temporary(beside: Path) -> Path:
    """A name in the same folder that no reader takes for a finished file: tmp-<pid>-<random>."""
    return beside.parent / f"tmp-{os.getpid()}-{secrets.token_hex(4)}"


def sync_file(path: Path) -> None:
    """Bring a file's bytes to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_whole(finished: Path, target: Path) -> None:
    """Give a finished temporary file its name: fsync, os.replace, fsync of the folder."""
    sync_file(finished)
    os.replace(finished, target)
    sync_folder(target.parent)


def write_through(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, then give it its name; on any error nothing is left behind.

    An OSError names the target: its own file is a temporary that says nothing, or none, where fsync or write failed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(target)
    try:
        write(part)
        replace_whole(part, target)
    except OSError as error:
        error.filename = str(target)
        raise
    finally:
        part.unlink(missing_ok=True)


def write_bytes(target: Path, data: bytes) -> None:
    """Write a small file whole."""
    write_through(target, lambda part: _dump(part, data))


def _dump(part: Path, data: bytes) -> None:
    part.write_bytes(data)


def write_json(target: Path, value: Any) -> None:
    """Write a JSON file whole: indented, sorted keys, a newline at the end."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_bytes(target, text.encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; MissingError or DamagedError say what is wrong with it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedError(f"{path}: not valid JSON; delete it and run the command that makes it") from error


def write_table(target: Path, table: pa.Table, about: dict[str, str]) -> None:
    """Write a Parquet file whole, with page checksums; `about` goes into its metadata."""
    kept = {k: v for k, v in (table.schema.metadata or {}).items() if k == b"ARROW:schema"}
    table = table.replace_schema_metadata({**kept, **{k.encode(): v.encode() for k, v in about.items()}})
    write_through(target, lambda part: pq.write_table(table, part, write_page_checksum=True, compression="zstd"))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a Parquet file is read into one line for a person."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file") from error
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(
            f"{path}: cannot be read ({one_line(error)}); delete it and run the command that makes it"
        ) from error


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file, or some of its columns, with its page checksums verified; MissingError or DamagedError."""
    with _reading(path):
        return pq.read_table(path, columns=columns, page_checksum_verification=True)


def read_about(path: Path) -> dict[str, str]:
    """The metadata that write_table put into a Parquet file, without its rows; MissingError or DamagedError."""
    with _reading(path):
        metadata = pq.read_metadata(path).metadata or {}
    return {k.decode(): v.decode() for k, v in metadata.items() if k != b"ARROW:schema"}
