from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import MissingError, UserError
from cache.features import Failure
from cache.files import digest_bytes
from stages import pictures
from stages.extract.images import Picture, decode, load
from stages.extract.plan import Row


def noise(mode: str = "RGB", size: tuple[int, int] = (30, 20)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)  # type: ignore[arg-type]
    return out.getvalue()


def put(root: Path, name: str, data: bytes) -> Row:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(data)
    return Row("id", 0, name, digest_bytes(data))


def failure_of(picture: Picture) -> Failure:
    assert picture.image is None
    assert picture.failure is not None
    return picture.failure


def bomb() -> bytes:
    """A PNG of 300 megapixels in a few kilobytes."""
    return saved(Image.new("1", (20_000, 15_000)), "PNG")


@pytest.mark.parametrize(
    ("name", "data", "error", "message"),
    [
        ("cut.jpg", saved(noise(size=(200, 200)), "JPEG")[:4000], "OSError", "image file is truncated"),
        ("empty.jpg", b"", "ValueError", "the file is empty"),
        ("cut.png", saved(noise(size=(200, 200)), "PNG")[:3000], "OSError", ""),
    ],
)
def test_what_cannot_be_decoded_is_a_failure_with_its_reason(
    tmp_path: Path, name: str, data: bytes, error: str, message: str
) -> None:
    failure = failure_of(load(tmp_path, put(tmp_path, name, data)))
    assert (failure.id, failure.path, failure.error) == ("id", name, error)
    assert failure.message.startswith(message)
    assert failure == failure_of(load(tmp_path, put(tmp_path, name, data)))  # no address, no time in it


def test_a_picture_of_300_megapixels_is_refused_before_it_is_unpacked(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    failure = failure_of(load(tmp_path, put(tmp_path, "bomb.png", bomb())))
    assert failure.error == "DecompressionBombError"
    assert not recwarn.list


def test_the_bound_holds_where_pillow_only_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 599)
    with pytest.raises(Image.DecompressionBombError, match="30 x 20 pixels; the bound is 599"):
        decode(saved(noise(), "PNG"))


@pytest.mark.parametrize("leads", ["../secret.jpg", "link.jpg"])
def test_a_path_that_leaves_the_root_is_listed_and_never_read(tmp_path: Path, leads: str) -> None:
    data = saved(noise(), "JPEG")
    (tmp_path / "secret.jpg").write_bytes(data)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    picture = load(root, Row("id", 0, leads, digest_bytes(data)))
    assert failure_of(picture).error == "OutsideRootError"
    assert picture.bytes == 0


def test_a_picture_that_is_gone_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        load(tmp_path, Row("id", 0, "gone.jpg", "00"))
    assert str(caught.value) == f"{tmp_path}/gone.jpg: gone since 'ingest' saw it; put it back, or run 'ingest' again"


def test_a_picture_that_changed_stops_the_run(tmp_path: Path) -> None:
    row = put(tmp_path, "a.jpg", saved(noise(), "JPEG"))
    (tmp_path / "a.jpg").write_bytes(b"other")
    with pytest.raises(UserError, match="changed since 'ingest' saw it; run 'ingest' again, then 'extract'"):
        load(tmp_path, row)


def test_a_disk_that_refuses_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path, Row("id", 0, "folder.jpg", "00"))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1", "LA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    form = "TIFF" if mode == "CMYK" else "PNG"
    made = decode(saved(noise(mode), form))
    assert made.mode == "RGB"
    assert np.array_equal(np.asarray(made), np.asarray(noise(mode).convert("RGB")))


def test_a_good_picture_comes_with_the_bytes_that_were_read(tmp_path: Path) -> None:
    data = saved(noise(), "PNG")
    picture = load(tmp_path, put(tmp_path, "a.png", data))
    assert picture.image is not None
    assert np.array_equal(np.asarray(picture.image), np.asarray(noise()))
    assert (picture.failure, picture.bytes) == (None, len(data))
