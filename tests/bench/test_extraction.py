"""What the comparison of extraction measures is an extraction."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import extraction
from cache import shards
from stages.extract.encoders.encoder import Encoder
from tests.stages.extract.conftest import tiny, tiny_folder

__all__ = ["tiny", "tiny_folder"]


def test_the_shards_that_are_timed_are_recorded(tiny: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: list[int] = []
    original = shards.record

    def watched(folder: Path, finished: Path, name: str, rows: int) -> shards.ShardLine:
        made = original(folder, finished, name, rows)
        whole.append(rows * shards.is_whole(folder))
        return made

    monkeypatch.setattr("bench.extraction.shards.record", watched)
    root, pictures = extraction.make_pictures(tmp_path / "pictures", 3)
    extraction.extract(tiny, pictures, root, 2, 1)
    assert whole == [3]
