"""Wikipedia 2010 (Rasiwasia et al.) in its published layout, with its official split of 2,173 and 693 pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError
from cache.manifest import Manifest
from stages.ingest.absent import Incomplete
from stages.ingest.articles import article_text
from stages.ingest.class_folders import disagreement
from stages.ingest.pairs import Pair, unmeasured
from stages.ingest.params import IngestParams
from stages.ingest.places import from_home, is_file, whole_folder
from stages.progress import reporter

LISTS = {"train": "trainset_txt_img_cat.list", "test": "testset_txt_img_cat.list"}


@dataclass(frozen=True)
class Line:
    """One line of the official lists, its category by name."""

    text_id: str
    image_id: str
    category: str
    split: str


def load(params: IngestParams) -> Manifest | Incomplete:
    """The manifest, bytes and digests not yet read: id = text id, text = the article's, train lines first.

    Pairs whose article is missing are left out. UserError for a line of the lists that cannot be read, a category
    without a folder of pictures or such a folder that is no category, an article that declares an XML entity or leads
    out of the dataset's folder."""
    root = whole_folder(params)
    lines = list(_lines(root))
    _require_folders(root)
    lost = [path for path in map(_article, lines) if not is_file("wikipedia", root, path)]
    gone = set(lost)
    there = [line for line in lines if _article(line) not in gone]
    pairs = [
        Pair(line.text_id, f"images/{line.category}/{line.image_id}.jpg", [text], [line.category], line.split)
        for line, text in zip(there, _read(root, there), strict=True)
    ]
    manifest = unmeasured("wikipedia", from_home(root, params.home), pairs)
    return Incomplete(manifest, lost) if lost else manifest


def _lines(root: Path) -> Iterator[Line]:
    categories = _categories(root)
    for split, name in LISTS.items():
        for number, row in enumerate(_text(root / name).splitlines(), start=1):
            if row.strip():
                yield _line(row.split(), categories, split, f"wikipedia: {name} line {number}")


def _categories(root: Path) -> list[str]:
    return _text(root / "categories.list").split()


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


def _require_folders(root: Path) -> None:
    """UserError where a category is no folder of pictures, or a folder of pictures no category."""
    disagree = disagreement(_categories(root), root / "images", "categories.list", "images/")
    if disagree:
        raise UserError(f"wikipedia: {disagree}; unpack the archive again")


def _article(line: Line) -> str:
    return f"texts/{line.text_id}.xml"


def _read(root: Path, lines: list[Line]) -> list[str]:
    """The texts of the articles; a warning counts those that are not well-formed and yet have one."""
    read = [article_text((root / path).read_bytes(), f"wikipedia: {path}") for path in map(_article, lines)]
    broken = [_article(line) for line, (text, well_formed) in zip(lines, read, strict=True) if text and not well_formed]
    if broken:
        are, were, their = ("is", "was", "its") if len(broken) == 1 else ("are", "were", "their")
        reporter().warn(
            f"wikipedia: {len(broken)} of {len(lines)} articles {are} not well-formed XML and {were} read between "
            f"{their} <text> tags, the first is '{broken[0]}'"
        )
    return [text for text, _ in read]
