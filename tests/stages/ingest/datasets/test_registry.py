"""The datasets by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cache.errors import MissingError, UsageError
from stages.ingest.datasets import DATASETS, find, loader
from tests.stages.ingest.given import params, write

NAMES = ["openmoji", "table", "wikipedia", "pascal", "nuswide", "nuswide-10k", "xmedianet", "flickr8k-core20"]


THERE_ARE = (
    "there are openmoji, table, features, wikipedia, pascal, nuswide, nuswide-10k, xmedianet, flickr8k-core20 and "
    "coop:<name>; 'python -m pipeline datasets' says what each is"
)


def test_every_promised_name_is_known() -> None:
    assert set(NAMES) <= set(DATASETS)
    assert all(find(name).name == name for name in NAMES)


def test_every_loader_can_be_imported() -> None:
    assert all(callable(loader(dataset)) for dataset in DATASETS.values())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("wikpedia", "wikipedia"),
        ("nuswide10k", "nuswide-10k"),
        ("oxford_pet", "coop:oxford_pets"),
        ("imagenet", "coop:imagenet"),
    ],
)
def test_an_unknown_name_says_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UsageError) as error:
        find(wrong)
    assert str(error.value) == f"no dataset '{wrong}'; did you mean '{right}'? {THERE_ARE}"


def test_a_name_like_none_lists_what_there_is() -> None:
    with pytest.raises(UsageError) as error:
        find("qqq")
    assert str(error.value) == f"no dataset 'qqq'; {THERE_ARE}"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"openmoji", "table"}])
def test_absent_data_says_what_where_from_and_where_to(tmp_path: Path, name: str) -> None:
    dataset = find(name)
    with pytest.raises(MissingError) as error:
        loader(dataset)(params(tmp_path, name))
    text = str(error.value)
    assert text == (
        f"{name}: data/raw/{dataset.place} is missing; get {dataset.source} at {dataset.address}, put it under "
        f"data/raw/{dataset.place} ({dataset.layout}), or use --dataset openmoji"
    )


@pytest.mark.parametrize("name", [name for name in NAMES if DATASETS[name].parts])
def test_the_first_part_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    dataset = find(name)
    root = tmp_path / "data" / "raw" / dataset.place
    root.mkdir(parents=True)
    for part in dataset.parts:
        first, *others = part.split("|")
        what = f"data/raw/{dataset.place}/{first}" + (f" (or {', '.join(others)})" if others else "")
        with pytest.raises(MissingError) as error:
            loader(dataset)(params(tmp_path, name))
        assert str(error.value).startswith(f"{name}: {what} is missing; get {dataset.source} at {dataset.address}, ")
        last = root / part.split("|")[-1]  # any of them will do
        (last / "deeper").mkdir(parents=True)
        with pytest.raises(MissingError, match=f"^{name}: data/raw/{dataset.place}/.* is an empty folder; get "):
            loader(dataset)(params(tmp_path, name))
        write(last / "deeper" / "x", b"x")


def test_a_selection_lies_in_the_folder_of_the_whole() -> None:
    assert (find("nuswide-10k").place, find("wikipedia").place) == ("nuswide", "wikipedia")


def test_listing_the_datasets_loads_no_reader() -> None:
    code = "import sys, stages.ingest.datasets; sys.exit(bool({'PIL', 'pyarrow', 'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
