"""Pictures from disk: read, checked against the manifest, decoded; what cannot be decoded becomes a Failure."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

from cache.errors import MissingError, UserError
from cache.features import Failure
from cache.files import digest_bytes
from stages.extract.plan import Row

MAX_PIXELS = 89_478_485  # Pillow's own bound: 256 MB as RGB
WANTED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "AVIF")  # no EPS: it would start an interpreter
MESSAGE = 200  # characters of an error that failed.parquet keeps
SIXTEEN_AS_I = ("PNG", "PPM")  # some releases of Pillow give their 16 bits the mode of 32
TURNS = {  # by the orientation that EXIF notes
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Image.init()
FORMATS = [form for form in WANTED if form in Image.OPEN]  # Pillow can be built without some

# Between its bound and twice its bound Pillow warns on stderr and goes on; `decode` refuses such pictures itself.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of metadata it cannot read, once a picture


class OutsideRootError(ValueError):
    """A picture's path that leads out of the dataset's root."""


class Picture(NamedTuple):
    """What became of a row's file: the picture, or why there is none, and the bytes that were read."""

    image: Image.Image | None
    failure: Failure | None
    bytes: int


def load(root: Path, row: Row) -> Picture:
    """The picture of a row as RGB, upright, or why there is none; errors as of `fetch`."""
    return unpack(row, fetch(root, row))


def fetch(root: Path, row: Row) -> bytes | Failure:
    """The bytes of a row's picture, the same that the manifest has the digest of, or why they are not to be had.

    A Failure depends on the picture's bytes alone, so that it can be kept under their digest. What may be otherwise
    tomorrow stops the run: MissingError for a file that is gone, UserError for one that cannot be read or that
    is not the one the manifest was made of.
    """
    try:
        data = _read(_inside(root, row.content))
    except UserError:
        raise
    except Exception as error:  # of a path: out of the root, in a circle, no name at all
        return _failure(row, error)
    if digest_bytes(data) != row.digest:
        raise UserError(f"{root / row.content}: changed since 'ingest' saw it; run 'ingest' again, then 'extract'")
    return data


def unpack(row: Row, fetched: bytes | Failure) -> Picture:
    """The picture of a row's bytes, or why there is none."""
    if isinstance(fetched, Failure):
        return Picture(None, fetched, 0)
    try:
        return Picture(decode(fetched), None, len(fetched))
    except Exception as error:  # decoders of hostile files raise whatever they like
        return Picture(None, _failure(row, error), len(fetched))


def _read(path: Path) -> bytes:
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():  # a pipe would be waited for
            raise UserError(f"{path}: neither a file nor a link to one; put the picture back, or run 'ingest' again")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingError(f"{path}: gone since 'ingest' saw it; put it back, or run 'ingest' again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend that and run 'extract' again") from error


def _inside(root: Path, relative: str) -> Path:
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise OutsideRootError("the path leads out of the dataset's root")
    return path


def decode(data: bytes) -> Image.Image:
    """A picture as RGB, its EXIF rotation applied, its first frame where it is animated, or its first page.

    Transparency is dropped, as open_clip and its training do: what lies under it shows in the colours of the file.
    Raises what Pillow raises for bytes that are no picture, DecompressionBombError above MAX_PIXELS, before the
    pixels are unpacked.
    """
    if not data:
        raise ValueError("the file is empty")
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels; the bound is {MAX_PIXELS}")
        image.load()  # which turns a TIFF by itself, and says so
        turn = _turn(image)
        pixels = _eight_bits(image).convert("RGB")
        return pixels if turn is None else pixels.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What the EXIF of a loaded picture asks for; nothing where it cannot be read, since the pixels are good."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as of all metadata of hostile files
        return None
    return TURNS.get(orientation)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey picture at 8 bits: Pillow's own conversion would clip all but the darkest to white.

    ValueError for values of 32 bits, whole or broken: nothing says which of them is white.
    """
    if image.mode == "F" or (image.mode == "I" and image.format not in SIXTEEN_AS_I):
        raise ValueError("values of 32 bits have no agreed white; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")


def _failure(row: Row, error: Exception) -> Failure:
    return Failure(row.id, row.content, type(error).__name__, told(error))


def told(error: Exception) -> str:
    """What a decoder says in one line that is the same on every run: Pillow puts addresses of objects into some."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in any known format"
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()))[:MESSAGE]
