"""Pictures for pages: small, and as the address of their own bytes. How bytes become pictures: tests of extract."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from stages.pictures import decode, embedded, jpeg

WIDE = Image.fromarray(np.full((20, 40, 3), 200, np.uint8))


def test_what_is_written_is_read_again() -> None:
    again = decode(jpeg(WIDE.convert("L")))
    assert (again.size, again.mode) == ((40, 20), "RGB")
    assert abs(np.asarray(again).astype(int) - 200).max() <= 2


def test_a_large_picture_is_made_small_and_a_small_one_stays() -> None:
    for side, size in ((10, (10, 5)), (40, (40, 20)), (100, (40, 20))):
        kind, _, data = embedded(WIDE, side).partition(",")
        assert kind == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == size
