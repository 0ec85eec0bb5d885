"""`datasets`: what there is, what is on disk, what to do; and the flag for what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache.errors import UsageError
from cache.manifest import read_manifest
from pipeline.on_disk import about, addresses, dataset_rows
from pipeline.params import load_params
from pipeline.places import find_places
from pipeline.setting import Setting
from proof.checkout import ROOT, make_folder, pipeline
from stages.ingest.datasets import DATASETS
from stages.ingest.datasets.coop_sets import COOP_SETS
from tests.stages.ingest.given import unreadable


def setting(home: Path, **changes: object) -> Setting:
    flags = [(key.replace("__", "."), value) for key, value in changes.items()]
    params = load_params(ROOT / "params.yaml", [], [], flags)
    return Setting(params, find_places(home, params.store, {}))


def state(home: Path, name: str, **changes: object) -> str:
    return str(dataset_rows([name], setting(home, **changes))[0]["on disk"])


def lay(home: Path, *paths: str) -> None:
    for path in paths:
        file = home / "data" / "raw" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def test_every_dataset_has_a_row_with_size_terms_and_address(tmp_path: Path) -> None:
    rows = dataset_rows([], setting(tmp_path))
    assert [row["name"].replace("coop:", "coop-") for row in rows] == [*DATASETS, *COOP_SETS]
    assert all(row["terms"] and row["about"] and row["source"] for row in rows)
    far = [row for row in rows if row["on disk"] == "missing"]
    assert all(row["address"].startswith("http") and row["classes"] for row in far)
    assert {row["name"] for row in far if not row["pairs"]} == {"nuswide"}  # as many as its tags leave
    json.dumps(rows)


def test_what_is_on_disk_is_said_part_by_part(tmp_path: Path) -> None:
    assert state(tmp_path, "wikipedia") == "missing"
    lay(tmp_path, "wikipedia/wikipedia_dataset.tar.gz")
    assert state(tmp_path, "wikipedia") == "archive"
    (tmp_path / "data/raw/wikipedia/wikipedia_dataset.tar.gz").unlink()
    lay(tmp_path, "wikipedia/categories.list", "wikipedia/texts/a.xml")
    assert state(tmp_path, "wikipedia") == "in part"
    lists = [f"wikipedia/{split}set_txt_img_cat.list" for split in ("train", "test")]
    lay(tmp_path, "wikipedia/images/art/a.jpg", *lists)
    assert state(tmp_path, "wikipedia") == "found"


def test_of_parts_that_stand_for_each_other_one_will_do(tmp_path: Path) -> None:
    lay(tmp_path, "flickr8k-core20/images/a.jpg")
    assert state(tmp_path, "flickr8k-core20") == "in part"
    lay(tmp_path, "flickr8k-core20/captions.txt")
    assert state(tmp_path, "flickr8k-core20") == "found"


def test_a_selection_is_found_where_the_whole_is(tmp_path: Path) -> None:
    lay(tmp_path, *(f"nuswide/{part}/x" for part in DATASETS["nuswide"].parts))
    assert (state(tmp_path, "nuswide"), state(tmp_path, "nuswide-10k")) == ("found", "found")


def test_what_needs_no_download_and_what_is_ones_own(tmp_path: Path) -> None:
    assert state(tmp_path, "openmoji") == "built in"
    lay(tmp_path, "openmoji/images/1F345.png")
    assert state(tmp_path, "openmoji") == "found"
    assert state(tmp_path, "table") == "yours"
    assert state(tmp_path, "table", ingest__table__path="data/raw/pairs.csv") == "missing"
    lay(tmp_path, "pairs.csv")
    assert state(tmp_path, "table", ingest__table__path="data/raw/pairs.csv") == "found"


def test_a_folder_without_read_rights_is_told_from_a_missing_one(tmp_path: Path) -> None:
    lay(tmp_path, "pascal/aeroplane/p1.jpg", "pascal/pascal_sentence_captions.csv")
    with unreadable(tmp_path / "data/raw/pascal"):
        assert state(tmp_path, "pascal") == "unreadable"
    assert state(tmp_path, "pascal") == "found"


def test_addresses_are_of_what_is_not_there_and_archives_need_none(tmp_path: Path) -> None:
    lay(tmp_path, "pascal/pascal.zip", *(f"nuswide/{part}/x" for part in DATASETS["nuswide"].parts))
    _, *lines = addresses(dataset_rows(["openmoji", "wikipedia", "pascal", "nuswide", "table"], setting(tmp_path)))
    assert lines == [
        "wikipedia  http://www.svcl.ucsd.edu/projects/crossmodal/",
        "pascal     its archive lies in data/raw/pascal, 'ingest' unpacks it",
    ]
    assert not list(addresses(dataset_rows(["openmoji"], setting(tmp_path))))


def test_about_one_says_what_to_get_where_to_put_it_and_what_to_run(tmp_path: Path) -> None:
    [row] = dataset_rows(["coop:dtd"], setting(tmp_path))
    lines = list(about(row))
    assert lines[1] == "coop:dtd: Describable Textures (Cimpoi et al. 2014)"
    assert "       https://www.robots.ox.ac.uk/~vgg/data/dtd/" in lines
    assert lines[-3:] == [
        "  as   data/raw/coop-dtd/ with split_zhou_DescribableTextures.json, images/",
        "  run  python -m pipeline ingest --dataset coop:dtd",
        "       python -m pipeline extract --dataset coop:dtd",
    ]


def test_an_unknown_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^no dataset 'pascall'; did you mean 'pascal'\?$"):
        dataset_rows(["pascall"], setting(tmp_path))


def test_the_command_prints_a_table_addresses_and_json(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    done = pipeline(tmp_path, "datasets")
    assert done.returncode == 0, done.stderr
    table, _, rest = done.stdout.partition("\n\n")
    assert table.splitlines()[0].split() == ["name", "pairs", "classes", "on", "disk", "terms"]
    assert max(map(len, table.splitlines())) <= 80
    assert ["pascal", "http://vision.cs.uiuc.edu/pascal-sentences/"] in [line.split() for line in rest.splitlines()]
    one = pipeline(tmp_path, "datasets", "pascal", "--json")
    assert [row["folder"] for row in json.loads(one.stdout)] == ["data/raw/pascal"]


def test_allow_missing_goes_on_without_what_is_not_there(tmp_path: Path) -> None:
    here = make_folder(tmp_path / "here")
    (here / "data/raw/tiny/circle0.png").unlink()
    stopped = pipeline(here, "ingest")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert stopped.stderr == (
        "table: 1 of 40 pairs name a file that is missing, more than the 1% that ingest does without; the first is "
        f"'circle0.png', all stand in {here}/runs/manifests/table.missing.txt; put them under {here}/data/raw/tiny, or "
        "go on without them by --allow-missing\n"
    )
    assert [path.name for path in (here / "runs/manifests").iterdir()] == ["table.missing.txt"]
    done = pipeline(here, "ingest", "--allow-missing")
    assert done.returncode == 0, done.stderr
    assert "warning: table: 1 of 40 pairs name a file that is missing and are left out" in done.stderr
    assert len(read_manifest(here / "runs/manifests/table.parquet")) == 39
