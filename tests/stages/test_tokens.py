"""Where tokens come from: counted, padded and masked as the cache holds them, in the order asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cache.errors import ParamsError, UserError
from cache.store import read_ledger
from stages.items import MODALITIES, caption_rows, image_rows, open_features
from stages.tokens import Responsibilities, Tokens, check_tokens, open_tokens, read_tokens
from tests.stages.small_features import place

IDS = ["b", "a", "c"]
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 4, 5)).astype(np.float16)
TEXTS = [[RNG.normal(size=(n, 6)).astype(np.float16) for n in counts] for counts in ((2, 3), (4, 1), (1, 2))]


def sources(
    folder: Path, captions: str = "first", tokens: bool = True, texts: list[list[np.ndarray]] = TEXTS
) -> tuple[Tokens, Tokens]:
    here = place(folder, IDS, IMAGES, texts, [["x"], ["y"], ["x"]], tokens=tokens)
    image, text = (open_features(here.store, read_ledger(here.features), rows) for rows in MODALITIES)
    pictures, captioned = image_rows(image, IDS), caption_rows(text, IDS, captions)
    return open_tokens("image", image, pictures), open_tokens("text", text, captioned)


def unpadded(source: Tokens, items: list[int]) -> list[np.ndarray]:
    tokens, mask = read_tokens(source, np.array(items))
    assert not tokens[~mask].any()
    return [own[real] for own, real in zip(tokens, mask, strict=True)]


@pytest.mark.parametrize("items", [[0, 1, 2], [2, 0], [1]])
def test_tokens_come_in_the_order_asked_whatever_the_order_of_the_cache(tmp_path: Path, items: list[int]) -> None:
    image, text = sources(tmp_path)
    for item, picture, words in zip(items, unpadded(image, items), unpadded(text, items), strict=True):
        np.testing.assert_array_equal(picture, IMAGES[item].astype(np.float64))
        np.testing.assert_array_equal(words, TEXTS[item][0].astype(np.float64))


def test_captions_of_an_item_follow_each_other_and_are_padded_at_the_end(tmp_path: Path) -> None:
    _, text = sources(tmp_path, "mean")
    assert text.lengths.tolist() == [5, 5, 3]
    for own, captions in zip(unpadded(text, [0, 1, 2]), TEXTS, strict=True):
        np.testing.assert_array_equal(own, np.concatenate(captions).astype(np.float64))
    _, mask = read_tokens(text, np.array([0, 2]))
    assert mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]


@pytest.mark.parametrize("captions", ["first", "mean"])
def test_without_tokens_the_pooled_vector_of_each_row_is_its_token(tmp_path: Path, captions: str) -> None:
    image, text = sources(tmp_path, captions, tokens=False)
    assert image.lengths.tolist() == [1, 1, 1]
    assert text.lengths.tolist() == ([1, 1, 1] if captions == "first" else [2, 2, 2])
    wanted = [[c.astype(np.float64).mean(0) for c in own[: text.lengths[0]]] for own in TEXTS]
    np.testing.assert_allclose(unpadded(text, [0, 1, 2]), wanted, atol=2e-3)


def test_an_item_without_a_token_is_named_with_how_many_others(tmp_path: Path) -> None:
    none = np.zeros((0, 6), np.float16)
    both = sources(tmp_path, texts=[TEXTS[0][:1], [none], [none]])
    with pytest.raises(UserError) as caught:
        check_tokens(list(both), IDS, 1)
    assert str(caught.value) == (
        "a: its text has no token (1 other has none either); leave them out of the dataset and run 'ingest' again"
    )


def test_as_many_components_as_the_longest_item_has_tokens_is_the_most(tmp_path: Path) -> None:
    both = list(sources(tmp_path))
    check_tokens(both, IDS, 4)
    with pytest.raises(ParamsError, match="is 5, but no image has more than 4 tokens; set it to 4 or fewer"):
        check_tokens(both, IDS, 5)


def test_taken_tokens_are_those_of_the_items_asked_for(tmp_path: Path) -> None:
    for source in sources(tmp_path, "mean"):
        taken = source.take(np.array([2, 0]))
        assert len(taken) == 2
        for own, wanted in zip(unpadded(taken, [0, 1]), unpadded(source, [2, 0]), strict=True):
            np.testing.assert_array_equal(own, wanted)


def test_responsibilities_stand_where_the_tokens_do_and_are_0_where_none_is() -> None:
    values = np.array([[1, 0], [0.5, 0.5], [0, 1], [0.25, 0.75]], np.float16)
    whose = Responsibilities(values, np.array([0, 1, 3]), np.array([1, 2, 1]))
    expected = [[[0.25, 0.75], [0, 0]], [[0.5, 0.5], [0, 1]], [[0.25, 0.75], [0, 0]]]
    np.testing.assert_array_equal(whose.padded(np.array([2, 1, 2])), expected)
    np.testing.assert_array_equal(whose.take(np.array([2, 1])).padded(np.array([0, 1, 0])), expected)
