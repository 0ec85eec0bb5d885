from __future__ import annotations

import pickle
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import ParamsError
from cache.files import digest_of
from cache.manifest import Manifest
from cache.store import make_key
from stages.extract.plan import (
    Row,
    batches,
    batches_by_length,
    cache_content,
    name_rows,
    plan_shards,
    rows_digest,
    rows_of,
    shard_count,
    spoken,
    text_rows,
)
from tests.strategies import manifests


@given(st.integers(0, 200), st.integers(1, 50), st.sets(st.integers(0, 20)))
def test_shards_cover_every_row_once_but_those_done(rows: int, size: int, done: set[int]) -> None:
    planned = plan_shards(rows, size, done)
    assert not done & {shard.index for shard in planned}
    covered = [row for shard in planned for row in range(shard.start, shard.stop)]
    assert covered == [row for row in range(rows) if row // size not in done]
    assert all(0 < shard.stop - shard.start <= size for shard in planned)
    assert shard_count(rows, size) == len(plan_shards(rows, size, ()))


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 7))
def test_batches_by_length_hold_every_row_once_shortest_first(lengths: list[int], batch: int) -> None:
    made = batches_by_length(lengths, batch)
    order = [int(place) for places in made for place in places]
    assert sorted(order) == list(range(len(lengths)))
    assert order == sorted(range(len(lengths)), key=lambda i: lengths[i])  # sorted is stable: ties in their order
    assert [len(places) for places in made] == [len(places) for places in batches(len(lengths), batch)]


@given(manifests())
def test_every_picture_caption_and_class_becomes_a_row(manifest: Manifest) -> None:
    rows = rows_of(manifest, ["a {}", "{}", "the {}"])
    assert [row.id for row in rows["image"]] == manifest.ids
    assert [row.content for row in rows["image"]] == manifest.images
    assert [row.content for row in rows["text"]] == [text for texts in manifest.texts for text in texts]
    assert [(row.id, row.caption) for row in rows["name"]] == [(c, i) for c in manifest.classes for i in range(3)]


def test_class_names_are_spoken_as_words() -> None:
    assert spoken("Polar-Bear_cub") == "polar bear cub"
    rows = name_rows(["Red_Fox"], ["a photo of a {}", "{}, drawn by {}"])
    assert [row.content for row in rows] == ["a photo of a red fox", "red fox, drawn by red fox"]
    assert rows[0].id == "Red_Fox"


def test_a_template_without_a_place_for_the_name_is_refused() -> None:
    with pytest.raises(
        ParamsError, match=r"^'extract\.templates': 'a photo' has no place for the name; write \{\} there"
    ):
        name_rows(["fox"], ["{}", "a photo"])


ROW = Row("a", 0, "a.jpg", "00")


@pytest.mark.parametrize("change", [{"id": "b"}, {"caption": 1}, {"content": "b.jpg"}, {"digest": "01"}])
def test_the_digest_of_rows_changes_with_each_field(change: dict[str, object]) -> None:
    assert rows_digest([replace(ROW, **change)]) != rows_digest([ROW])
    assert rows_digest([ROW, ROW]) != rows_digest([ROW])


ENCODER = {"encoder": "x", "weights": "0", "precision": "fp32", "device": "cpu", "preprocess": {"size": 224}}


@pytest.mark.parametrize(
    "change",
    [
        {"rows": "text"},
        {"digest": "d2"},
        {"storage": "float32"},
        {"tokens": "raw"},
        {"tokens": "none"},
        *({"encoder": {**ENCODER, name: "other"}} for name in ENCODER),
    ],
)
def test_the_key_changes_with_all_that_decides_a_number(change: dict[str, object]) -> None:
    base = {"rows": "image", "digest": "d1", "encoder": ENCODER, "storage": "float16", "tokens": "joint"}
    keys = {make_key("features", cache_content(**fields)) for fields in (base, {**base, **change})}  # type: ignore[arg-type]
    assert len(keys) == 2


def test_batches_are_ranges_in_order() -> None:
    assert [places.tolist() for places in batches(5, 2)] == [[0, 1], [2, 3], [4]]
    assert batches(0, 2) == []
    assert np.concatenate(batches(7, 3)).dtype == np.int64


@given(manifests(), st.integers(0, 9), st.integers(0, 9))
def test_rows_are_a_sequence_however_they_are_cut(manifest: Manifest, begin: int, more: int) -> None:
    for rows in rows_of(manifest, ["a {}"]).values():
        whole = list(rows)
        part = rows[begin : begin + more]
        assert list(part) == whole[begin : begin + more]
        assert [part[i] for i in range(len(part))] == list(part)
        assert pickle.loads(pickle.dumps(part)) == list(part)
    captions = [(row.id, row.caption, row.content) for row in text_rows(manifest)]
    texts = zip(manifest.ids, manifest.texts, strict=True)
    assert captions == [(name, i, text) for name, some in texts for i, text in enumerate(some)]


@given(manifests())
def test_the_digest_of_rows_is_that_of_their_whole_text(manifest: Manifest) -> None:
    """It is in the key of every cache that stands."""
    for rows in rows_of(manifest, ["a {}"]).values():
        assert rows_digest(rows) == digest_of([astuple(row) for row in rows])
