"""A picture from its bytes, whoever asks for it: upright RGB, or an error that says the same on every run; and back."""

from __future__ import annotations

import base64
import io
import re
import warnings

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # Pillow's own bound: 256 MB as RGB
WANTED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "AVIF")  # no EPS: it would start an interpreter
MESSAGE = 200  # characters of an error that failed.parquet keeps
QUALITY = 82  # of a JPEG that is written
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


def told(error: Exception) -> str:
    """What a decoder says in one line that is the same on every run: Pillow puts addresses of objects into some."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in any known format"
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()))[:MESSAGE]


def jpeg(picture: Image.Image) -> bytes:
    """A picture as the bytes of a JPEG."""
    data = io.BytesIO()
    picture.convert("RGB").save(data, "JPEG", quality=QUALITY, optimize=True)
    return data.getvalue()


def embedded(picture: Image.Image, side: int) -> str:
    """A picture as the address of its own bytes, for a page that needs nothing else; no side longer than `side`."""
    small = ImageOps.contain(picture, (side, side), Image.Resampling.LANCZOS) if max(picture.size) > side else picture
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(small)).decode()
