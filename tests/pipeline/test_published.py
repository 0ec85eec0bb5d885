"""Published archives and sets at the prompt and under DVC: what a newcomer lays into a folder, and what comes of it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from cache.files import read_about
from cache.manifest import read_manifest
from proof.checkout import make_folder, pipeline, set_params
from tests.stages.ingest.given import jpeg, write

LISTS = {
    "train": [["a_1.jpg", 0, "a_cat"], ["b_1.jpg", 1, "a_dog"]],
    "val": [],
    "test": [["a_2.jpg", 0, "a_cat"], ["b_2.jpg", 1, "a_dog"]],
}


def images(folder: str = "images/", more: str = "") -> bytes:
    """An archive as published: the pictures of the lists, in a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for number, (path, *_) in enumerate(entry for entries in LISTS.values() for entry in entries):
            info = tarfile.TarInfo(f"{folder}{path}")
            data = jpeg((40 * number, 9, 9))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if more:
            tar.addfile(tarfile.TarInfo(more))
    return buffer.getvalue()


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder with the two files of Oxford-IIIT Pets that a newcomer has got."""
    folder = make_folder(tmp_path / "here")
    root = folder / "data" / "raw" / "coop-oxford_pets"
    write(root / "split_zhou_OxfordPets.json", json.dumps(LISTS))
    write(root / "images.tar.gz", images())
    return folder


def test_ingest_unpacks_what_was_laid_there_and_the_manifest_stands_from_then_on(pets: Path) -> None:
    done = pipeline(pets, "ingest", "--dataset", "coop:oxford_pets")
    assert done.returncode == 0, done.stderr
    assert "coop-oxford_pets: images.tar.gz is unpacked; it may be deleted" in done.stderr
    assert "coop-oxford_pets: 4 pairs, 4 captions, 2 classes, 2 train, 2 test" in done.stderr
    path = pets / "runs" / "manifests" / "coop-oxford_pets.parquet"
    assert read_manifest(path).texts[0] == ["a photo of a a cat"]
    before = read_about(path)["made_from"]
    again = pipeline(pets, "ingest", "--dataset", "coop-oxford_pets")
    assert again.returncode == 0, again.stderr
    assert "unpack" not in again.stderr
    assert read_about(path)["made_from"] == before
    assert pipeline(pets, "ingest", "--dataset", "coop:oxford_pets", "-S", "ingest.class_text='{}'").returncode == 0
    assert read_manifest(path).texts[0] == ["a cat"]


def test_a_hostile_archive_is_one_line_and_leaves_nothing(pets: Path) -> None:
    root = pets / "data" / "raw" / "coop-oxford_pets"
    (root / "images.tar.gz").write_bytes(images(more="../../../../out"))
    done = pipeline(pets, "ingest", "--dataset", "coop:oxford_pets")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "coop-oxford_pets: images.tar.gz holds '../../../../out', which leads out of the dataset's folder; nothing was "
        "unpacked: get it from its publisher"
    ]
    assert sorted(path.name for path in root.iterdir()) == ["images.tar.gz", "split_zhou_OxfordPets.json"]
    assert not (pets / "runs").exists()


def test_under_dvc_a_name_has_no_colon(pets: Path) -> None:
    set_params(pets, dataset="coop:oxford_pets")
    done = pipeline(pets, "ingest", DVC_STAGE="ingest")
    assert done.returncode == 2
    assert done.stderr == (
        "params.yaml: dataset is 'coop:oxford_pets'; DVC names files by it, write coop-oxford_pets\n"
    )
    set_params(pets, dataset="coop-oxford_pets")
    assert pipeline(pets, "ingest", DVC_STAGE="ingest").returncode == 0
    assert (pets / "data" / "manifests" / "coop-oxford_pets.parquet").exists()


@pytest.mark.parametrize("text", ["a photo", "{} and {}", "{x}"])
def test_the_words_round_a_class_name_need_a_place_for_it(pets: Path, text: str) -> None:
    done = pipeline(pets, "ingest", "--dataset", "coop:oxford_pets", "-S", f"ingest.class_text='{text}'")
    assert done.returncode == 2
    assert done.stderr == (
        f"-S: ingest.class_text is '{text}'; input should be text with one {{}} for the class name\n"
    )
