"""The check that comes with the shared heads: retrieval among 1,539 photographs and their captions, 20 classes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cache.features import FeatureCache
from cache.files import digest_file
from cache.hdf5 import Array
from cache.manifest import Manifest, write_manifest
from cache.store import folder_of, read_ledger
from stages.extract.params import ExtractParams, ExtractSection
from stages.extract.run import run

pytestmark = pytest.mark.shared


@dataclass(frozen=True)
class Photos:
    labels: Array
    caches: dict[str, FeatureCache]


def manifest_of_photos(folder: Path) -> Manifest:
    with (folder / "pairs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = [row["image"] for row in rows]
    return Manifest(
        "flickr8k-core20",
        str(folder),
        [row["id"] for row in rows],
        images,
        [[row["caption_0"]] for row in rows],
        [[row["label"]] for row in rows],
        [None] * len(rows),
        [(folder / image).stat().st_size for image in images],
        [digest_file(folder / image) for image in images],
    )


@pytest.fixture(scope="module")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """All of core20 through the aligned heads: about half a minute on two cores."""
    base = tmp_path_factory.mktemp("core20")
    manifest = manifest_of_photos(shared / "data" / "flickr8k-core20")
    write_manifest(base / "manifest.parquet", manifest, "test")
    section = ExtractSection(
        device="cpu",
        precision="fp32",
        tokens="joint",
        storage="float16",
        weights=None,
        heads=str(shared / "encoders" / "lite0-minilm-photos" / "heads.safetensors"),
        allow_pickle=False,
        templates=["a photo of a {}"],
        rows_per_shard=1024,
        batch=64,
        workers=1,
        backend="loky",
    )
    params = ExtractParams(
        encoder="lite0-minilm",
        label="lite0-minilm@heads",
        section=section,
        home=base,
        store=base / "store",
        manifest=base / "manifest.parquet",
        ledger=base / "ledger.json",
        made_from="test",
        wait_for_lock=False,
    )
    run(params)
    keys = read_ledger(params.ledger).keys
    caches = {key.about["rows"]: FeatureCache.open(folder_of(params.store, key.kind, key.key)) for key in keys}
    assert caches["image"].ids == caches["text"].ids == manifest.ids
    return Photos(np.array([labels[0] for labels in manifest.labels]), caches)


def unit(values: Array) -> Array:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def mean_average_precision(queries: Array, gallery: Array, labels: Array) -> float:
    """Every item is a query and in the gallery; relevant is what has the query's class; the first index wins a tie."""
    precisions = []
    for row, scores in enumerate(unit(queries) @ unit(gallery).T):
        relevant = labels[np.argsort(-scores, kind="stable")] == labels[row]
        hits = np.flatnonzero(relevant) + 1
        precisions.append(np.mean(np.arange(1, len(hits) + 1) / hits))
    return float(np.mean(precisions))


def test_retrieval_among_all_classes_reads_as_published(photos: Photos) -> None:
    images, texts = photos.caches["image"].pooled(), photos.caches["text"].pooled()
    assert mean_average_precision(images, texts, photos.labels) == pytest.approx(0.527, abs=0.005)
    assert mean_average_precision(texts, images, photos.labels) == pytest.approx(0.510, abs=0.005)


def test_class_names_find_their_photographs(photos: Photos) -> None:
    names = photos.caches["name"]
    best = np.argmax(unit(photos.caches["image"].pooled()) @ unit(names.pooled()).T, axis=1)
    assert np.mean(np.array(names.ids)[best] == photos.labels) == pytest.approx(0.69, abs=0.01)


def test_stored_tokens_pool_to_the_pooled_vectors(photos: Photos) -> None:
    images, texts = photos.caches["image"], photos.caches["text"]
    patches = images.tokens(range(200))
    assert isinstance(patches, np.ndarray)
    assert patches.shape == (200, 49, 512)
    assert np.allclose(patches.astype(np.float32).mean(axis=1), images.pooled()[:200], atol=2e-3)
    values, offsets = texts.tokens(range(200))
    means = [values[a:b].astype(np.float32).mean(axis=0) for a, b in pairwise(offsets)]
    assert np.allclose(means, texts.pooled()[:200], atol=2e-3)


def test_nothing_was_lost_and_nothing_cut(photos: Photos) -> None:
    for cache in photos.caches.values():
        assert cache.failed.num_rows == 0
        assert not any(cache.index["truncated"].to_pylist())
