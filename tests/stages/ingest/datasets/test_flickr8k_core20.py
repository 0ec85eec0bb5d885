"""The 1,539 photographs of Flickr8k, from its own files or from the folder of pairs.csv."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import MissingError, UserError
from cache.manifest import Manifest, read_manifest
from stages.ingest.datasets.flickr8k_core20 import load, shipped
from stages.ingest.run import run
from tests.stages.ingest.given import jpeg, params, write, write_csv

IDS = [row["id"] for row in shipped()]
CAPTIONS = [f"caption_{number}" for number in range(5)]
PUBLISHED = {
    "american_football": 83,
    "baseball": 41,
    "basketball": 70,
    "beach": 100,
    "bicycle": 100,
    "bird": 47,
    "boat": 96,
    "car_racing": 61,
    "dog": 100,
    "hockey": 39,
    "horse": 48,
    "motorcycle": 92,
    "music": 63,
    "rock_climbing": 100,
    "skateboard": 100,
    "snow_sport": 100,
    "soccer": 80,
    "surfing": 95,
    "swimming_pool": 90,
    "tennis": 34,
}


def said(one: str, number: int) -> str:
    """A made-up caption with everything that a file of captions must get across."""
    return f'A "{one[:4]}" , number {number} .'


def tokens(root: Path) -> None:
    """As its authors publish it: more pictures than these, and captions out of order."""
    lines = [f"{one}.jpg#{number}\t{said(one, number)}" for number in (1, 0, 2, 4, 3) for one in ["other_1", *IDS]]
    write(root / "Flickr8k.token.txt", "\n".join(lines) + "\n")


def commas(root: Path) -> None:
    """The form `image,caption`, quoted where need be, as a CSV writer does it."""
    buffer = io.StringIO(newline="")
    rows = [[f"{one}.jpg", said(one, number)] for one in ["other_1", *IDS] for number in range(5)]
    csv.writer(buffer).writerows([["image", "caption"], *rows])
    write(root / "captions.txt", buffer.getvalue())


def bare_commas(root: Path) -> None:
    """The same, nothing quoted."""
    lines = [f"{one}.jpg,{said(one, number)}" for one in IDS for number in range(5)]
    write(root / "captions.txt", "\r\n".join(["image,caption", *lines]))


def columns(root: Path) -> None:
    rows = [
        [row["id"], "unread.jpg", row["label"], "", *(said(row["id"], n) for n in range(5))] for row in shipped()[::-1]
    ]
    write_csv(root / "pairs.csv", rows, ("id", "image", "label", "split", *CAPTIONS))


def laid(home: Path, folder: str, captions: Callable[[Path], None]) -> Path:
    root = home / "data" / "raw" / "flickr8k-core20"
    for number, one in enumerate(IDS):
        write(root / folder / f"{one}.jpg", jpeg((number % 256, number // 256, 0)))
    captions(root)
    return root


def ingested(home: Path, captions: str = "first") -> Manifest:
    given = params(home, "flickr8k-core20", captions)
    run(given)
    return read_manifest(given.manifest)


@pytest.mark.parametrize(
    ("folder", "captions"),
    [
        ("Flicker8k_Dataset", tokens),
        ("Flickr8k_Dataset", tokens),
        ("Images", commas),
        ("images", bare_commas),
        ("images", columns),
    ],
)
def test_every_way_gives_the_same_pairs(tmp_path: Path, folder: str, captions: Callable[[Path], None]) -> None:
    laid(tmp_path, folder, captions)
    manifest = ingested(tmp_path)
    assert (manifest.name, manifest.root) == ("flickr8k-core20", "data/raw/flickr8k-core20")
    assert manifest.ids == IDS
    assert manifest.images == [f"{folder}/{one}.jpg" for one in IDS]
    assert manifest.texts == [[said(one, number) for number in range(5)] for one in IDS]
    assert Counter(label for [label] in manifest.labels) == PUBLISHED
    assert set(manifest.splits) == {None}  # Flickr8k's own would leave a class without training rows


def test_the_shipped_list_is_the_published_one() -> None:
    assert len(set(IDS)) == 1539
    assert Counter(row["label"] for row in shipped()) == PUBLISHED
    assert Counter(row["split"] for row in shipped()) == {"train": 987, "val": 270, "test": 258, "": 24}
    dogs = Counter(row["split"] for row in shipped() if row["label"] == "dog")
    assert dogs["train"] == 0  # why no split is declared


@pytest.mark.shared
def test_the_shipped_list_says_what_pairs_csv_says(shared: Path) -> None:
    with (shared / "data" / "flickr8k-core20" / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["id"], row["label"], row["split"]) for row in csv.DictReader(file)]
    named = {"dev": "val", "none": ""}
    assert [(row["id"], row["label"], row["split"]) for row in shipped()] == [
        (one, label, named.get(split, split)) for one, label, split in rows
    ]


@pytest.mark.shared
def test_the_folder_as_it_is_is_what_the_committed_results_were_measured_on(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "flickr8k-core20"
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "flickr8k-core20").symlink_to(folder)
    table = params(tmp_path, "table", path=str(folder / "pairs.csv"), name="flickr8k-core20", text=CAPTIONS)
    run(table)
    assert ingested(tmp_path).digest == read_manifest(table.manifest).digest


def short(root: Path) -> None:
    write(root / "Flickr8k.token.txt", "\n".join(f"{one}.jpg#0\tSo" for one in IDS[:-2]))


def untabbed(root: Path) -> None:
    write(root / "Flickr8k.token.txt", f"{IDS[0]}.jpg#0\tSo\n{IDS[1]}.jpg#0 So")


def uncut(root: Path) -> None:
    write(root / "captions.txt", f"image,caption\n{IDS[1]}.jpg So")


def renamed(root: Path) -> None:
    columns(root)
    write(root / "pairs.csv", (root / "pairs.csv").read_text().replace(",dog,", ",hound,"))


def narrow(root: Path) -> None:
    write_csv(root / "pairs.csv", [[IDS[0], "dog"]], ("id", "label"))


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (
            short,
            "flickr8k-core20: Flickr8k.token.txt has no caption of 2 of 1539 photographs, the first is "
            f"'{IDS[-2]}'; get the file whole",
        ),
        (
            untabbed,
            f"flickr8k-core20: Flickr8k.token.txt line 2 is '{IDS[1]}.jpg#0 So'; it must be <image>#<number>, a tab "
            "and the caption",
        ),
        (
            uncut,
            f"flickr8k-core20: captions.txt line 2 is '{IDS[1]}.jpg So'; it must be the image, a comma and the caption",
        ),
        (
            renamed,
            "flickr8k-core20: pairs.csv gives '{last_dog}' the class 'hound', the shipped list 'dog'; read a table of "
            "your own by --dataset table",
        ),
        (narrow, "flickr8k-core20: pairs.csv: no column 'caption_0'; get the file whole"),
    ],
)
def test_bad_captions_are_one_line(tmp_path: Path, captions: Callable[[Path], None], message: str) -> None:
    laid(tmp_path, "Images", captions)
    last_dog = [row["id"] for row in shipped() if row["label"] == "dog"][-1]
    with pytest.raises(UserError) as error:
        load(params(tmp_path, "flickr8k-core20"))
    assert str(error.value) == message.replace("{last_dog}", last_dog)


def test_photographs_that_the_user_lacks_are_left_out_up_to_a_hundredth(tmp_path: Path) -> None:
    root = laid(tmp_path, "Images", commas)
    for one in IDS[:15]:
        (root / "Images" / f"{one}.jpg").unlink()
    assert ingested(tmp_path).ids == IDS[15:]
    (root / "Images" / f"{IDS[15]}.jpg").unlink()
    with pytest.raises(MissingError, match=r"^flickr8k-core20: 16 of 1,539 pairs name a file that is missing, more "):
        ingested(tmp_path)
