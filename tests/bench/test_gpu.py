"""The way to the rows of a GPU, gone with a tiny encoder on the processor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench import gpu
from bench.extraction import make_pictures
from stages.extract.encoders.encoder import Encoder
from tests.stages.extract.conftest import choice_of, tiny, tiny_folder

__all__ = ["tiny", "tiny_folder"]


def test_both_sides_are_measured_on_the_device_of_the_choice(tiny_folder: Path, tmp_path: Path) -> None:
    root, files = make_pictures(tmp_path / "pictures", 2)
    sizes = gpu.Sizes(pictures=6, files=2, texts=5, batch=2)
    images, texts = gpu.measured(choice_of(f"local-dir:{tiny_folder}"), "tiny", 0.95, root, files, sizes)
    assert (images.name, texts.name) == ("tiny, images alone, fp32, cpu", "tiny, texts alone, fp32, cpu")
    assert (images.device, images.unit, images.promised, texts.promised) == ("cpu", "items/s", 0.95, 0.0)
    for row in (images, texts):
        assert row.ours > 0
        assert row.ratio == row.ours / row.theirs


def test_the_limit_is_the_slower_of_the_two_parts() -> None:
    rates = {"ours": 90.0, "forward": 300.0, "before": 100.0}
    assert gpu._row("a", rates, "decoding", 0.5, torch.device("cpu")).theirs == 100.0
    assert gpu._row("a", {**rates, "before": 900.0}, "decoding", 0.5, torch.device("cpu")).ratio == 0.3


def test_bare_texts_are_trimmed_and_none_is_left_out(tiny: Encoder) -> None:
    batches = gpu.trimmed(tiny, ["a", "a photo of a small dog on the grass", "a dog"], 2)
    assert [len(ids) for ids in batches] == [2, 1]
    assert batches[0].shape[1] < batches[1].shape[1] < tiny.context


def test_without_a_gpu_there_are_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.rows() == []
