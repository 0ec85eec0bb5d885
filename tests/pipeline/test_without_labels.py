"""Pictures with texts and nothing else: stage one takes them, stage two says what it lacks."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from cache.features import FeatureCache
from proof.checkout import ROOT, pipeline

BARE = ("-S", "ingest.table.id=null", "-S", "ingest.table.label=null")
TABLE = ("--dataset", "table", "-S", "ingest.table.path=pictures/pairs.csv")


def put_picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), (shade, 90, 90)).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bare")
    shutil.copy(ROOT / "params.yaml", made)
    for i in range(3):
        put_picture(made / "pictures" / f"{i}.png", 60 * i)
    rows = [f"{i}.png,picture number {i}" for i in range(3)]
    (made / "pictures/pairs.csv").write_text("\n".join(["image,text", *rows]) + "\n")
    return made


def test_the_way_out_is_named_and_leads_to_whole_features(folder: Path) -> None:
    refused = pipeline(folder, "extract", *TABLE)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.rstrip().endswith("or do without: -S ingest.table.id=null -S ingest.table.label=null")
    done = pipeline(folder, "extract", *TABLE, *BARE, "--json")
    assert done.returncode == 0, done.stderr
    found = {row["rows"]: row for row in json.loads(done.stdout)}
    assert {rows: row["count"] for rows, row in found.items()} == {"image": 3, "text": 3, "name": 0}
    caches = {rows: FeatureCache.open(folder / "data/store/features" / row["key"]) for rows, row in found.items()}
    assert caches["image"].ids == caches["text"].ids == ["0.png", "1.png", "2.png"]
    assert caches["name"].ids == []
    assert pipeline(folder, "verify").returncode == 0
    for row in found.values():
        shown = pipeline(folder, "info", row["key"], "--json")
        assert shown.returncode == 0, shown.stderr
    for command in ("train", "report"):
        refused = pipeline(folder, command, *TABLE, *BARE)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert "no item has a label, and split needs two classes or more; set ingest.table.label" in refused.stderr
    assert not (folder / "data/store/mixtures").exists()  # nothing dear is made for a stage that cannot run


def test_a_file_name_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    put_picture(tmp_path / "pets" / "cat" / "a.png", 0)
    (tmp_path / "pets/cat/a.png").rename(tmp_path / "pets/cat" / os.fsdecode(b"caf\xe9.png"))
    refused = pipeline(tmp_path, "ingest", "--dataset", "table", "-S", "ingest.table.path=pets")
    assert refused.returncode == 1
    assert refused.stderr == "pets: the file name 'cat/caf\\xe9.png' is not UTF-8; rename it\n"
