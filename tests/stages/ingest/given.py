"""What the tests of ingest start from: parameters, small pictures, the published layout of Wikipedia."""

from __future__ import annotations

import csv
import ctypes
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from cache.manifest import Manifest
from proof.checkout import ROOT
from stages.ingest.absent import Incomplete
from stages.ingest.blocks import Listed, listed
from stages.ingest.params import IngestParams, IngestSection, TableSection

TABLE = {
    "path": None,
    "name": "mine",
    "id": "id",
    "image": "image",
    "text": "text",
    "label": "label",
    "separator": None,
    "split": None,
}
SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
COLUMNS = ("id", "image", "text", "label")


def params(
    home: Path, dataset: str, captions: str = "first", most: int = 60, allow_missing: bool = False, **table: Any
) -> IngestParams:
    """Parameters whose home is `home`; keywords go into ingest.table."""
    section = IngestSection.model_validate(
        {
            **SHIPPED["ingest"],
            "captions": captions,
            "max_per_class": most,
            "allow_missing": allow_missing,
            "table": TableSection.model_validate({**TABLE, **table}),
        }
    )
    return IngestParams(
        dataset=dataset,
        section=section,
        home=home,
        manifest=home / "data" / "manifests" / f"{dataset}.parquet",
        made_from="0" * 32,
    )


def whole(found: Manifest | Incomplete | Listed) -> Manifest:
    """What a loader found, its blocks as one manifest."""
    blocks = list(listed(found).blocks())
    columns = [field.name for field in fields(Manifest) if field.name not in {"name", "root"}]
    joined = {name: [value for block in blocks for value in getattr(block, name)] for name in columns}
    return replace(blocks[0], **joined)


def jpeg(colour: tuple[int, int, int]) -> bytes:
    """A small whole JPEG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def write(path: Path, data: bytes | str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def write_csv(path: Path, rows: Iterable[Sequence[str]], columns: Sequence[str] = COLUMNS) -> Path:
    """A CSV file with a header."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([columns, *rows])
    return write(path, buffer.getvalue())


def four_pairs(home: Path) -> list[list[str]]:
    """Rows of two cats and two dogs, their pictures under home/mine/images."""
    rows = []
    for number, label in enumerate(["cat", "cat", "dog", "dog"]):
        write(home / "mine" / "images" / f"{number}.jpg", jpeg((number, 40, 80)))
        rows.append([f"item{number}", f"images/{number}.jpg", f"a {label}, the {number}th", label])
    return rows


@contextmanager
def unreadable(path: Path, mode: int = 0) -> Iterator[None]:
    """No rights to a path, or these, for as long as this lasts; root, who may read all the same, is kept from that
    meanwhile."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with no_override():
            yield
    finally:
        path.chmod(before)


@contextmanager
def no_override() -> Iterator[None]:
    """Without the capabilities by which root passes over the rights of files (capabilities(7)): those of this thread,
    and of the threads that it begins. Of no effect for whoever has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the version, and this thread
    now = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, of the first 32 and of the others
    assert libc.capget(header, now) == 0, os.strerror(ctypes.get_errno())
    less = (ctypes.c_uint32 * 6)(*now)
    less[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, less) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, now) == 0, os.strerror(ctypes.get_errno())


def wikipedia(home: Path, train: Sequence[str], test: Sequence[str], categories: str) -> Path:
    """The published layout under home/data/raw/wikipedia for these list lines, with made-up pictures and articles."""
    root = home / "data" / "raw" / "wikipedia"
    names = categories.split()
    write(root / "categories.list", categories)
    for split, lines in (("train", train), ("test", test)):
        write(root / f"{split}set_txt_img_cat.list", "\n".join(lines) + "\n")
    for number, line in enumerate([*train, *test]):
        text_id, image_id, category = line.split()
        write(root / "images" / names[int(category) - 1] / f"{image_id}.jpg", jpeg((number % 256, number // 256, 0)))
        write(root / "texts" / f"{text_id}.xml", article(f"Article {number} & more"))
    return root


def article(words: str) -> str:
    """An article as published: the words in <text>, the picture named after them."""
    escaped = words.replace("&", "&amp;").replace("<", "&lt;")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<document id="1" name="Someone">\n<text>\n'
        f'{escaped}\n</text>\n<imageset><image id="2"><caption>unused</caption></image></imageset>\n</document>\n'
    )
