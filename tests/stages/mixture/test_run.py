"""The stage: from two caches to kept mixtures and a ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from cache import shards
from cache.errors import BusyError, DamagedError, ParamsError, UserError
from cache.mixtures import MixtureRows, read_mixture
from cache.store import folder_of, lock, read_ledger
from stages.batches import BUDGETS
from stages.em import fit_mixture, views_of
from stages.mixture import fit
from stages.mixture.params import MixtureParams, MixtureSection
from stages.mixture.run import run
from tests.cache.build import flip_bit, tree
from tests.listener import Listener
from tests.stages.small_features import Place, place

IDS = ["e", "a", "d", "b", "c"]
SECTION: dict[str, Any] = {
    "components": 3,
    "covariance": "spherical",
    "iterations": 4,
    "temperature": "auto",
    "floor": 1e-4,
    "groups": "em",
}


def tokens_of(n: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float16)


IMAGES = np.stack([tokens_of(9, 8, seed) for seed in range(5)])
TEXTS = [[tokens_of(n, 6, 10 + n), tokens_of(2, 6, 20 + n)] for n in (5, 2, 7, 4, 3)]


def small(folder: Path, **changes: Any) -> Place:
    given: dict[str, Any] = {"images": IMAGES, "texts": TEXTS, "labels": [["x"], ["y"]] * 2 + [["x"]], **changes}
    return place(folder, IDS, **given)


def params(here: Place, captions: str = "first", **section: Any) -> MixtureParams:
    return MixtureParams(
        section=MixtureSection(**{**SECTION, **section}),
        captions=captions,
        store=here.store,
        manifest=here.manifest,
        features=here.features,
        ledger=here.features.with_name("mixtures.json"),
        made_from="made",
        wait_for_lock=False,
    )


def kept(of: MixtureParams) -> dict[str, MixtureRows]:
    folder = folder_of(of.store, "mixtures", read_ledger(of.ledger).keys[0].key)
    return {"image": read_mixture(folder, "image"), "text": read_mixture(folder, "text")}


def alone(tokens: np.ndarray, covariance: Any = "spherical") -> tuple[Any, torch.Tensor]:
    """The mixture and the views of one item, fitted by itself."""
    x, mask = torch.from_numpy(tokens)[None], torch.ones(1, len(tokens), dtype=torch.bool)
    mixture = fit_mixture(x, mask, 3, covariance, 4, None, 1e-4)
    return mixture, views_of(x, mask, mixture.responsibilities)


@pytest.mark.parametrize("covariance", ["spherical", "diag"])
def test_every_item_is_fitted_as_it_would_be_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, covariance: str
) -> None:
    monkeypatch.setitem(cast(dict[str, int], BUDGETS), covariance, 150)  # several batches, padded
    run(asked := params(small(tmp_path), covariance=covariance))
    for modality, tokens in (("image", list(IMAGES)), ("text", [own[0] for own in TEXTS])):
        rows = kept(asked)[modality]
        for row, own in enumerate(tokens):
            mixture, views = alone(own, covariance)
            begin, end = rows.offsets[row : row + 2]
            assert end - begin == len(own)
            np.testing.assert_allclose(rows.views[row], views[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(rows.weights[row], mixture.weights[0], rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(rows.responsibilities[begin:end], mixture.responsibilities[0], atol=1e-3)
            np.testing.assert_allclose(rows.objective[row], mixture.objective[0], rtol=1e-5)
            np.testing.assert_array_equal(rows.live[row], mixture.live[0])


def test_rows_stand_in_manifest_order_without_what_could_not_be_read(tmp_path: Path) -> None:
    run(asked := params(small(tmp_path, lost=["a", "c"])))
    rows = kept(asked)["image"]
    assert len(rows.views) == 3
    for row, item in enumerate((0, 2, 3)):
        np.testing.assert_allclose(rows.views[row], alone(IMAGES[item])[1][0], rtol=1e-5, atol=1e-6)


def test_with_mean_captions_the_tokens_of_all_captions_are_one_cloud(tmp_path: Path) -> None:
    run(asked := params(small(tmp_path), captions="mean"))
    rows = kept(asked)["text"]
    for row, own in enumerate(TEXTS):
        np.testing.assert_allclose(rows.views[row], alone(np.concatenate(own))[1][0], rtol=1e-5, atol=1e-6)


def test_a_text_of_two_tokens_has_two_live_components(tmp_path: Path) -> None:
    run(asked := params(small(tmp_path)))
    assert kept(asked)["text"].live.sum(1).tolist() == [3, 2, 3, 3, 3]


def test_random_groups_keep_weights_and_change_views(tmp_path: Path) -> None:
    here = small(tmp_path)
    run(asked := params(here))
    plain = kept(asked)["image"]
    run(asked := params(here, groups="random"))
    dealt = kept(asked)["image"]
    np.testing.assert_array_equal(dealt.weights, plain.weights)
    assert not np.allclose(dealt.views, plain.views)
    sizes = [
        [rows.responsibilities[a:b].astype(float).sum(0) for a, b in zip(rows.offsets, rows.offsets[1:], strict=False)]
        for rows in (plain, dealt)
    ]
    np.testing.assert_allclose(sizes[0], sizes[1])


def test_without_tokens_there_is_one_view_the_pooled_vector_and_a_remark(tmp_path: Path, listener: Listener) -> None:
    run(asked := params(small(tmp_path, tokens=False)))
    rows = kept(asked)["image"]
    np.testing.assert_allclose(rows.views[:, 0], IMAGES.mean(1), rtol=1e-3, atol=1e-3)
    assert rows.views.shape == (5, 1, 8)
    assert listener.said == [
        "mixture: the caches hold no tokens, so K is 1 and an item's one view is its pooled vector"
    ]
    assert read_ledger(asked.ledger).keys[0].about["components"] == 1


def test_more_components_than_any_item_has_tokens_is_one_clear_error(tmp_path: Path) -> None:
    texts = [[own[0][:4]] for own in TEXTS]
    with pytest.raises(ParamsError) as caught:
        run(params(small(tmp_path, texts=texts), components=6))
    assert str(caught.value) == ("mixture.components is 6, but no text has more than 4 tokens; set it to 4 or fewer")
    assert not (tmp_path / "store" / "mixtures").exists()


def test_an_item_without_any_token_is_named(tmp_path: Path) -> None:
    texts = [[own[0]] for own in TEXTS]
    texts[3] = [np.zeros((0, 6), np.float16)]
    with pytest.raises(UserError, match="b: its text has no token"):
        run(params(small(tmp_path, texts=texts)))


def test_the_ledger_names_the_key_and_what_was_seen(tmp_path: Path) -> None:
    run(asked := params(small(tmp_path)))
    ledger = read_ledger(asked.ledger)
    (key,) = ledger.keys
    assert (ledger.kind, ledger.made_from) == ("mixtures", "made")
    assert ledger.about == {
        "dataset": "small", "label": "tiny", "components": 3, "covariance": "spherical", "groups": "em",
    }  # fmt: skip
    assert key.digest == shards.folder_digest(folder_of(asked.store, "mixtures", key.key))
    assert set(key.about["diagnostics"]) == {"image", "text"}
    assert key.about["diagnostics"]["text"]["short"] == 1
    assert len(key.about["diagnostics"]["image"]["objective"]) == 4


def test_a_second_run_computes_nothing_and_writes_the_same_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(asked := params(small(tmp_path)))
    before = asked.ledger.read_bytes()
    asked.ledger.unlink()
    monkeypatch.setattr("stages.mixture.run.fit_items", None)
    run(asked)
    assert asked.ledger.read_bytes() == before


def test_a_run_that_died_between_the_modalities_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(asked := params(small(tmp_path / "whole")))
    wanted = read_ledger(asked.ledger).keys[0].digest
    asked = params(small(tmp_path / "cut"))
    monkeypatch.setattr("stages.mixture.run.fit_items", _only("image"))
    with pytest.raises(RuntimeError):
        run(asked)
    monkeypatch.setattr("stages.mixture.run.fit_items", _only("text"))
    run(asked)
    assert read_ledger(asked.ledger).keys[0].digest == wanted


def _only(modality: str) -> Any:
    def fit_items(source: Any, *rest: Any) -> MixtureRows:
        if source.modality != modality:
            raise RuntimeError
        return fit.fit_items(source, *rest)

    return fit_items


@pytest.mark.parametrize(
    "change", [{"components": 2}, {"covariance": "diag"}, {"iterations": 2}, {"temperature": 2.0}, {"floor": 1e-2}]
)
def test_each_parameter_makes_another_key_and_changing_it_back_finds_the_old_one(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    here = small(tmp_path)
    keys = []
    for section in ({}, change, {}):
        run(asked := params(here, **section))
        keys.append(read_ledger(asked.ledger).keys[0].key)
    assert keys[0] == keys[2] != keys[1]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    run(asked := params(small(tmp_path)))
    key = read_ledger(asked.ledger).keys[0].key
    (folder_of(asked.store, "mixtures", key) / "text.h5").unlink()
    with (
        lock(asked.store, "mixtures", key, wait=False, on_wait=print),
        pytest.raises(BusyError, match="is writing here since"),
    ):
        run(replace(asked))


@pytest.mark.parametrize("rows", ["image", "text"])
def test_a_flipped_bit_in_the_features_stops_what_must_be_fitted_and_is_not_looked_for_where_nothing_must(
    tmp_path: Path, rows: str
) -> None:
    run(asked := params(here := small(tmp_path)))
    before = tree(here.store)
    folder = folder_of(here.store, "features", read_ledger(here.features).find(rows=rows).key)
    flip_bit(folder / "part-00000.h5")
    damaged = tree(here.store)
    run(asked)
    with pytest.raises(DamagedError, match="then 'extract' writes only this part again"):
        run(params(here, components=2))
    assert tree(here.store) == damaged
    flip_bit(folder / "part-00000.h5")
    run(params(here, components=2))
    assert before.items() < tree(here.store).items()


def test_people_are_warned_where_the_mixtures_have_collapsed(tmp_path: Path, listener: Listener) -> None:
    images = np.zeros((5, 201, 8), np.float16)
    images[:, 0] = 1.0  # one token apart, two hundred alike
    run(params(small(tmp_path, images=images), components=2))
    assert listener.warned == [
        "5 of 5 image mixtures have collapsed onto one component;"
        " set mixture.temperature to a higher value or mixture.components to a lower one"
    ]
