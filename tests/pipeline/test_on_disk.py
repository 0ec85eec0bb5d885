"""`datasets`: what there is, what is on disk, what to do; and the flag for what is not."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from cache.errors import UsageError
from cache.manifest import read_manifest
from pipeline import on_disk
from pipeline.on_disk import about, dataset_rows, in_table, steps
from pipeline.params import load_params
from pipeline.places import find_places
from pipeline.setting import Setting
from proof.checkout import ROOT, make_folder, pipeline
from stages.ingest.archives import unpack_archives
from stages.ingest.datasets import DATASETS, find
from stages.ingest.datasets.coop_sets import COOP_SETS, SPLIT_FILES
from tests.pipeline.prompt import typed
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


@pytest.mark.parametrize("name", ["coop:mine", "coop:food101", "xmedianet", "nuswide", "flickr8k-core20", "openmoji"])
def test_empty_folders_are_not_found(tmp_path: Path, name: str) -> None:
    before = state(tmp_path, name)
    root = tmp_path / "data" / "raw" / find(name).place
    for part in [*find(name).parts, "images"]:
        (root / part.split("|")[0] / "one").mkdir(parents=True, exist_ok=True)
    (root / ".hidden").touch()
    assert state(tmp_path, name) == before
    assert before in {"missing", "built in"}


def test_an_empty_table_folder_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    assert state(tmp_path, "table", ingest__table__path="pets") == "missing"


def test_an_archive_that_was_unpacked_is_none_any_more(tmp_path: Path) -> None:
    root = tmp_path / "data" / "raw" / "coop-mine"
    root.mkdir(parents=True)
    with zipfile.ZipFile(root / "pictures.zip", "w") as archive:
        archive.writestr("photos/a.jpg", b"x")
    assert state(tmp_path, "coop:mine") == "archive"
    unpack_archives("coop:mine", root, ())
    assert state(tmp_path, "coop:mine") == "missing"  # its split file is
    (root / "split_zhou_Mine.json").touch()
    assert state(tmp_path, "coop:mine") == "found"
    (tmp_path / "data" / "raw" / "pascal").mkdir()
    (root / "pictures.zip").rename(tmp_path / "data" / "raw" / "pascal" / "pictures.zip")
    lay(tmp_path, "pascal/aeroplane/a.jpg")
    assert state(tmp_path, "pascal") == "archive"
    unpack_archives("pascal", tmp_path / "data" / "raw" / "pascal", DATASETS["pascal"].parts)
    assert state(tmp_path, "pascal") == "in part"


def test_a_folder_without_read_rights_is_told_from_a_missing_one(tmp_path: Path) -> None:
    lay(tmp_path, "pascal/aeroplane/p1.jpg", "pascal/pascal_sentence_captions.csv")
    with unreadable(tmp_path / "data/raw/pascal"):
        assert state(tmp_path, "pascal") == "unreadable"
    assert state(tmp_path, "pascal") == "found"
    with unreadable(tmp_path / "data/raw"):
        rows = dataset_rows(["pascal", "table", "features", "openmoji"], setting(tmp_path))
    assert [row["on disk"] for row in rows] == ["unreadable", "yours", "yours", "unreadable"]  # openmoji is drawn there
    assert rows[0]["next"] == "chmod -R u+rX data/raw"
    (tmp_path / "mine").mkdir()
    with unreadable(tmp_path / "mine"):
        [row] = dataset_rows(["table"], setting(tmp_path, ingest__table__path="mine/pairs.csv"))
    assert (row["on disk"], row["next"]) == ("unreadable", "chmod -R u+rX mine")


def test_every_set_has_its_next_step(tmp_path: Path) -> None:
    lay(tmp_path, "pascal/pascal.zip", *(f"nuswide/{part}/x" for part in DATASETS["nuswide"].parts))
    lay(tmp_path, "wikipedia/texts/a.xml", "wikipedia/images/art/a.jpg")
    names = ["openmoji", "table", "features", "wikipedia", "pascal", "nuswide", "xmedianet", "nuswide-10k"]
    lines = list(steps(dataset_rows(names, setting(tmp_path)), "data/raw"))
    assert lines[1].startswith("What to do next. get: lay what you find there, archives as they come, into data/raw/")
    assert lines[3:] == [
        "openmoji     python -m pipeline extract --dataset openmoji",
        "table        python -m pipeline extract --dataset table -S ingest.table.path=FILE",
        "features     python -m pipeline import-features PATH",
        "wikipedia    get categories.list, trainset_txt_img_cat.list, testset_txt_img_cat.list from "
        "http://www.svcl.ucsd.edu/projects/crossmodal/",
        "pascal       python -m pipeline ingest --dataset pascal",
        "nuswide      python -m pipeline extract --dataset nuswide",
        "xmedianet    get http://59.108.48.34/tiki/XMediaNet/",
        "nuswide-10k  python -m pipeline extract --dataset nuswide-10k",
    ]
    [row] = dataset_rows(["nuswide-10k"], setting(tmp_path / "elsewhere"))
    assert row["next"].endswith("NUS-WIDE.html (into data/raw/nuswide)")
    assert SPLIT_FILES in list(steps(dataset_rows(["coop:dtd"], setting(tmp_path)), "data/raw"))


@pytest.mark.parametrize("columns", [80, 120])
def test_table_and_steps_fit_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(on_disk, "_columns", lambda: columns)
    rows = dataset_rows([], setting(tmp_path))
    cells = in_table(rows)
    widths = [max(len(str(cell[name] or "")) for cell in [*cells, {name: name}]) + 2 for name in cells[0]]
    assert sum(widths) - 2 <= columns
    assert (cells[3]["terms"] == rows[3]["terms"]) == (columns == 120)  # the first words alone, or all of them
    lines = list(steps(rows, "data/raw"))
    assert [line for line in lines if len(line) > columns and "https://lms.comp.nus.edu.sg" not in line] == []
    assert all(row["address"] in "\n".join(lines) for row in rows if row["address"])  # unbroken
    assert all(row["download"] or row["on disk"] == "yours" for row in rows)


def test_about_one_says_what_to_get_where_to_put_it_and_what_to_run(tmp_path: Path) -> None:
    [row] = dataset_rows(["coop:dtd"], setting(tmp_path))
    lines = list(about(row))
    assert lines[1] == "coop:dtd: Describable Textures (Cimpoi et al. 2014)"
    assert lines[2:4] == ["  terms research", "  size  about 625 MB"]
    assert "        https://www.robots.ox.ac.uk/~vgg/data/dtd/" in lines
    assert lines[-3:] == [
        "  as    data/raw/coop-dtd/ with split_zhou_DescribableTextures.json, images/",
        "  run   python -m pipeline ingest --dataset coop:dtd",
        "        python -m pipeline extract --dataset coop:dtd",
    ]
    lay(tmp_path, "coop-dtd/images/a.jpg")
    assert "  lacks split_zhou_DescribableTextures.json" in about(dataset_rows(["coop:dtd"], setting(tmp_path))[0])
    [own] = dataset_rows(["table"], setting(tmp_path))
    assert list(about(own))[-2:] == [
        "  run   python -m pipeline ingest --dataset table -S ingest.table.path=FILE",
        "        python -m pipeline extract --dataset table -S ingest.table.path=FILE",
    ]


def test_an_unknown_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^no dataset 'pascall'; did you mean 'pascal'\? there are openmoji, "):
        dataset_rows(["pascall"], setting(tmp_path))


def test_the_command_prints_a_table_next_steps_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    done = typed(tmp_path, "datasets")
    assert done.returncode == 0, done.stderr
    table, _, rest = done.stdout.partition("\n\n")
    assert table.splitlines()[0].split() == ["name", "pairs", "classes", "on", "disk", "download", "terms"]
    assert max(map(len, table.splitlines())) <= 100
    assert ["pascal", "get", "http://vision.cs.uiuc.edu/pascal-sentences/"] in [
        line.split() for line in rest.splitlines()
    ]
    one = typed(tmp_path, "datasets", "pascal", "--json")
    [row] = json.loads(one.stdout)
    assert (row["folder"], row["on disk"], row["next"]) == ("data/raw/pascal", "missing", f"get {row['address']}")


def test_allow_missing_goes_on_without_what_is_not_there(tmp_path: Path) -> None:
    here = make_folder(tmp_path / "here")
    (here / "data/raw/tiny/circle0.png").unlink()
    stopped = pipeline(here, "ingest")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert stopped.stderr == (
        "table: 1 of 40 pairs names a file that is missing, more than the 1% that ingest does without: 'circle0.png' "
        f"(noted in {here}/runs/manifests/table.missing.txt); put it under {here}/data/raw/tiny, or go on without "
        "it by --allow-missing\n"
    )
    assert [path.name for path in (here / "runs/manifests").iterdir()] == ["table.missing.txt"]
    done = pipeline(here, "ingest", "--allow-missing")
    assert done.returncode == 0, done.stderr
    assert "warning: table: 1 of 40 pairs names a file that is missing and is left out" in done.stderr
    assert len(read_manifest(here / "runs/manifests/table.parquet")) == 39
