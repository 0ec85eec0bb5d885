"""Rows that are kept nowhere, against the same rows in a cache; pictures that are none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import MissingError, UsageError, UserError
from cache.features import FeatureCache
from stages.extract import alone
from stages.extract.alone import encode_pictures, encode_texts, open_picture, read_picture
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoder, load_encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(EncoderChoice("lite0-minilm", None, None, "cpu", "fp32", Path(), False))


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (90, 60), colour)


def test_texts_are_what_the_encoder_says_of_them(encoder: Encoder) -> None:
    texts = ["a dog", "a much longer sentence about two dogs on a beach", "a cat"]
    part = encode_texts(encoder, texts, "raw", "float16")
    assert part.ids == ["0", "1", "2"]
    for row, text in enumerate(texts):  # the order of the question, whatever the order of the lengths
        one = encoder.encode_texts([text], "raw")
        np.testing.assert_allclose(part.pooled[row], one.pooled[0], atol=2e-5)
        assert part.offsets is not None
        assert part.tokens is not None
        own = part.tokens[part.offsets[row] : part.offsets[row + 1]]
        assert own.dtype == np.float16
        np.testing.assert_allclose(own, one.tokens, atol=2e-3)
    cache = FeatureCache.of_part("text", part, {"tokens": "raw"})
    assert (cache.ids, len(cache), cache.has_tokens) == (part.ids, 3, True)


def test_pictures_are_what_the_encoder_says_of_them_and_keep_no_tokens_unasked(encoder: Encoder) -> None:
    pictures = [picture("red"), picture("blue")]
    part = encode_pictures(encoder, pictures, "none", "float16")
    assert part.tokens is None
    assert part.offsets is None
    wanted = encoder.encode_images(pictures, "none").pooled
    np.testing.assert_allclose(part.pooled, wanted, atol=1e-5)
    assert not FeatureCache.of_part("image", part, {"tokens": "none"}).has_tokens


def test_a_text_that_is_cut_is_marked(encoder: Encoder) -> None:
    assert encode_texts(encoder, ["dog " * 400, "dog"], "none", "float16").truncated.tolist() == [True, False]


def test_a_picture_is_read_upright_and_as_rgb(tmp_path: Path) -> None:
    turned = picture("red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.jpg", exif=exif)
    found = read_picture(tmp_path / "a.jpg")
    assert (found.mode, found.size) == ("RGB", (60, 90))


def test_what_is_no_picture_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "words.jpg").write_text("hello")
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.setattr(alone, "MEGABYTES", 1)
    (tmp_path / "large.png").write_bytes(b"0" * 1_000_001)
    cases: list[tuple[str, type[UserError], str]] = [
        ("nix.png", MissingError, "no such picture"),
        ("", UsageError, "is a folder; name one picture"),
        ("empty.png", UserError, "the file is empty; give a picture"),
        ("words.jpg", UserError, "not a picture in any known format; give a picture"),
        ("pipe.png", UsageError, "neither a file nor a link to one"),
        ("large.png", UserError, "larger than 1 MB"),
    ]
    for name, error, message in cases:
        with pytest.raises(error, match=message) as caught:
            read_picture(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name).rstrip("/"))
        assert "\n" not in str(caught.value)


def test_bytes_of_an_upload_are_opened_under_a_name_of_their_own() -> None:
    with pytest.raises(UserError, match=r"^the upload: the file is empty; give a picture, as JPEG or PNG"):
        open_picture(b"", "the upload")
