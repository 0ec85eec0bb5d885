"""The size and digest of every picture of a manifest, read once and in parallel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from cache.errors import MissingError, UserError
from cache.files import digest_file
from stages.ingest.places import confined
from stages.progress import reporter

THREADS = 8  # hashing waits for the disk, not for the cores
BLOCK = 512  # pictures handed to the threads at a time, so that a million of them needs little memory

Seen = tuple[int, str]  # bytes, xxh3


def measure(name: str, root: Path, images: Sequence[str]) -> tuple[list[int], list[str]]:
    """Bytes and xxh3-128 of the pictures at these paths under root, in their order.

    A picture need not be decodable: extract lists those that are not. MissingError counts the absent ones and
    names the first; UserError where a path leads out of root or a file cannot be read.
    """
    seen = list(_measured(name, root, images))
    lost = [image for image, found in zip(images, seen, strict=True) if found is None]
    if lost:
        raise MissingError(
            f"{name}: {len(lost)} of {len(images)} pictures are missing, the first is '{lost[0]}'; "
            f"put them under {root}, or take their rows out"
        )
    present = [found for found in seen if found is not None]
    return [size for size, _ in present], [digest for _, digest in present]


def _measured(name: str, root: Path, images: Sequence[str]) -> Iterator[Seen | None]:
    reporter().start("pictures", len(images))
    with ThreadPoolExecutor(THREADS) as threads:
        for start in range(0, len(images), BLOCK):
            block = images[start : start + BLOCK]
            found = list(threads.map(partial(_measure_one, name, root), block))
            reporter().advance("pictures", len(block), megabytes=sum(size for size, _ in filter(None, found)) / 1e6)
            yield from found
    reporter().finish("pictures")


def _measure_one(name: str, root: Path, image: str) -> Seen | None:
    try:
        path = confined(name, root, image)
        return (path.stat().st_size, digest_file(path)) if path.is_file() else None
    except OSError as error:
        raise UserError(f"{name}: picture '{image[:100]}' cannot be read ({error.strerror}); mend it") from error
