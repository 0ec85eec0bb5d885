"""Every picture that somebody could mean ill with, or make by accident: a listed failure, or the right pixels."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache.errors import UserError
from cache.features import FeatureCache
from cache.files import digest_bytes
from cache.manifest import write_manifest
from cache.store import folder_of, read_ledger
from stages.extract import run as stage
from stages.extract.encoders.encoder import Encoder
from stages.extract.images import decode, load, told
from stages.extract.plan import Row
from stages.extract.run import run
from tests.listener import Listener
from tests.stages.extract.conftest import Toys, manifest_of
from tests.stages.extract.test_images import noise, saved

RED, BLUE = (255, 0, 0), (0, 0, 255)
UNKNOWN = ("UnidentifiedImageError", "not a picture in any known format")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG as its bytes say, whatever a library would think of it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bmp_of_400_megapixels() -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 154, 0, 0, 54) + head + bytes(100)


BIG = ("DecompressionBombError", "Image size (400000000 pixels) exceeds limit of 178956970 pixels")
TEXT = ("ValueError", "Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK")
DEEP = ("ValueError", "values of 32 bits have no agreed white; save it with 8 or 16 bits")
INFLATED = b"x\0\0" + zlib.compress(bytes(50_000_000))
FLOATS = Image.fromarray(np.array([[np.nan, np.inf, -5, 300, 0.5]], np.float32))

FAILURES: dict[str, tuple[bytes, tuple[str, str]]] = {
    "bomb.png": (png((20_000, 20_000), 8, 2, bytes(100)), BIG),
    "bomb.bmp": (bmp_of_400_megapixels(), BIG),
    "text_bomb.png": (png((2, 1), 8, 0, b"\0ab", chunk(b"zTXt", INFLATED)), TEXT),
    "profile_bomb.png": (png((2, 1), 8, 0, b"\0ab", chunk(b"iCCP", INFLATED)), TEXT),
    "cut.jpg": (saved(noise(size=(200, 200)), "JPEG")[:4000], ("OSError", "image file is truncated")),
    "cut.gif": (saved(noise("P", (64, 64)), "GIF")[:1200], ("OSError", "image file is truncated")),
    "cut.webp": (saved(noise(size=(64, 64)), "WEBP")[:200], ("OSError", "could not create decoder object")),
    "cut_in_its_head.png": (saved(noise(), "PNG")[:20], ("OSError", "Truncated File Read")),
    "text.jpg": (b"a text file", UNKNOWN),
    "empty.jpg": (b"", ("ValueError", "the file is empty")),
    "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', UNKNOWN),
    "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UNKNOWN),
    "page.pdf": (b"%PDF-1.7\n%%EOF\n", UNKNOWN),
    "floats.tif": (saved(FLOATS, "TIFF"), DEEP),
    "long.tif": (saved(Image.fromarray(np.array([[0, 70_000]], np.int32)), "TIFF"), DEEP),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_says_why_and_says_it_again(name: str) -> None:
    data, (error, message) = FAILURES[name]
    said = []
    for _ in range(2):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            decode(data)
        said.append((caught.type.__name__, told(caught.value)))
    assert said[0] == said[1]
    assert said[0][0] == error
    assert said[0][1].startswith(message)


def two_frames(form: str, **options: Any) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    return saved(frames[0], form, save_all=True, append_images=frames[1:], **options)


def see_through() -> bytes:
    """A palette whose first colour, red, is transparent."""
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    return saved(image, "PNG", transparency=0)


def wide(*values: int) -> bytes:
    return b"\0" + struct.pack(f">{len(values)}H", *values)


PIXELS: dict[str, tuple[bytes, list[tuple[int, int, int]]]] = {
    "ink.jpg": (saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), [RED]),
    "ink.tif": (saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), [RED]),
    "grey16.png": (png((2, 1), 16, 0, wide(0x8000, 0x6400)), [(128,) * 3, (100,) * 3]),
    "grey16.tif": (saved(Image.fromarray(np.array([[0x8000, 0x6400]], np.uint16)), "TIFF"), [(128,) * 3, (100,) * 3]),
    "grey16.pgm": (b"P5 2 1 65535\n" + struct.pack(">2H", 0x8000, 0x6400), [(128,) * 3, (100,) * 3]),
    "colour16.png": (png((1, 1), 16, 2, wide(0xFFFF, 0x8000, 0x0100)), [(255, 128, 1)]),
    "alpha16.png": (png((1, 1), 16, 6, wide(0xFFFF, 0x8000, 0x0100, 0)), [(255, 128, 1)]),
    "palette.png": (see_through(), [RED, BLUE]),
    "alpha.png": (saved(Image.new("RGBA", (2, 1), (*RED, 0)), "PNG"), [RED, RED]),
    "grey_alpha.png": (saved(Image.new("LA", (1, 1), (77, 0)), "PNG"), [(77,) * 3]),
    "key.png": (png((1, 1), 8, 2, b"\0abc", chunk(b"tRNS", b"\0a\0b\0c")), [(97, 98, 99)]),
    "moving.gif": (two_frames("GIF"), [RED]),
    "moving.png": (two_frames("PNG"), [RED]),
    "moving.webp": (two_frames("WEBP", lossless=True), [RED]),
    "pages.tif": (saved(Image.new("RGB", (1, 1), RED), "TIFF", save_all=True, append_images=[noise()] * 300), [RED]),
    "profile.png": (saved(Image.new("RGB", (1, 1), RED), "PNG", icc_profile=b"no profile" * 9), [RED]),
    "exif.png": (saved(Image.new("RGB", (1, 1), RED), "PNG", exif=b"no exif"), [RED]),
    "exif.webp": (saved(Image.new("RGB", (1, 1), RED), "WEBP", lossless=True, exif=b"no exif"), [RED]),
}


@pytest.mark.parametrize("name", PIXELS)
def test_the_right_pixels_come_of_it(name: str) -> None:
    data, expected = PIXELS[name]
    made = np.asarray(decode(data)).reshape(-1, 3)
    assert np.abs(made[: len(expected)].astype(int) - expected).max() <= 1  # JPEG rounds


BROKEN = [b"Exif\0\0no exif at all", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\x12", b"Exif\0\0MM\0*\xff\xff\xff\xff"]


@pytest.mark.parametrize("exif", BROKEN)
def test_a_photo_whose_exif_or_profile_is_broken_is_a_photo(exif: bytes) -> None:
    plain = decode(saved(noise(), "JPEG"))
    broken = decode(saved(noise(), "JPEG", exif=exif, icc_profile=b"no profile" * 9))
    assert np.array_equal(np.asarray(plain), np.asarray(broken))


def test_nobody_is_told_of_broken_metadata_once_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(saved(noise(), "JPEG", exif=BROKEN[1]))
    code = "import sys, pathlib; from stages.extract.images import decode; "
    code += "print(decode(pathlib.Path(sys.argv[1]).read_bytes()).size)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.jpg"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(30, 20)\n", "")


UNDONE: dict[int, Callable[[Any], Any]] = {  # how a camera held otherwise stores an upright picture
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UNDONE)
def test_however_the_camera_was_held_the_picture_is_upright(orientation: int, form: str) -> None:
    upright = np.asarray(noise())
    exif = Image.Exif()
    exif[0x0112] = orientation
    held = Image.fromarray(np.ascontiguousarray(UNDONE[orientation](upright)))
    options = {"lossless": True} if form == "WEBP" else {}
    assert np.array_equal(np.asarray(decode(saved(held, form, exif=exif, **options))), upright)


def test_a_pipe_in_place_of_a_picture_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UserError, match=r"pipe\.jpg: neither a file nor a link to one; put the picture back"):
        load(tmp_path, Row("id", 0, "pipe.jpg", "00"))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, if they are ours."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_picture_that_may_not_be_read_stops_the_run() -> None:
    with tempfile.TemporaryDirectory() as name:
        root, data = Path(name), saved(noise(), "PNG")
        root.chmod(0o755)
        (root / "secret.png").write_bytes(data)
        (root / "secret.png").chmod(0)
        with (
            as_nobody(),
            pytest.raises(UserError, match=r"secret\.png: cannot be read \(Permission denied\); mend that"),
        ):
            load(root, Row("id", 0, "secret.png", digest_bytes(data)))


def hostile_dataset(toys: Toys) -> list[str]:
    """Good pictures and all of the above, and paths that lead out of the root."""
    for name, (data, _) in {**FAILURES, **PIXELS}.items():
        (toys.root / name).write_bytes(data)
    (toys.base / "outside.png").write_bytes(saved(noise(), "PNG"))
    (toys.root / "link.png").symlink_to(toys.base / "outside.png")
    return [*PIXELS, *FAILURES, "link.png", "../outside.png", str(toys.base / "outside.png")]


def test_a_dataset_of_nothing_else_is_extracted_to_its_end(
    toys: Toys, listener: Listener, tiny: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ingest` would refuse its ids and some of its paths; a manifest may have been made by another hand."""
    monkeypatch.setattr(stage, "load_encoder", lambda choice: tiny)  # noqa: ARG005
    names = hostile_dataset(toys)
    manifest = manifest_of(toys.root, names)
    ids = [f"../../{name}" for name in names[:-1]] + ["/etc/\0passwd"]
    write_manifest(toys.params.manifest, replace(manifest, ids=ids), "test")
    before = everything_below(toys.base)
    run(toys.params)
    key = read_ledger(toys.params.ledger).find(rows="image")
    folder = folder_of(toys.params.store, key.kind, key.key)
    cache = FeatureCache.open(folder)
    assert cache.ids == ids[: len(PIXELS)]
    outside = ["link.png", *names[-2:]]
    assert dict(zip(cache.failed["path"].to_pylist(), cache.failed["error"].to_pylist(), strict=True)) == {
        **{name: error for name, (_, (error, _)) in FAILURES.items()},
        **dict.fromkeys(outside, "OutsideRootError"),
    }
    assert cache.failed["id"].to_pylist() == ids[len(PIXELS) :]
    made = everything_below(toys.base) - before
    assert all(path.is_relative_to(toys.params.store) or path == toys.params.ledger for path in made)
    assert not [path for path in made if "passwd" in path.name or ".." in path.parts]
    assert listener.warned[0].startswith(f"{len(FAILURES) + 3} of {len(names)} images could not be read")


def everything_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))
