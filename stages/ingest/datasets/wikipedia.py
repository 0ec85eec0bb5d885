"""Wikipedia 2010 (Rasiwasia et al.) in its published layout, with its official split of 2,173 and 693 pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cache.errors import MissingError, UserError
from cache.manifest import Manifest
from stages.ingest.articles import article_text
from stages.ingest.datasets import find, missing
from stages.ingest.params import IngestParams
from stages.ingest.places import confined, dataset_folder, from_home
from stages.progress import reporter

LISTS = {"train": "trainset_txt_img_cat.list", "test": "testset_txt_img_cat.list"}
PARTS = ("texts", "images", "categories.list", *LISTS.values())


@dataclass(frozen=True)
class Line:
    """One line of the official lists, its category by name."""

    text_id: str
    image_id: str
    category: str
    split: str


def load(params: IngestParams) -> Manifest:
    """The manifest, bytes and digests not yet read: id = text id, text = the article's, train lines first."""
    root = dataset_folder(params)
    for part in PARTS:
        if not (root / part).exists():
            raise missing(find("wikipedia"), from_home(root / part, params.home), from_home(root, params.home))
    lines = list(_lines(root))
    return Manifest(
        name="wikipedia",
        root=from_home(root, params.home),
        ids=[line.text_id for line in lines],
        images=[f"images/{line.category}/{line.image_id}.jpg" for line in lines],
        texts=[[text] for text in _articles(root, lines)],
        labels=[[line.category] for line in lines],
        splits=[line.split for line in lines],
        bytes=[0] * len(lines),
        xxh3=[""] * len(lines),
    )


def _lines(root: Path) -> Iterator[Line]:
    categories = _text(root / "categories.list").split()
    for split, name in LISTS.items():
        for number, row in enumerate(_text(root / name).splitlines(), start=1):
            if row.strip():
                yield _line(row.split(), categories, split, f"wikipedia: {name} line {number}")


def _line(fields: list[str], categories: list[str], split: str, where: str) -> Line:
    known = {str(number): category for number, category in enumerate(categories, start=1)}
    if len(fields) != 3 or fields[2] not in known:
        raise UserError(
            f"{where} is '{' '.join(fields)[:100]}'; it must be a text id, an image id and a category "
            f"from 1 to {len(categories)}, the lines of categories.list; unpack the archive again"
        )
    return Line(fields[0], fields[1], known[fields[2]], split)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _articles(root: Path, lines: list[Line]) -> list[str]:
    paths = [confined("wikipedia", root, f"texts/{line.text_id}.xml") for line in lines]
    lost = [path.name for path in paths if not path.is_file()]
    if lost:
        raise MissingError(
            f"wikipedia: {len(lost)} of {len(lines)} articles are missing, the first is 'texts/{lost[0]}'; "
            "unpack the archive again"
        )
    read = [article_text(path.read_bytes(), f"wikipedia: texts/{path.name}") for path in paths]
    broken = [path.name for path, (_, well_formed) in zip(paths, read, strict=True) if not well_formed]
    if broken:
        reporter().warn(
            f"wikipedia: {len(broken)} of {len(lines)} articles are not well-formed XML and were read between "
            f"their <text> tags, the first is 'texts/{broken[0]}'"
        )
    return [text for text, _ in read]
