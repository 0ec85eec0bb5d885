"""A contact sheet: the pictures of an image cache in a grid, each with its id and classes under it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont, ImageOps

from cache.errors import UsageError, UserError
from cache.features import FeatureCache
from cache.files import write_through
from cache.manifest import Manifest
from cache.store import shown
from stages.extract import images
from stages.extract.plan import Row, image_rows

MOST = 100  # pictures on a sheet
SIDE, GAP, MARGIN, HEAD, CAPTION = 176, 20, 36, 92, 44  # pixels: of a picture, between, around, above, below each
NARROWEST = 3  # columns that the heading has room for
PAPER, BOX, LINE, EDGE = "#ffffff", "#f3f4f6", "#d1d5db", "#e5e7eb"
INK, GREY, RED = "#111827", "#6b7280", "#b91c1c"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
DOTS = "…"


@dataclass(frozen=True)
class Thumbnail:
    """A place on the sheet: what stands below it, and the picture, or why there is none."""

    id: str
    labels: str
    picture: Image.Image | None
    problem: str


def require_place(target: Path) -> None:
    """UsageError unless a PNG can be put there: a new name that ends in .png, or one that holds a PNG."""
    if target.is_dir():
        raise UsageError(f"{target}: is a folder; name a file in it, as in {target / 'sheet.png'}")
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: the contact sheet is a PNG; give it a name that ends in .png")
    if target.exists() and not _is_png(target):
        raise UsageError(f"{target}: is there and is no PNG; give the contact sheet another name")


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def write_sheet(target: Path, folder: Path, manifest: Manifest, home: Path) -> int:
    """Draw at most MOST pictures of an image cache, evenly spread over its rows, and write them whole as a PNG.

    Returns how many; UsageError for a cache of texts, or a target that is something else.
    """
    require_place(target)
    cache = FeatureCache.open(folder)
    if cache.rows_kind != "image":
        raise UsageError(f"{shown(folder)}: holds {cache.rows_kind} rows, no pictures; name the key of an image cache")
    if not any(manifest.images):
        raise UsageError(f"{shown(folder)}: imported features, no pictures came with them; name the key of others")
    failed = dict(zip(cache.failed["id"].to_pylist(), cache.failed["error"].to_pylist(), strict=True))
    known = {*cache.ids, *failed}
    places = [i for i, name in enumerate(manifest.ids) if name in known]
    chosen = spread(places)
    rows = image_rows(manifest)
    thumbnails = [thumbnail(manifest, home, rows[place], place, failed) for place in chosen]
    sheet = draw(thumbnails, *_heading(cache, manifest, len(chosen), len(places), len(failed)))
    write_through(target, lambda part: sheet.save(part, "PNG", optimize=True))
    return len(chosen)


def spread(places: list[int]) -> list[int]:
    """At most MOST of some places, from the first to the last, evenly."""
    n = len(places)
    return places if n <= MOST else [places[i * (n - 1) // (MOST - 1)] for i in range(MOST)]


def _heading(cache: FeatureCache, manifest: Manifest, drawn: int, there: int, failed: int) -> tuple[str, str]:
    which = f"pictures: {there}" if drawn == there else f"pictures: {drawn} of {there}, evenly spread"
    about = f"{which} · failed: {failed} · classes: {len(manifest.classes)} · key: {cache.path.name[:8]}"
    return f"{manifest.name} · {cache.about['encoder']}", about


def thumbnail(
    manifest: Manifest, home: Path, row: Row, place: int, failed: dict[str, str], side: int = SIDE
) -> Thumbnail:
    """What of an item, the row of the manifest at a place, stands on a sheet; failed: why some ids have no picture."""
    name = told(manifest.ids[place], f"row {place + 1}")
    labels = ", ".join(told(label, f"class {_number(manifest, label)}") for label in manifest.labels[place])
    if row.id in failed:
        return Thumbnail(name, labels, None, failed[row.id])
    try:
        found = images.load(home / manifest.root, row)
    except UserError:  # gone, or changed, since the cache was made: the cache holds what it was
        return Thumbnail(name, labels, None, "not there any more")
    if found.image is None:
        return Thumbnail(name, labels, None, found.failure.error if found.failure else "")
    return Thumbnail(name, labels, ImageOps.contain(found.image, (side, side), Image.Resampling.LANCZOS), "")


def _number(manifest: Manifest, label: str) -> int:
    """Where a class stands among the classes, sorted, from 1."""
    return bisect_left(manifest.classes, label) + 1


def told(name: str, number: str) -> str:
    """A name that the font can write, or else its number and what of the name the font can write."""
    font = _font(14)
    written = legible(name, font)
    if written == name:
        return name
    return f"{number}: {written}" if any(map(str.isalnum, written)) else number


def legible(text: str, font: ImageFont.FreeTypeFont) -> str:
    """A text with an ellipsis for each run of characters that a font lacks, in place of empty boxes."""
    known = _characters(str(font.path))
    runs = groupby(text, lambda character: ord(character) in known)
    return "".join("".join(run) if there else DOTS for there, run in runs)


@cache
def _characters(path: str) -> frozenset[int]:
    """The characters that a font file has glyphs for."""
    return frozenset(FT2Font(path).get_charmap())


def columns_of(count: int) -> int:
    """How many columns a sheet of so many pictures has: about as many as rows, a caption counted in."""
    columns = 1
    while columns * columns < count:
        columns += 1
    return max(columns, NARROWEST)


def draw(thumbnails: list[Thumbnail], title: str, about: str) -> Image.Image:
    """The sheet: a heading, and a grid of pictures with captions."""
    columns = columns_of(len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    width = 2 * MARGIN + columns * (SIDE + GAP) - GAP
    height = MARGIN + HEAD + max(rows * (SIDE + CAPTION + GAP) - GAP, 0) + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), fitted(title, _font(24, True), width - 2 * MARGIN), INK, _font(24, True))
    pen.text((MARGIN, MARGIN + 38), fitted(about, _font(15), width - 2 * MARGIN), GREY, _font(15))
    for i, thumbnail in enumerate(thumbnails):
        x = MARGIN + i % columns * (SIDE + GAP)
        y = MARGIN + HEAD + i // columns * (SIDE + CAPTION + GAP)
        _draw_one(sheet, pen, thumbnail, x, y)
    return sheet


def _draw_one(sheet: Image.Image, pen: ImageDraw.ImageDraw, thumbnail: Thumbnail, x: int, y: int) -> None:
    """A picture in its box, or a crossed box that says why there is none; id and classes below."""
    pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), BOX)
    if thumbnail.picture:
        left, top = (SIDE - thumbnail.picture.width) // 2, (SIDE - thumbnail.picture.height) // 2
        sheet.paste(thumbnail.picture, (x + left, y + top))
    else:
        _draw_cross(pen, thumbnail.problem, x, y)
    pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), outline=EDGE)  # a white picture has an edge too
    pen.text((x, y + SIDE + 6), fitted(thumbnail.id, _font(14), SIDE, middle=True), INK, _font(14))
    pen.text((x, y + SIDE + 25), fitted(thumbnail.labels, _font(13), SIDE), GREY, _font(13))


def _draw_cross(pen: ImageDraw.ImageDraw, problem: str, x: int, y: int) -> None:
    pen.line((x, y, x + SIDE - 1, y + SIDE - 1), LINE, 2)
    pen.line((x, y + SIDE - 1, x + SIDE - 1, y), LINE, 2)
    text, font = fitted(problem, _font(13), SIDE - 16), _font(13)
    middle = (x + SIDE // 2, y + SIDE // 2)
    left, top, right, bottom = pen.textbbox(middle, text, font, anchor="mm")
    pen.rectangle((left - 6, top - 4, right + 6, bottom + 4), BOX)
    pen.text(middle, text, RED, font, anchor="mm")


def fitted(text: str, font: ImageFont.FreeTypeFont, width: int, middle: bool = False) -> str:
    """A text made legible and no wider than some pixels: what is too long loses its end, or middle, to an ellipsis."""
    text = legible(" ".join(text.split()), font)
    if font.getlength(text) <= width:
        return text
    kept = len(text) - 1
    while kept > 0 and font.getlength(_cut(text, kept, middle)) > width:
        kept -= 1
    return _cut(text, kept, middle)


def _cut(text: str, kept: int, middle: bool) -> str:
    head = -(-kept // 2) if middle else kept
    tail = text[len(text) - (kept - head) :] if middle else ""
    return text[:head].rstrip() + DOTS + tail.lstrip()


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, Arabic and some more, but no Chinese,
    Japanese, Korean or Thai, and none of the scripts of India (see `legible`)."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
