"""The usual recipe does what it says, on the same items as the real extraction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from bench import recipe
from bench.extraction import extract, make_pictures
from cache import shards
from stages.extract.encoders.encoder import Encoder
from stages.extract.plan import Row as Item
from tests.stages.extract.conftest import tiny, tiny_folder

__all__ = ["tiny", "tiny_folder"]


def test_captions_are_as_long_as_those_of_photos_and_differ() -> None:
    made = recipe.captions(256)
    lengths = (open_clip.get_tokenizer(recipe.MODEL)(made) != 0).sum(1)
    assert (int(lengths.min()), int(lengths.max())) == (8, 20)
    assert 12 <= float(lengths.double().mean()) <= 14
    assert len(set(made)) == 256


def test_the_recipe_writes_the_vectors_of_its_model(tmp_path: Path) -> None:
    root, pictures = make_pictures(tmp_path / "pictures", 3)
    model = open_clip.create_model("ViT-S-32-alt").eval()
    preprocess = image_transform_v2(PreprocessCfg(), is_train=False)
    usual = recipe.Recipe(model, preprocess, open_clip.get_tokenizer("ViT-S-32-alt"))
    recipe.embed_images(usual, [root / row.content for row in pictures], 0, tmp_path / "images.npy")
    recipe.embed_texts(usual, recipe.captions(65), tmp_path / "texts.npy")
    images, texts = np.load(tmp_path / "images.npy"), np.load(tmp_path / "texts.npy")
    assert images.shape == (3, 256)
    with torch.inference_mode():
        last = model.encode_text(usual.tokenizer(recipe.captions(65)[-1:]))
    np.testing.assert_allclose(texts[64:], last.numpy(), atol=1e-5)


def test_texts_are_extracted_into_a_recorded_shard(tiny: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, int]] = []
    original = shards.record

    def watched(folder: Path, finished: Path, name: str, rows: int) -> shards.ShardLine:
        made = original(folder, finished, name, rows)
        seen.append((shards.is_whole(folder), rows))
        return made

    monkeypatch.setattr("bench.extraction.shards.record", watched)
    extract(tiny, [Item(str(i), 0, text, "") for i, text in enumerate(recipe.captions(5))], None, 2, 1)
    assert seen == [(True, 5)]


def test_pairs_a_second_are_both_sides_one_after_the_other() -> None:
    assert recipe._pairs(images=20.0, texts=100.0, count=5) == 10.0
