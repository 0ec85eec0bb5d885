"""Token attention against DESIGN section 6, SCM, step 5, written out over items, classes and tokens in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache.errors import UsageError, UserError
from stages.heads import attention
from stages.heads.attention import Attention, attend, cosines, tokens_of
from stages.heads.files import load_head, save_head
from stages.heads.head import Affine
from stages.heads.posterior import KIND, PosteriorHead, Vote, about_votes
from stages.items import MODALITIES, Items, Modality, load_items, unit
from stages.tokens import read_tokens
from tests.stages.small_features import place
from tests.stages.train import build

WIDTH, JOINT, PLACE, COUNT = build.WIDTH, 7, 4, len(build.CLASSES)
TAU: dict[Modality, float] = {"image": 0.3, "text": 0.05}
SHARE = 0.4


def kept(folder: Path, aligned: bool = True, tokens: bool = True, width: int = WIDTH) -> Items:
    """The small world's pairs with tokens in a cache: five a picture, one to seven a text."""
    rng = np.random.default_rng(2)
    images = build.tokens(0, width)
    texts = [[(own[:1] + rng.standard_normal((1 + i % 7, width))).astype(np.float16)] for i, own in enumerate(images)]
    here = place(folder, build.IDS, images, texts, [list(own) for own in build.LABELS], tokens=tokens)
    build.add_names(here.features, here.store, aligned)
    return load_items(here.store, here.manifest, here.features, None, "first")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Items:
    return kept(tmp_path_factory.mktemp("aligned"))


def some(seed: int, *shape: int) -> np.ndarray:
    return (0.5 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


WHITEN, ASKED = Affine(some(0, WIDTH), some(1, WIDTH, PLACE)), unit(some(2, COUNT, PLACE))


def sphere(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def by_loop(tokens: list[np.ndarray], whiten: Affine, prototype: np.ndarray, tau: float) -> np.ndarray:
    """z(x_ic) of one item and one class: its tokens weighed, summed, made unit length and whitened."""
    mean, root = whiten.mean.astype(np.float64), whiten.map.astype(np.float64)
    likely = [np.exp(sphere((sphere(x) - mean) @ root) @ prototype.astype(np.float64) / tau) for x in tokens]
    summed = sum(e / sum(likely) * x for e, x in zip(likely, tokens, strict=True))
    return sphere((sphere(summed) - mean) @ root)


def tokens_in(items: Items, m: Modality, row: int) -> list[np.ndarray]:
    values, mask = read_tokens(items.tokens[m], np.array([row]))
    return list(values[0][mask[0]])


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Three items of four, two and one tokens, padded by zeros."""
    mask = np.arange(4) < np.array([4, 2, 1])[:, None]
    return some(3, 3, 4, WIDTH) * mask[..., None], mask


@pytest.mark.parametrize("tau", [0.02, 0.3, 5.0])
def test_places_are_those_of_the_loop(tau: float) -> None:
    tokens, mask = batch()
    found = attend(tokens, mask, WHITEN, ASKED, tau)
    assert (found.shape, found.dtype) == ((3, COUNT, PLACE), np.float32)
    for i, c in np.ndindex(3, COUNT):
        real = list(tokens[i][mask[i]].astype(np.float64))
        assert found[i, c] == pytest.approx(by_loop(real, WHITEN, ASKED[c], tau), abs=2e-5)


@pytest.mark.parametrize("filler", [0.0, 1e3])
def test_padding_never_counts(filler: float) -> None:
    tokens, mask = batch()
    more = np.concatenate([np.where(mask[..., None], tokens, filler), np.full((3, 5, WIDTH), filler)], axis=1)
    padded = attend(more.astype(np.float32), np.pad(mask, ((0, 0), (0, 5))), WHITEN, ASKED, 0.1)
    assert padded == pytest.approx(attend(tokens, mask, WHITEN, ASKED, 0.1), abs=1e-6)


def test_the_order_of_tokens_never_counts() -> None:
    tokens, mask = batch()
    order = [2, 0, 3, 1]
    shuffled = attend(tokens[:, order], mask[:, order], WHITEN, ASKED, 0.1)
    assert shuffled == pytest.approx(attend(tokens, mask, WHITEN, ASKED, 0.1), abs=1e-6)


def test_at_a_very_large_temperature_an_item_is_the_mean_of_its_tokens_for_every_class() -> None:
    tokens, mask = batch()
    means = np.stack([own[real].mean(axis=0) for own, real in zip(tokens, mask, strict=True)])
    expected = np.repeat(unit(WHITEN(unit(means)))[:, None], COUNT, axis=1)
    assert attend(tokens, mask, WHITEN, ASKED, 1e6) == pytest.approx(expected, abs=1e-5)
    assert np.abs(attend(tokens, mask, WHITEN, ASKED, 0.1) - expected)[:2].max() > 0.05


def test_at_a_very_low_temperature_an_item_is_the_token_nearest_to_the_class() -> None:
    tokens, mask = batch()
    z = unit(WHITEN(unit(tokens[0])))
    best = (z @ ASKED.T).argmax(axis=0)
    assert attend(tokens, mask, WHITEN, ASKED, 1e-4)[0] == pytest.approx(z[best], abs=1e-5)


def test_an_item_of_one_token_is_that_token_whoever_asks() -> None:
    tokens, mask = batch()
    expected = unit(WHITEN(unit(tokens[2, :1])))
    assert attend(tokens, mask, WHITEN, ASKED, 0.1)[2] == pytest.approx(np.repeat(expected, COUNT, 0), abs=1e-6)


def test_a_zero_token_leaves_every_place_finite() -> None:
    tokens, mask = batch()
    tokens[1] = 0
    assert np.isfinite(attend(tokens, mask, WHITEN, ASKED, 0.1)).all()


@pytest.mark.parametrize("cells", [1, 200, 1 << 20])
@pytest.mark.parametrize("align", [None, Affine(some(4, WIDTH), some(5, WIDTH, JOINT))], ids=["joint", "two towers"])
def test_cosines_are_those_of_the_loop_in_blocks_of_any_size(items, align, cells, monkeypatch) -> None:
    monkeypatch.setattr(attention, "TOKEN_CELLS", cells)
    whiten = WHITEN if align is None else Affine(some(6, JOINT), some(7, JOINT, PLACE))
    for m in MODALITIES:
        found = cosines(items.tokens[m], align, whiten, ASKED, TAU[m])
        assert (found.shape, found.dtype) == ((len(items), COUNT), np.float32)
        for row in range(0, len(items), 5):
            tokens = tokens_in(items, m, row)
            placed = tokens if align is None else [(x - align.mean) @ align.map.astype(np.float64) for x in tokens]
            expected = [by_loop(placed, whiten, p, TAU[m]) @ p for p in ASKED]
            assert found[row] == pytest.approx(expected, abs=2e-5)


def test_a_block_holds_few_items(items, monkeypatch) -> None:
    monkeypatch.setattr(attention, "TOKEN_CELLS", 200)
    sizes = [len(p) for _, p in attention.attended(items.tokens["text"], None, WHITEN, ASKED, 0.1)]
    assert sum(sizes) == len(items)
    assert max(sizes) * 7 * WIDTH <= 200  # the longest text has seven tokens


# in a head


def head(own: Attention | None, aligned: bool = True) -> PosteriorHead:
    """A head of a vote in the joint space that attends, and of one that does not."""
    width = WIDTH if aligned else JOINT
    align = {} if aligned else {m: Affine(some(8, WIDTH), some(9, WIDTH, JOINT)) for m in MODALITIES}
    whiten = {m: Affine(some(10, width), some(11, width, PLACE)) for m in MODALITIES}
    first = Vote("joint", whiten, dict.fromkeys(MODALITIES, ASKED), {"image": 0.8, "text": 0.4}, attention=own)
    raw = {m: Affine(some(12, WIDTH), some(13, WIDTH, 3)) for m in MODALITIES}
    second = Vote("raw", raw, dict.fromkeys(MODALITIES, unit(some(14, COUNT, 3))), {"image": 0.2, "text": 0.6})
    votes = (first, second)
    told = {"kind": KIND, "method": "scm", "encoder": "tiny", "aligned": aligned, "tau": 0.2, "cosine": 0.3}
    classes = {"target": build.TARGET, "source": build.SOURCE}
    return PosteriorHead({**told, "classes": classes, "votes": about_votes(votes)}, align, votes)


def given(folder: Path, aligned: bool) -> Items:
    found = kept(folder, aligned)
    return replace(found, pooled_raw=found.pooled if aligned else None)


@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "two towers"])
def test_a_share_of_the_joint_votes_logit_is_from_attended_places(aligned: bool, tmp_path: Path) -> None:
    asked, one, plain = given(tmp_path, aligned), head(Attention(TAU, SHARE), aligned), head(None, aligned)
    for m in MODALITIES:
        found, pooled = one.logits(asked, m), plain.logits(asked, m).astype(np.float64)
        vote, align = one.votes[0], one.align.get(m)
        for row in range(0, len(asked), 7):
            tokens = tokens_in(asked, m, row)
            placed = tokens if align is None else [(x - align.mean) @ align.map.astype(np.float64) for x in tokens]
            joint = asked.pooled[m][row] if align is None else align(asked.pooled[m][row])
            z = sphere((sphere(joint.astype(np.float64)) - vote.whiten[m].mean) @ vote.whiten[m].map)
            for c, p in enumerate(ASKED):
                moved = by_loop(placed, vote.whiten[m], p, TAU[m]) @ p - z @ p
                assert found[row, c] == pytest.approx(pooled[row, c] + vote.weight[m] * SHARE * moved, abs=3e-5)


def test_vectors_follow_the_attended_logits_and_keep_the_pooled_place(tmp_path: Path) -> None:
    asked, one = given(tmp_path, True), head(Attention(TAU, SHARE))
    found = one.vectors(asked, "image", "all").values[:, 0]
    likely = np.exp(one.logits(asked, "image").astype(np.float64) / 0.2)
    expected = np.sqrt(0.7) * likely / likely.sum(axis=1, keepdims=True)
    assert found[:, :COUNT] == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(found[:, COUNT:], head(None).vectors(asked, "image", "all").values[:, 0, COUNT:])


@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "two towers"])
def test_a_head_that_attends_read_back_says_the_same(aligned: bool, tmp_path: Path) -> None:
    asked, before = given(tmp_path, aligned), head(Attention(TAU, SHARE), aligned)
    save_head(tmp_path / "head", before)
    after = load_head(tmp_path / "head")
    assert (after.about, after.votes[0].attention, after.votes[1].attention) == (
        before.about,
        Attention(TAU, SHARE),
        None,
    )
    for m in MODALITIES:
        for gallery in ("target", "all"):
            assert np.array_equal(*(one.vectors(asked, m, gallery).values for one in (before, after)))
        assert np.array_equal(before.logits(asked, m), after.logits(asked, m))


def test_a_head_without_attention_reads_no_token_and_its_file_has_no_word_of_it(tmp_path: Path) -> None:
    plain, asked = head(None), given(tmp_path, True)
    assert all("attention" not in told for told in plain.about["votes"])
    alone = replace(asked, tokens=None)
    assert np.array_equal(plain.logits(asked, "text"), plain.logits(alone, "text"))


# what cannot be attended to

REFUSED = (
    "train.scm.attention needs tokens in the space of the pooled vectors; set extract.tokens to joint and run"
    " 'extract' again, or train.scm.attention to false"
)


def wider(items: Items) -> Items:
    """The same items, their pooled vectors of another width than their tokens."""
    return replace(items, pooled={**items.pooled, "text": np.zeros((len(items), WIDTH + 1), np.float32)})


def before_the_projection(items: Items) -> Items:
    """The same items, their caches saying that the tokens are of the tower's own space; widths agree by chance."""
    for m in MODALITIES:
        items.tokens[m].cache.about["content"]["tokens"] = "raw"
    return items


@pytest.mark.parametrize("case", ["none kept", "not read", "wider", "before the projection"])
def test_tokens_of_another_space_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    found = kept(tmp_path, tokens=case != "none kept")
    changed = {"not read": lambda own: replace(own, tokens=None), "wider": wider}
    changed["before the projection"] = before_the_projection
    asked = changed.get(case, lambda own: own)(found)
    for ask in (lambda: tokens_of(asked), lambda: head(Attention(TAU, SHARE)).logits(asked, "image")):
        with pytest.raises(UsageError) as caught:
            ask()
        assert str(caught.value) == REFUSED


def test_two_towers_attend_to_the_tokens_of_their_own_spaces(tmp_path: Path) -> None:
    asked = before_the_projection(kept(tmp_path, aligned=False))
    assert set(tokens_of(asked)) == set(MODALITIES)


def test_an_item_without_a_token_is_named(items: Items) -> None:
    text = items.tokens["text"]
    lengths = np.where(np.arange(len(items)) == 3, 0, text.lengths)
    with pytest.raises(UserError, match=rf"^{items.ids[3]}: its text has no token; leave it out of the"):
        tokens_of(replace(items, tokens={**items.tokens, "text": replace(text, lengths=lengths)}))
