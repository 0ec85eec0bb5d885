"""What the comparison of extraction measures is an extraction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

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


def test_shards_are_cut_and_all_are_recorded(tiny: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: list[tuple[int, bool]] = []
    original = shards.record

    def watched(folder: Path, finished: Path, name: str, rows: int) -> shards.ShardLine:
        made = original(folder, finished, name, rows)
        whole.append((rows, shards.is_whole(folder)))
        return made

    monkeypatch.setattr("bench.extraction.shards.record", watched)
    monkeypatch.setattr(extraction, "ROWS_A_PART", 2)
    root, pictures = extraction.make_pictures(tmp_path / "pictures", 3)
    extraction.extract(tiny, pictures, root, 2, 1)
    assert whole == [(2, False), (1, True)]


def test_the_bare_forward_pass_is_the_image_tower_alone(
    tiny: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[int, ...], bool, bool, int]] = []

    def watched(pixels: torch.Tensor) -> None:
        ordered = pixels.is_contiguous(memory_format=torch.channels_last)
        seen.append((tuple(pixels.shape), ordered, torch.is_inference_mode_enabled(), torch.get_num_threads()))

    def never(*_: object) -> None:
        raise AssertionError("the limit has no projection and copies nothing")

    bare = replace(tiny, image=replace(tiny.image, run=watched, project=never))
    monkeypatch.setattr("stages.extract.encoders.encoder._numpy", never)
    root, pictures = extraction.make_pictures(tmp_path / "pictures", 8)
    runs = extraction.runs_of(bare, root, pictures, 2)
    assert set(runs) == {"ours", "decoding", "unpacking", "forward, 4", "forward, 8", "forward, 16"}
    runs["forward, 4"]()
    size = tuple(tiny.preprocess_about["size"])
    assert seen == [((4, 3, *size), True, True, 1)] * 2
