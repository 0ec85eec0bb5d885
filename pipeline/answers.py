"""An answer as people see it: a table's rows, a sheet of pictures, one page without outside assets."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from cache.errors import UsageError
from cache.files import write_bytes, write_through
from pipeline import contact_sheet
from pipeline.contact_sheet import Thumbnail, draw, thumbnail
from pipeline.searching import Answer, Hit, Searcher
from stages import pictures
from stages.extract.plan import image_rows
from stages.report.page import CREDITS

LIKELY = 5  # classes that are told of a query
SIDE = 320  # pixels of a picture on the page
DOCTYPE = b"<!doctype html>"


def table_rows(answer: Answer) -> list[dict[str, Any]]:
    """The hits with scores as people read them."""
    return [{**hit.row(), "score": f"{hit.score:.3f}"} for hit in answer.hits]


def likely(answer: Answer) -> str:
    """The likeliest classes of the query on one line; empty where the head judges none."""
    told = ", ".join(f"{name} {value:.0%}" for name, value in answer.classes[:LIKELY])
    return f"the query looks like: {told}" if told else ""


def require_page(target: Path) -> None:
    """UsageError unless a page can be put there: a new name that ends in .html, or one that holds a page."""
    if target.is_dir():
        raise UsageError(f"{target}: is a folder; name a file in it, as in {target / 'found.html'}")
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{target}: the page is HTML; give it a name that ends in .html")
    if target.exists() and not _is_page(target):
        raise UsageError(f"{target}: is there and is no page; give the page another name")


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(DOCTYPE)).lower() == DOCTYPE


def write_sheet(target: Path, searcher: Searcher, answer: Answer) -> None:
    """The pictures of the hits on one PNG, best first, with rank, id, score and label below each."""
    shown = [_ranked(hit, picture_at(searcher, hit.place, contact_sheet.SIDE)) for hit in answer.hits]
    sheet = draw(shown, answer.query, about(searcher))
    write_through(target, lambda part: sheet.save(part, "PNG", optimize=True))


def _ranked(hit: Hit, found: Thumbnail) -> Thumbnail:
    below = f"{hit.score:.3f} · {found.labels}" if found.labels else f"{hit.score:.3f}"
    return Thumbnail(f"{hit.rank}. {found.id}", below, found.picture, found.problem)


def picture_at(searcher: Searcher, place: int, side: int) -> Thumbnail:
    """The picture of the manifest's row at a place, no side longer than so many pixels, or why there is none."""
    manifest, home = searcher.trained.manifest, searcher.trained.setting.places.home
    return thumbnail(manifest, home, image_rows(manifest)[place], place, {}, side)


def about(searcher: Searcher) -> str:
    """What was searched, and with what."""
    trained = searcher.trained
    return f"{len(searcher.rows):,} items of {trained.manifest.name} · {trained.items.encoder} · {trained.source}"


def write_page(target: Path, searcher: Searcher, answer: Answer, asked: Image.Image | None) -> None:
    """The answer as one HTML file, pictures small and inside it; asked: the picture that was the query."""
    write_bytes(target, render(searcher, answer, asked).encode())


def render(searcher: Searcher, answer: Answer, asked: Image.Image | None) -> str:
    """The page; every text in it is escaped."""
    return fill(
        "answer.html.j2",
        query=answer.query if asked is None else Path(answer.query).name,
        asked=None if asked is None else embedded(asked),
        about=about(searcher),
        classes=answer.classes[:LIKELY],
        hits=[{**hit.row(), **_picture(searcher, hit)} for hit in answer.hits],
        credit=credit(searcher),
    )


def fill(name: str, **values: Any) -> str:
    """A page of this folder with values in it; every text is escaped."""
    return _templates().get_template(name).render(values)


@cache
def _templates() -> Environment:
    own = PackageLoader("pipeline", "")
    return Environment(loader=own, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def credit(searcher: Searcher) -> str:
    """Whose the pictures are, where their terms ask that it be said."""
    return CREDITS.get(searcher.trained.manifest.name, "")


def _picture(searcher: Searcher, hit: Hit) -> dict[str, str]:
    found = picture_at(searcher, hit.place, SIDE)
    return {"picture": embedded(found.picture) if found.picture else "", "problem": found.problem}


def embedded(picture: Image.Image) -> str:
    """A picture as the address of its own bytes, no side longer than SIDE."""
    return pictures.embedded(picture, SIDE)
