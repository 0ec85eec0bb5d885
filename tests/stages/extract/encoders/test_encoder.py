from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cache.errors import UsageError
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import CPU_SLICE, LIGHT_SLICE, Encoder, digest_of_weights, load_encoder
from stages.extract.params import Precision
from tests.stages.extract.conftest import choice_of

TEXTS = ["a dog", "two children on a swing", "snow", "a very long caption about a dog on a meadow in the snow"]


def pixels(count: int) -> list[torch.Tensor]:
    return list(torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def test_none_raw_and_joint_tokens_come_with_the_same_pooled_vectors(tiny: Encoder) -> None:
    none, raw, joint = (tiny.encode_texts(TEXTS, kind) for kind in ("none", "raw", "joint"))
    assert none.tokens is None
    assert raw.tokens is not None
    assert joint.tokens is not None
    assert (raw.tokens.shape[1], joint.tokens.shape[1]) == (24, 16)
    assert np.array_equal(none.pooled, joint.pooled)
    assert np.array_equal(raw.n_tokens, joint.n_tokens)
    assert raw.pooled_raw is not None
    assert raw.pooled_raw.shape == (4, 24)
    seen = tiny.encode_images(pixels(2), "raw")
    assert seen.tokens is not None
    assert (seen.tokens.shape, seen.pooled.shape) == ((2, 4, 32), (2, 16))
    assert seen.n_tokens.tolist() == [4, 4]


def test_only_real_tokens_are_kept_from_start_to_end(tiny: Encoder) -> None:
    made, ids = tiny.encode_texts(TEXTS, "joint"), tiny.tokenizer(TEXTS)
    assert made.tokens is not None
    assert made.n_tokens.tolist() == [(row != 0).sum() for row in ids.numpy()]
    assert len(made.tokens) == made.n_tokens.sum()


def test_a_text_is_the_same_alone_and_in_company(tiny: Encoder) -> None:
    together = tiny.encode_texts(TEXTS, "joint")
    ends = np.cumsum([0, *together.n_tokens])
    for row, text in enumerate(TEXTS):
        alone = tiny.encode_texts([text], "joint")
        assert alone.tokens is not None
        assert together.tokens is not None
        assert np.allclose(alone.tokens, together.tokens[ends[row] : ends[row + 1]], atol=1e-5)
        assert np.allclose(alone.pooled[0], together.pooled[row], atol=1e-5)


def test_exclamation_marks_are_no_padding(tiny: Encoder) -> None:
    """CLIP pads with 0, which is also the id of an exclamation mark inside a word."""
    made = tiny.tokenize(["!!!!!!!!!", "wow!!dog"])
    assert made.lengths.tolist() == [int(row.argmax()) + 1 for row in made.ids]


def test_a_text_that_just_fits_is_not_called_cut(tiny: Encoder) -> None:
    made = tiny.tokenize([" ".join(["dog"] * n) for n in (9, 10, 11)])
    assert made.lengths.tolist() == [11, 12, 12]
    assert made.truncated.tolist() == [False, False, True]


def test_pictures_are_the_same_in_slices_and_at_once(tiny: Encoder) -> None:
    many = pixels(2 * CPU_SLICE + 3)
    together, alone = tiny.encode_images(many, "joint"), [tiny.encode_images([one], "joint") for one in many]
    assert np.allclose(together.pooled, np.concatenate([one.pooled for one in alone]), atol=1e-5)


def test_a_light_tower_takes_two_pictures_at_a_time_and_says_the_same_bits(lite0: Encoder, tiny: Encoder) -> None:
    assert (lite0.cpu_slice, tiny.cpu_slice) == (LIGHT_SLICE, CPU_SLICE)
    many = list(torch.randn(9, 3, 224, 224, generator=torch.Generator().manual_seed(0)))
    light, usual = (e.encode_images(many, "raw") for e in (lite0, replace(lite0, cpu_slice=CPU_SLICE)))
    assert light.tokens is not None
    assert usual.tokens is not None
    assert np.array_equal(light.tokens, usual.tokens)
    assert np.array_equal(light.pooled, usual.pooled)


def test_pil_pictures_are_preprocessed(tiny: Encoder) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    made, by_hand = tiny.encode_images([image], "joint"), tiny.encode_images([tiny.preprocess(image)], "joint")
    assert np.array_equal(made.pooled, by_hand.pooled)


def test_joint_tokens_are_the_towers_own_where_nothing_is_joint(tiny: Encoder) -> None:
    apart = replace(tiny, aligned=False)
    assert [apart.kind_of(kind) for kind in ("none", "joint", "raw")] == ["none", "raw", "raw"]
    assert [tiny.kind_of(kind) for kind in ("none", "joint", "raw")] == ["none", "joint", "raw"]


@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.999), ("fp16", 0.9999)])
def test_less_precision_stays_close(lite0: Encoder, precision: Precision, least: float) -> None:
    """The families of open_clip are asked the same in test_families.py."""
    half = load_encoder(replace(choice_of("lite0-minilm"), precision=precision))
    noise = list(torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0)))
    assert half.digest == lite0.digest
    for a, b in (
        (half.encode_texts(TEXTS, "joint"), lite0.encode_texts(TEXTS, "joint")),
        (half.encode_images(noise, "joint"), lite0.encode_images(noise, "joint")),
    ):
        assert a.pooled.dtype == np.float32
        cosines = (a.pooled * b.pooled).sum(1) / np.linalg.norm(a.pooled, axis=1) / np.linalg.norm(b.pooled, axis=1)
        assert cosines.min() > least
        assert not np.array_equal(a.pooled, b.pooled)


def test_a_precision_that_a_device_lacks_is_one_line(monkeypatch: pytest.MonkeyPatch, tiny_folder: Any) -> None:
    def lacks(*_: Any) -> Any:
        raise RuntimeError('"op" not implemented for Half')

    monkeypatch.setattr("stages.extract.encoders.encoder._probed", lacks)
    choice = EncoderChoice(f"local-dir:{tiny_folder}", None, None, "cpu", "fp16", tiny_folder, False)
    with pytest.raises(UsageError, match="precision fp16 does not work on cpu; use fp32 or bf16"):
        load_encoder(choice)
    with pytest.raises(RuntimeError):  # in fp32 it would be our own fault
        load_encoder(replace(choice, precision="fp32"))


def test_one_changed_bit_changes_the_digest_of_weights() -> None:
    layer = torch.nn.Linear(3, 2)
    before = digest_of_weights(layer)
    with torch.no_grad():
        layer.weight.view(torch.int32)[0, 0] ^= 1
    assert digest_of_weights(layer) != before
