"""Degraded copies: what becomes of the pixels, of the pairs, and of what cannot be read."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cache.errors import UsageError
from cache.files import digest_file
from cache.manifest import read_manifest
from stages.ingest.datasets import find
from stages.ingest.datasets.degraded import blurred, grey, sketch
from stages.ingest.params import IngestParams, IngestSection
from stages.ingest.run import run
from tests.conftest import ROOT


def picture(seed: int, side: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side + 8, 3), np.uint8))


def params(folder: Path, dataset: str, count: int = 4) -> IngestParams:
    (folder / "photos").mkdir(exist_ok=True)
    for i in range(count):
        picture(i).save(folder / "photos" / f"{i}.png")
    rows = [
        {"id": f"p{i}", "image": f"photos/{i}.png", "text": f"text {i}", "label": "ab"[i % 2]} for i in range(count)
    ]
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    section = yaml.safe_load((ROOT / "params.yaml").read_text())["ingest"]
    section["table"] |= {"path": "pairs.csv", "name": "mine"}
    section |= {"root": "raw", "blur": 0.05}
    manifest = folder / f"{dataset}.parquet"
    return IngestParams(
        dataset=dataset, section=IngestSection(**section), home=folder, manifest=manifest, made_from="made"
    )


@pytest.mark.parametrize("how", ["blur", "grey", "sketch"])
def test_a_copy_keeps_everything_of_a_pair_but_its_picture(tmp_path: Path, how: str) -> None:
    for name in ("table", f"table-to-{how}"):
        run(params(tmp_path, name))
    plain, copies = (read_manifest(tmp_path / f"{name}.parquet") for name in ("table", f"table-to-{how}"))
    assert (copies.name, copies.root) == (f"mine-to-{how}", f"raw/mine-to-{how}")
    for column in ("ids", "texts", "labels", "splits"):
        assert getattr(copies, column) == getattr(plain, column)
    assert copies.images == [f"photos/{i}.png.jpg" for i in range(4)]
    with Image.open(tmp_path / copies.root / copies.images[0]) as found:
        assert (found.format, found.mode, found.size) == ("JPEG", "RGB", (48, 40))
    before = [digest_file(tmp_path / copies.root / image) for image in copies.images]
    run(params(tmp_path, f"table-to-{how}"))
    assert [digest_file(tmp_path / copies.root / image) for image in copies.images] == before


def test_a_picture_that_cannot_be_read_counts_as_missing(tmp_path: Path, listener) -> None:
    asked = params(tmp_path, "table-to-grey", count=150)
    (tmp_path / "photos" / "3.png").write_bytes(b"no picture")
    run(asked)
    assert len(read_manifest(asked.manifest)) == 149
    assert any("1 of 150" in line or "photos/3.png" in line for line in [*listener.warned, *listener.said])


def test_grey_is_the_luma_and_sketch_is_the_luma_over_its_blur() -> None:
    given = picture(0)
    luma = np.asarray(given.convert("L"), np.float64)
    assert np.array_equal(np.asarray(grey(given, 1.0))[..., 1], luma.astype(np.uint8))
    flat = Image.new("RGB", (32, 32), (90, 90, 90))
    assert np.unique(np.asarray(sketch(flat, 2.0))).tolist() == [255]  # nothing to draw
    drawn = np.asarray(sketch(given, 2.0), np.float64)[..., 0]
    assert drawn[luma < luma.mean() - 80].mean() < drawn[luma > luma.mean() + 80].mean() - 50


def test_blur_is_a_gaussian_of_that_deviation() -> None:
    edge = Image.fromarray(np.repeat(np.where(np.arange(80) < 40, 0, 255)[None], 20, axis=0).astype(np.uint8)).convert(
        "RGB"
    )
    row = np.asarray(blurred(edge, 4.0), np.float64)[10, :, 0] / 255
    for place in range(80):
        assert row[place] == pytest.approx((1 + math.erf((place - 39.5) / (4.0 * math.sqrt(2)))) / 2, abs=0.03)


def test_names_say_what_was_degraded_and_how() -> None:
    found = find("flickr8k-core20-to-sketch")
    assert (found.place, found.parts, found.address) == ("flickr8k-core20-to-sketch", (), None)
    assert find("coop-caltech101-to-blur").items == find("coop-caltech101").items
    with pytest.raises(UsageError, match="no dataset 'opnmoji'"):
        find("opnmoji-to-blur")
    with pytest.raises(UsageError, match="no dataset 'openmoji-to-noise'"):
        find("openmoji-to-noise")
    with pytest.raises(UsageError, match="features has no pictures that could be degraded"):
        find("features-to-blur")
