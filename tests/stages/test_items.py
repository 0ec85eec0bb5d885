from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from cache.errors import DamagedError, MissingError
from cache.features import FeatureCache
from cache.manifest import read_manifest
from cache.mixtures import read_mixture
from cache.store import folder_of, read_ledger
from stages import items as stage_items
from stages.items import MODALITIES, Captions, Items, _names, caption_rows, common_ids, load_items, unit
from stages.tokens import read_tokens
from stages.train.params import TrainParams
from tests.stages.small_features import place
from tests.stages.train import build

IDS = ["p", "q", "r"]
IMAGES = np.arange(3 * 2 * 4).reshape(3, 2, 4) / 8
TEXTS = [[np.full((c + 1, 4), 10.0 * row + c) for c in range(3)] for row in range(3)]
LABELS = [["ant"], ["bee"], ["ant", "bee"]]


@pytest.fixture
def world(tmp_path: Path) -> TrainParams:
    return build.params(tmp_path, ["gcrdp"])


def load(world: TrainParams, mixtures: bool = True) -> Items:
    kept = world.mixtures if mixtures else None
    return load_items(world.store, world.manifest, world.features, kept, world.captions)


def caches(features: Path, store: Path) -> list[FeatureCache]:
    ledger = read_ledger(features)
    return [FeatureCache.open(folder_of(store, "features", ledger.find(rows=rows).key)) for rows in ("image", "text")]


def test_common_ids_are_those_of_both_caches_in_manifest_order(tmp_path):
    here = place(tmp_path, IDS, IMAGES, TEXTS, LABELS, lost=["q"])
    assert common_ids(read_manifest(here.manifest), *caches(here.features, here.store)) == ["p", "r"]


def test_an_items_text_is_its_first_caption_or_all_of_them_in_order(tmp_path):
    here = place(tmp_path, IDS, IMAGES, TEXTS, LABELS)
    text = caches(here.features, here.store)[1]
    captions = text.index["caption"].to_pylist()
    for told, expected in (("first", [0]), ("join", [0]), ("mean", [0, 1, 2])):
        rows = caption_rows(text, ["r", "p"], told)
        assert [[captions[row] for row in own] for own in rows] == [expected, expected]
        assert [{text.ids[row] for row in own} for own in rows] == [{"r"}, {"p"}]


def test_captions_count_by_their_number_and_not_by_their_place():
    table = pa.table({"caption": [2, 4, 0, 1]})
    cache = SimpleNamespace(ids=["p", "q", "p", "p"], columns=table.select)
    assert [rows.tolist() for rows in caption_rows(cache, ["q", "p"], "mean")] == [[1], [2, 3, 0]]
    assert [rows.tolist() for rows in caption_rows(cache, ["q", "p"], "first")] == [[1], [2]]


def test_everything_stands_in_manifest_order(world):
    items = load(world)
    expected = build.items()
    assert items.ids == build.IDS
    assert items.labels == build.LABELS
    for m in ("image", "text"):
        assert items.pooled[m] == pytest.approx(expected.pooled[m], abs=1e-2)  # the builder sums in float16
        assert np.array_equal(items.views[m], expected.views[m])
        assert np.array_equal(items.weights[m], expected.weights[m])
        assert np.array_equal(items.live[m], expected.live[m])


def test_keys_and_encoder_are_those_of_the_ledgers(world):
    items = load(world)
    features, mixtures = read_ledger(world.features), read_ledger(world.mixtures)
    expected = {rows: features.find(rows=rows).key for rows in ("image", "text", "name")}
    assert items.keys == {**expected, "mixtures": mixtures.keys[0].key}
    assert (items.encoder, items.aligned) == ("tiny", True)


def test_without_mixtures_there_are_no_views(world):
    items = load(world, mixtures=False)
    assert items.views is items.weights is items.live is None
    assert "mixtures" not in items.keys


def test_a_mean_text_is_the_mean_of_its_captions(tmp_path):
    here = place(tmp_path, IDS, IMAGES, TEXTS, LABELS)
    build.add_names(here.features, here.store, aligned=True)
    first, mean = (load_items(here.store, here.manifest, here.features, None, c) for c in ("first", "mean"))
    assert first.pooled["text"][:, 0].tolist() == [0, 10, 20]
    assert mean.pooled["text"][:, 0].tolist() == [1, 11, 21]
    assert np.array_equal(first.pooled["image"], mean.pooled["image"])


def test_captions_are_kept_apart_in_their_order_where_they_are_asked_for(tmp_path):
    texts = [TEXTS[0], TEXTS[1][:1], TEXTS[2][:2]]
    here = place(tmp_path, IDS, IMAGES, texts, LABELS, lost=["q"])
    build.add_names(here.features, here.store, aligned=True)
    alone, found = (load_items(here.store, here.manifest, here.features, None, "first", apart) for apart in (0, 1))
    assert alone.captions is None
    assert found.captions.counts.tolist() == [3, 2]
    assert found.captions.pooled[:, 0].tolist() == [0, 1, 2, 20, 21]
    assert found.captions.pooled_raw is None
    assert (found.keys, found.pooled["text"].tolist()) == (alone.keys, alone.pooled["text"].tolist())


def test_a_caption_that_is_no_number_is_named_where_captions_are_kept_apart(tmp_path):
    texts = [[own.copy() for own in item] for item in TEXTS]
    texts[1][2][:], texts[1][1][:], texts[2][1][:] = np.nan, np.inf, np.nan
    here = place(tmp_path, IDS, IMAGES, texts, LABELS)
    build.add_names(here.features, here.store, aligned=True)
    load_items(here.store, here.manifest, here.features, None, "first")
    with pytest.raises(DamagedError, match=r"^features/\w{32}: the text vector of 'q' \(and those of 1 more item\) is"):
        load_items(here.store, here.manifest, here.features, None, "first", apart=True)


def ragged(raw: bool = True) -> Captions:
    """Captions of four items; caption c of item i holds 10 i + c, and a hundred more before the joint space."""
    counts = np.array([2, 1, 3, 1])
    values = np.array([[10.0 * item + c] for item, own in enumerate(counts) for c in range(own)], np.float32)
    return Captions(values, values + 100 if raw else None, counts)


@pytest.mark.parametrize("raw", [True, False])
def test_captions_of_some_items_stay_side_by_side(raw):
    few = ragged(raw).take(np.array([2, 0, 2]))
    assert few.counts.tolist() == [3, 2, 3]
    assert few.pooled[:, 0].tolist() == [20, 21, 22, 0, 1, 20, 21, 22]
    assert (few.pooled_raw is not None) == raw
    assert not raw or np.array_equal(few.pooled_raw, few.pooled + 100)
    none = ragged(raw).take(np.array([], np.int64))
    assert (len(none.pooled), len(none.counts)) == (0, 0)


def test_the_mean_of_captions_is_that_of_each_item():
    assert ragged().mean(ragged().pooled)[:, 0].tolist() == [0.5, 10, 21, 30]


def test_taking_items_takes_their_captions(world):
    items = replace(load(world).take([0, 1, 2, 3]), captions=ragged())
    assert items.take([3, 0]).captions.pooled[:, 0].tolist() == [30, 0, 1]


def test_a_class_name_is_the_mean_of_unit_vectors_over_templates(world):
    key = read_ledger(world.features).find(rows="name").key
    pooled = FeatureCache.open(folder_of(world.store, "features", key)).pooled()
    names = load(world).names["joint"]
    assert sorted(names) == build.CLASSES
    assert names["bee"] == pytest.approx((unit(pooled[2]) + unit(pooled[3])) / 2, abs=1e-6)


def features_of(tmp_path: Path, broken: dict[str, float]) -> TrainParams:
    """The small world whose pictures' tokens, and so their vectors, are spoilt for some ids."""
    params = build.params(tmp_path, ["cca"])
    values = build.tokens(0)
    for name, value in broken.items():
        values[build.IDS.index(name)] = value
    shutil.rmtree(params.store)
    here = place(tmp_path, build.IDS, values, [[own] for own in build.tokens(1)], [list(own) for own in build.LABELS])
    build.add_names(here.features, here.store, aligned=True)
    return params


@pytest.mark.parametrize(
    ("broken", "also"),
    [
        ({"bee-1": np.nan}, ""),
        ({"bee-1": np.inf, "cat-0": np.nan}, " (and those of 1 more item)"),
        ({"fox-7": np.nan, "bee-1": -np.inf, "eel-0": 0.0}, " (and those of 1 more item)"),
    ],
)
def test_the_first_item_whose_vector_is_no_number_is_named_with_what_to_do(tmp_path, broken, also):
    params = features_of(tmp_path, broken)
    key = read_ledger(params.features).find(rows="image").key
    with pytest.raises(DamagedError) as caught:
        load(params, mixtures=False)
    assert str(caught.value) == (
        f"features/{key}: the image vector of 'bee-1'{also} is not finite;"
        " set extract.precision to fp32 and run 'extract' again, or leave the item out of the data set"
    )


def test_where_an_encoder_was_as_exact_as_can_be_the_item_is_to_go(tmp_path, monkeypatch):
    params, opened = features_of(tmp_path, {"bee-1": np.nan}), stage_items.open_features

    def at_fp32(*given):
        cache = opened(*given)
        cache.about["content"]["precision"] = "fp32"
        return cache

    monkeypatch.setattr(stage_items, "open_features", at_fp32)
    with pytest.raises(DamagedError, match=r"'bee-1' is not finite; leave the item out of the data set$"):
        load(params, mixtures=False)


def test_a_vector_that_was_spoilt_on_disk_is_mended_by_verify(world):
    folder = folder_of(world.store, "features", read_ledger(world.features).find(rows="text").key)
    own = FeatureCache.open(folder).pooled()[0]
    [part] = folder.glob("part-*.h5")
    whole = part.read_bytes()
    spoilt = np.full_like(own, np.nan).tobytes()
    assert whole.count(own.tobytes()) == 1
    part.write_bytes(whole.replace(own.tobytes(), spoilt))
    with pytest.raises(DamagedError, match=r"part-00000\.h5.*; run 'verify --repair', then 'extract' "):
        load(world)


def test_a_zero_vector_is_let_through(tmp_path):
    items = load(features_of(tmp_path, {"bee-1": 0.0}), mixtures=False)
    assert not items.pooled["image"][build.IDS.index("bee-1")].any()


def part(names: list[str], raw: int | None) -> SimpleNamespace:
    """A cache of names, as far as it is read: row i holds i + 1 in place i, where the width has one."""
    values = {width: np.diag(np.arange(1.0, len(names) + 1)).astype(np.float32)[:, :width] for width in (4, raw or 4)}
    return SimpleNamespace(ids=names, pooled=lambda: values[4], pooled_raw=lambda: None if raw is None else values[raw])


@pytest.mark.parametrize("aligned", [True, False])
def test_names_of_the_joint_space_count_by_direction_where_it_is_one_and_raw_ones_as_they_are(aligned):
    found = _names(part(["a", "b", "a", "b"], 3), aligned)
    joint = [[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5]] if aligned else [[0.5, 0, 1.5, 0], [0, 1, 0, 2]]
    assert [found["joint"][name].tolist() for name in "ab"] == joint
    assert [found["raw"][name].tolist() for name in "ab"] == [[0.5, 0, 1.5], [0, 1, 0]]
    assert "raw" not in _names(part(["a", "b"], None), aligned)


def test_mixtures_of_other_items_are_refused(world, tmp_path):
    build.add_mixtures(tmp_path, [build.tokens(0)[:40], build.tokens(1)[:40]])
    with pytest.raises(DamagedError, match=r"^mixtures/\w{32}: 40 image rows for 48 items; run 'mixture' again$"):
        load(world)


def test_taking_rows_keeps_what_belongs_together(world):
    items = load(world)
    few = items.take([5, 2, 5])
    assert few.ids == [build.IDS[5], build.IDS[2], build.IDS[5]]
    assert np.array_equal(few.views["text"], items.views["text"][[5, 2, 5]])
    assert np.array_equal(few.live["image"], items.live["image"][[5, 2, 5]])
    assert few.names is items.names
    assert len(replace(few, views=None, weights=None, live=None).take([0])) == 1


def test_rows_of_ids_and_the_message_for_a_lost_one(world):
    items = load(world)
    assert items.rows_of([build.IDS[7], build.IDS[0]]).tolist() == [7, 0]
    with pytest.raises(MissingError, match=r"^nobody: 1 of 2 ids of the episodes has no features; run 'split' again$"):
        items.rows_of([build.IDS[0], "nobody"])


def test_views_are_those_of_the_store(world):
    key = read_ledger(world.mixtures).keys[0].key
    kept = read_mixture(folder_of(world.store, "mixtures", key), "text")
    assert np.array_equal(load(world).views["text"], kept.views)


def test_a_zero_vector_stays_zero_at_unit_length():
    assert unit(np.array([[3, 4], [0, 0]], np.float32)).tolist() == [[0.6000000238418579, 0.800000011920929], [0, 0]]


def test_items_know_their_own_tokens_whatever_was_taken(tmp_path):
    here = place(tmp_path, IDS, IMAGES, TEXTS, LABELS)
    build.add_names(here.features, here.store, aligned=True)
    items = load_items(here.store, here.manifest, here.features, None, "first")
    turned = items.take([2, 0])
    for m in MODALITIES:
        tokens, mask = read_tokens(turned.tokens[m], np.array([0, 1]))
        wanted, real = read_tokens(items.tokens[m], np.array([2, 0]))
        assert tokens[mask].tolist() == wanted[real].tolist()


def test_items_know_whose_their_tokens_are_with_views_alone(world):
    items, key = load(world), read_ledger(world.mixtures).keys[0].key
    assert load(world, mixtures=False).responsibilities is None
    kept = read_mixture(folder_of(world.store, "mixtures", key), "text")
    rows = np.array([5, 0])
    found = items.take(rows).responsibilities["text"].padded(np.array([0, 1]))
    expected = [kept.responsibilities[kept.offsets[row] : kept.offsets[row + 1]] for row in rows]
    assert np.array_equal(found, np.array(expected, np.float32))
    tokens, _ = read_tokens(items.take(rows).tokens["text"], np.array([0, 1]))
    views = np.einsum("bnk,bnd->bkd", found, tokens) / np.maximum(found.sum(1), 1e-9)[..., None]
    live = items.live["text"][rows]
    assert views[live] == pytest.approx(items.views["text"][rows][live], abs=1e-5)
