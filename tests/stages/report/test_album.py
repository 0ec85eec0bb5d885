"""Pictures, texts and classes of ids; a picture that is not what `ingest` saw is none."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from cache.manifest import read_manifest
from stages.report.album import open_album
from tests.stages.report import build


@pytest.fixture
def album(tmp_path):
    build.write_pictures(tmp_path)
    return open_album(read_manifest(tmp_path / "pairs.parquet"), tmp_path)


def test_an_id_has_its_picture_text_and_classes(album):
    assert album.picture("bee-3").size == (36, 24)
    assert album.text("bee-3") == "a drawing of bee-3 <b>"
    assert album.labels("bee-3") == ["bee"]


def test_a_picture_that_changed_or_is_gone_is_none(album):
    (album.root / "ant-0.png").write_bytes((album.root / "ant-1.png").read_bytes())
    (album.root / "ant-2.png").unlink()
    (album.root / "ant-3.png").unlink()
    (album.root / "ant-3.png").mkdir()
    assert [album.picture(f"ant-{i}") is None for i in range(5)] == [True, False, True, True, False]
    assert [album.thumbnail(f"ant-{i}", 8) == "" for i in range(5)] == [True, False, True, True, False]


def test_a_thumbnail_is_small_and_brings_its_own_bytes(album):
    kind, _, data = album.thumbnail("cat-1", 12).partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (12, 8)
