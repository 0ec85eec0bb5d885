"""Pascal Sentence in its class folders."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest

from cache.errors import MissingError, UserError
from cache.manifest import Manifest, read_manifest
from stages.ingest.datasets.pascal import CAPTIONS, PAGE, SPLITS, load
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
    with pytest.raises(MissingError, match=r"^pascal: 11 of 1,000 pairs name a file that is missing, more than "):
        run(params(tmp_path, "pascal"))


ON_THE_PAGE = """<html><body><h1>Pascal Sentence</h1><table border=1>
<tr><td><img src="aeroplane/p1.jpg"></td><td><table>
<tr><td> A jet lands. </td></tr>
<tr><td>Two jets
 &amp; a van</td></tr></table></td></tr>
<tr><TD><IMG width=9 SRC='http://some.where/pascal-sentences/bird/p2.jpg'></TD><td><table>
<tr><td>A "bird", sitting</td></tr><tr><td> </td></tr></table></td></tr>
</table></body></html>"""


def test_the_captions_are_read_off_the_published_page_where_there_is_no_file_of_them(tmp_path: Path) -> None:
    root = small(tmp_path, split=False)
    (root / CAPTIONS).unlink()
    write(root / PAGE, ON_THE_PAGE)
    manifest = ingested(tmp_path)
    assert manifest.images == ["aeroplane/p1.jpg", "bird/p2.jpg"]
    assert manifest.texts == [["A jet lands.", "Two jets & a van"], ['A "bird", sitting']]
    assert manifest.labels == [["aeroplane"], ["bird"]]
    write(root / PAGE, "<html><body>Moved</body></html>")
    with pytest.raises(UserError) as error:
        ingested(tmp_path)
    assert str(error.value) == (
        "pascal: index.html shows no picture; save the published page there as it comes, or lay "
        "pascal_sentence_captions.csv"
    )


@pytest.mark.shared
def test_the_4998_real_captions_on_a_page_are_those_of_the_file(shared: Path, tmp_path: Path) -> None:
    root = published(shared, tmp_path)
    of_file = load(params(tmp_path, "pascal"))
    cells = "".join(
        f'<tr><td><img src="{image}"></td><td><table>{"".join(f"<tr><td> {escape(t)} </td></tr>" for t in texts)}'
        "</table></td></tr>"
        for image, texts in zip(of_file.images, of_file.texts, strict=True)
    )
    (root / CAPTIONS).unlink()
    write(root / PAGE, f"<html><body><table>{cells}</table></body></html>")
    of_page = load(params(tmp_path, "pascal"))
    assert of_page.images == of_file.images
    assert [[" ".join(text.split()) for text in texts] for texts in of_file.texts] == of_page.texts


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


def other_folder(root: Path) -> None:
    write(root / "train" / "p1.jpg", jpeg((0, 9, 0)))


def other_columns(root: Path) -> None:
    write_csv(root / CAPTIONS, ROWS, ("class", "image", "caption"))


def wordless(root: Path) -> None:
    write_csv(root / CAPTIONS, [*ROWS[:-1], ["bird", "p3.jpg", " "]], NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (twice, "pascal: 1 id stands more than once, the first is 'p2'; give each row an id of its own"),
        (
            unknown_in_split,
            "pascal: split_val.csv names 'bird/p9.jpg', which pascal_sentence_captions.csv does not; get both anew",
        ),
        (
            in_two_splits,
            "pascal: split_val.csv names 'aeroplane/p1.jpg', which stands in split 'train' already; get it anew",
        ),
        (in_no_split, "pascal: 1 picture stands in no split file, the first is 'bird/p2.jpg'; get the files anew"),
        (
            lone_split,
            "pascal: split_val.csv is missing beside the other split files; get all three, or none",
        ),
        (
            other_class,
            "pascal: 1 category of pascal_sentence_captions.csv is no folder in data/raw/pascal, the first is 'birds'; "
            "did you mean 'bird'?; lay each picture at <category>/<picture>.jpg",
        ),
        (
            other_folder,
            "pascal: 1 folder of pictures in data/raw/pascal and not in pascal_sentence_captions.csv, the first is "
            "'train'; lay each picture at <category>/<picture>.jpg",
        ),
        (
            other_columns,
            "pascal: pascal_sentence_captions.csv: no column 'category'; its first line must name category, image, "
            "caption",
        ),
        (wordless, "pascal: 1 of 3 items has no text, the first is 'p3'; give it one or leave it out"),
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
        picture.write_bytes(b"")
    assert set(load(params(tmp_path, "pascal")).bytes) == {0}
