"""Pascal Sentence in its class folders."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import MissingError, UserError
from cache.manifest import Manifest, read_manifest
from stages.ingest.datasets.pascal import CAPTIONS, SPLITS, load
from stages.ingest.run import run
from tests.stages.ingest.given import jpeg, params, write, write_csv

ROWS = [
    ["aeroplane", "p1.jpg", "A jet lands."],
    ["aeroplane", "p1.jpg", " Two jets. "],
    ["bird", "p2.jpg", 'A "bird", sitting'],
    ["aeroplane", "p1.jpg", ""],
    ["bird", "p3.jpg", "Another bird"],
]
NAMES = ("category", "image", "caption")


def small(home: Path, split: bool = True) -> Path:
    """Three pictures of two classes, one in each split."""
    root = home / "data" / "raw" / "pascal"
    write_csv(root / CAPTIONS, ROWS, NAMES)
    for number, image in enumerate(["aeroplane/p1", "bird/p2", "bird/p3"]):
        write(root / f"{image}.jpg", jpeg((number, 0, 0)))
        if split:
            write_csv(root / list(SPLITS.values())[number], [["7", f"{image}.jpg"]], ("", "image"))
    return root


def published(shared: Path, home: Path) -> Path:
    """The real lists, with a made-up picture for each name."""
    root = home / "data" / "raw" / "pascal"
    for name in (CAPTIONS, *SPLITS.values()):
        write(root / name, (shared / "data" / "pascal-sentence" / name).read_bytes())
    with (root / CAPTIONS).open(encoding="utf-8", newline="") as file:
        images = {(row["category"], row["image"]) for row in csv.DictReader(file)}
    for number, (category, image) in enumerate(sorted(images)):
        write(root / category / image, jpeg((number % 256, number // 256, 0)))
    return root


def ingested(home: Path, captions: str = "first") -> Manifest:
    given = params(home, "pascal", captions)
    run(given)
    return read_manifest(given.manifest)


def test_ids_classes_captions_and_split_come_from_the_files(tmp_path: Path) -> None:
    small(tmp_path)
    manifest = ingested(tmp_path)
    assert (manifest.name, manifest.root) == ("pascal", "data/raw/pascal")
    assert manifest.ids == ["p1", "p2", "p3"]
    assert manifest.images == ["aeroplane/p1.jpg", "bird/p2.jpg", "bird/p3.jpg"]
    assert manifest.texts == [["A jet lands.", "Two jets."], ['A "bird", sitting'], ["Another bird"]]
    assert manifest.labels == [["aeroplane"], ["bird"], ["bird"]]
    assert manifest.splits == ["train", "val", "test"]


def test_without_split_files_there_is_no_split(tmp_path: Path) -> None:
    small(tmp_path, split=False)
    assert ingested(tmp_path).splits == [None] * 3


@pytest.mark.shared
@pytest.mark.parametrize(("captions", "texts"), [("first", 4998), ("mean", 4998), ("join", 1000)])
def test_the_published_1000_pairs_4998_captions_and_split(
    shared: Path, tmp_path: Path, captions: str, texts: int
) -> None:
    published(shared, tmp_path)
    manifest = ingested(tmp_path, captions)
    assert (len(set(manifest.ids)), sum(map(len, manifest.texts))) == (1000, texts)
    assert Counter(manifest.splits) == {"train": 800, "val": 100, "test": 100}
    counts = Counter(zip((label for [label] in manifest.labels), manifest.splits, strict=True))
    assert len(manifest.classes) == 20
    assert all([counts[name, split] for split in ("train", "val", "test")] == [40, 5, 5] for name in manifest.classes)
    if captions == "join":
        assert manifest.texts[0][0].startswith("One jet lands at an airport while another takes off next to it. Two ")


@pytest.mark.shared
def test_a_picture_of_the_published_thousand_that_is_missing_is_left_out(shared: Path, tmp_path: Path) -> None:
    root = published(shared, tmp_path)
    (root / "aeroplane" / "2008_000716.jpg").unlink()
    manifest = ingested(tmp_path)
    assert len(manifest) == 999
    assert "2008_000716" not in manifest.ids
    record = tmp_path / "data" / "manifests" / "pascal.missing.txt"
    assert record.read_text() == "aeroplane/2008_000716.jpg\n"
    for picture in sorted((root / "bird").iterdir())[:10]:
        picture.unlink()
    with pytest.raises(MissingError, match=r"^pascal: 11 of 1000 pairs name a file that is missing, more than the 1% "):
        run(params(tmp_path, "pascal"))


def twice(root: Path) -> None:
    write_csv(root / CAPTIONS, [*ROWS, ["aeroplane", "p2.jpg", "The same name"]], NAMES)
    write(root / "aeroplane" / "p2.jpg", jpeg((0, 9, 0)))
    write_csv(root / SPLITS["val"], [["7", "bird/p2.jpg"], ["8", "aeroplane/p2.jpg"]], ("", "image"))


def unknown_in_split(root: Path) -> None:
    write_csv(root / SPLITS["val"], [["7", "bird/p2.jpg"], ["8", "bird/p9.jpg"]], ("", "image"))


def in_two_splits(root: Path) -> None:
    write_csv(root / SPLITS["val"], [["7", "bird/p2.jpg"], ["8", "aeroplane/p1.jpg"]], ("", "image"))


def in_no_split(root: Path) -> None:
    write_csv(root / SPLITS["val"], [], ("", "image"))


def lone_split(root: Path) -> None:
    (root / SPLITS["val"]).unlink()


def other_class(root: Path) -> None:
    write_csv(root / CAPTIONS, [*ROWS, ["birds", "p4.jpg", "Several"]], NAMES)


def other_columns(root: Path) -> None:
    write_csv(root / CAPTIONS, ROWS, ("class", "image", "caption"))


def wordless(root: Path) -> None:
    write_csv(root / CAPTIONS, [*ROWS[:-1], ["bird", "p3.jpg", " "]], NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (twice, "pascal: 1 ids stand more than once, the first is 'p2'; make them unique"),
        (
            unknown_in_split,
            "pascal: split_val.csv names 'bird/p9.jpg', which pascal_sentence_captions.csv does not; get both files "
            "anew",
        ),
        (
            in_two_splits,
            "pascal: split_val.csv names 'aeroplane/p1.jpg', which stands in split 'train' already; get it anew",
        ),
        (in_no_split, "pascal: 1 pictures stand in no split file, the first is 'bird/p2.jpg'; get the files anew"),
        (
            lone_split,
            "pascal: split_val.csv is missing beside the other split files; get all three, or none",
        ),
        (
            other_class,
            "pascal: 1 categories of pascal_sentence_captions.csv are no folder under data/raw/pascal, the first is "
            "'birds'; did you mean 'bird'?; lay each picture at <category>/<picture>.jpg",
        ),
        (
            other_columns,
            "pascal: pascal_sentence_captions.csv: no column 'category'; its first line must name category, image, "
            "caption",
        ),
        (wordless, "pascal: 1 of 3 items have no text, the first is 'p3'; give it one or leave it out"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    change(small(tmp_path))
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "pascal"))
    assert str(error.value) == message
    assert not (tmp_path / "data" / "manifests").exists()


def test_the_loader_reads_no_picture(tmp_path: Path) -> None:
    for picture in small(tmp_path).glob("*/*.jpg"):
        picture.unlink()
    assert set(load(params(tmp_path, "pascal")).bytes) == {0}
