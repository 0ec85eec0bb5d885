"""The datasets by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cache.errors import MissingError, UsageError, UserError
from stages.ingest.datasets import DATASETS, find, loader, missing
from tests.stages.ingest.given import params

NAMES = ["openmoji", "table", "wikipedia", "pascal", "nuswide", "nuswide-10k", "xmedianet", "flickr8k-core20"]
LATER = [name for name in NAMES if DATASETS[name].load is None]


def test_every_promised_name_is_known() -> None:
    assert list(DATASETS) == NAMES
    assert all(find(name).name == name for name in NAMES)


def test_every_loader_can_be_imported() -> None:
    assert all(callable(loader(dataset)) for dataset in DATASETS.values())


@pytest.mark.parametrize(("wrong", "right"), [("wikpedia", "wikipedia"), ("nuswide10k", "nuswide-10k")])
def test_an_unknown_name_says_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UsageError) as error:
        find(wrong)
    assert str(error.value) == f"no dataset '{wrong}'; did you mean '{right}'?"


def test_a_name_like_none_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"^no dataset 'qqq'; there are: flickr8k-core20, nuswide, nuswide-10k, "):
        find("qqq")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"openmoji", "table"}])
def test_absent_data_says_what_where_from_and_where_to(tmp_path: Path, name: str) -> None:
    dataset = find(name)
    with pytest.raises(MissingError) as error:
        loader(dataset)(params(tmp_path, name))
    text = str(error.value)
    later = "this release reads it only through --dataset table; " if name in LATER else ""
    assert text.startswith(f"{name}: {later}data/raw/{name}")
    assert "is missing" in text
    assert f" get {dataset.source}, put it under data/raw/{name} ({dataset.layout})" in text
    assert text.endswith(", or use --dataset openmoji")
    assert "\n" not in text


@pytest.mark.parametrize("name", LATER)
def test_present_data_without_a_reader_points_to_table(tmp_path: Path, name: str) -> None:
    (tmp_path / "data" / "raw" / name).mkdir(parents=True)
    with pytest.raises(UserError) as error:
        loader(find(name))(params(tmp_path, name))
    assert str(error.value) == (
        f"{name}: this release reads it only through --dataset table; "
        f"name the pairs of data/raw/{name} in a CSV file (docs/data.md)"
    )


def test_the_line_about_missing_data_is_whole() -> None:
    assert str(missing(find("pascal"), "data/raw/pascal/images", "data/raw/pascal")) == (
        "pascal: this release reads it only through --dataset table; data/raw/pascal/images is missing: get the "
        "pictures and sentences at http://vision.cs.uiuc.edu/pascal-sentences/, put it under data/raw/pascal "
        "(images/<category>/<picture>.jpg and captions.csv (category, image, caption)), and name its pairs in a CSV "
        "file (docs/data.md), or use --dataset openmoji"
    )
    assert str(missing(find("wikipedia"), "data/raw/wikipedia", "data/raw/wikipedia")).startswith(
        "wikipedia: data/raw/wikipedia is missing; get the archive wikipedia_dataset at "
    )


def test_listing_the_datasets_loads_no_reader() -> None:
    code = "import sys, stages.ingest.datasets; sys.exit(bool({'PIL', 'pyarrow', 'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
