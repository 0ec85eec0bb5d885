"""info on a cache: the card, the histogram of lengths, the contact sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import cache_card, contact_sheet
from pipeline.contact_sheet import Thumbnail
from pipeline.tables import sized
from proof.checkout import make_folder, pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures extracted, two of which cannot be read, the texts cut nowhere."""
    here = make_folder(tmp_path_factory.mktemp("looking") / "here")
    (here / "data/raw/tiny/circle0.png").write_bytes(b"no picture")
    (here / "data/raw/tiny/line9.png").write_bytes(b"")
    done = pipeline(here, "extract")
    assert done.returncode == 0, done.stderr
    return here


def key_of(folder: Path, rows: str) -> str:
    ledger = json.loads((folder / "runs/features/table/lite0-minilm.json").read_text())
    return next(str(key["key"]) for key in ledger["keys"] if key["about"]["rows"] == rows)


def card(folder: Path, rows: str) -> str:
    done = pipeline(folder, "info", key_of(folder, rows)[:12])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_card_of_pictures_says_what_a_person_wants_to_know(folder: Path) -> None:
    lines = dict(line.split(maxsplit=1) for line in card(folder, "image").splitlines())
    assert lines["rows"].strip() == "38 images of table"
    assert lines["classes"].strip() == "4"
    assert lines["tokens"].strip() == "49 an image, 1280 wide, float16, raw"
    assert lines["bytes"].split("(")[0].split()[-2:] == ["4.77", "MB"]
    assert lines["encoder"].startswith("lite0-minilm, not aligned, fp32 on cpu")
    assert lines["failures"].startswith("2: 1 UnidentifiedImageError, 1 ValueError; listed in data/store/features/")
    assert lines["key"].strip() == key_of(folder, "image")


def test_the_list_of_keys_says_of_which_dataset_they_are(folder: Path) -> None:
    rows = json.loads(pipeline(folder, "info", "--json").stdout)
    assert {row["dataset"] for row in rows} == {"table"}
    assert {row["what"] for row in rows} == {f"lite0-minilm {kind}" for kind in ("image", "text", "name")}


def test_the_card_of_texts_has_bars_that_add_up(folder: Path) -> None:
    printed = card(folder, "text")
    assert "40 texts of table" in printed
    assert "none was cut" in printed
    counts = [line.split("█")[0].split()[-1] for line in printed.splitlines() if "█" in line]
    assert sum(map(int, counts)) == 40


def test_json_holds_the_card_and_every_leaf(folder: Path) -> None:
    done = pipeline(folder, "info", key_of(folder, "image"), "--json")
    rows = {row["what"]: row["value"] for row in json.loads(done.stdout)}
    assert rows["card.count"] == "38"
    assert rows["card.failures.ValueError"] == "1"
    assert rows["content.storage"] == "float16"
    assert "files" in rows


def test_lengths_fall_into_few_ranges_that_hold_them_all() -> None:
    found = cache_card.histogram(np.array([1, 8, 9, 77, 77]))
    assert found == {"1-8": 2, "9-16": 1, **dict.fromkeys(["17-24", "25-32", "33-40", "41-48", "49-56", "57-64"], 0),
                     "65-72": 0, "73-80": 2}  # fmt: skip
    assert cache_card.histogram(np.array([1, 1, 1])) == {"1": 3}
    assert cache_card.histogram(np.array([5, 6])) == {"5": 1, "6": 1}
    assert cache_card.histogram(np.array([], np.int64)) == {}


def test_bars_show_shares_and_nothing_that_is_there_is_invisible() -> None:
    long, short, none = cache_card.bars({"1-8": 100_000, "9-16": 1, "17-24": 0})
    assert long.count("█") == cache_card.BAR
    assert short.split()[-1] == "▏"
    assert none.split() == ["17-24", "0"]
    assert cache_card.bars({}) == []


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (131_000, "131 kB"), (999_999, "1 MB"), (5.2e12, "5.2 TB")],
)
def test_bytes_are_short(count: float, text: str) -> None:
    assert sized(count) == text


def test_thumbnails_of_the_present_dataset_are_one_whole_png(folder: Path) -> None:
    target = folder / "sheets/all.png"
    done = pipeline(folder, "info", "--thumbnails", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(target)
    assert [path.name for path in target.parent.iterdir()] == ["all.png"]
    with Image.open(target) as sheet:
        sheet.load()
        assert sheet.width > 7 * contact_sheet.SIDE
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 20) or []}
    assert (0xB9, 0x1C, 0x1C) in colours  # a failure is written in red
    again = pipeline(folder, "info", key_of(folder, "image"), "--thumbnails", str(target))
    assert again.returncode == 0, again.stderr  # a PNG is drawn anew


@pytest.mark.parametrize(
    ("name", "message"),
    [("notes.png", "is there and is no PNG"), ("raw", "is a folder"), ("sheet.jpg", "ends in .png")],
)
def test_what_is_no_png_is_never_overwritten(folder: Path, name: str, message: str) -> None:
    notes = folder / "data/notes.png"
    notes.write_text("mine")
    done = pipeline(folder, "info", "--thumbnails", f"data/{name}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert notes.read_text() == "mine"


def test_texts_have_no_thumbnails_and_a_lost_manifest_is_one_line(folder: Path) -> None:
    done = pipeline(folder, "info", key_of(folder, "text"), "--thumbnails", "x.png")
    assert "no pictures" in done.stderr
    assert done.returncode == 2
    manifest = folder / "runs/manifests/table.parquet"
    kept = manifest.read_bytes()
    manifest.unlink()
    done = pipeline(folder, "info", key_of(folder, "image"), "--thumbnails", "x.png")
    manifest.write_bytes(kept)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "the manifest that it was made from is gone" in done.stderr
    assert not (folder / "x.png").exists()


def test_a_key_that_no_ledger_names_is_one_line(folder: Path) -> None:
    ledger = folder / "runs/features/table/lite0-minilm.json"
    key, kept = key_of(folder, "image"), ledger.read_bytes()
    ledger.unlink()
    done = pipeline(folder, "info", key, "--thumbnails", "x.png")
    bare, none = pipeline(folder, "info", key), pipeline(folder, "info", "--thumbnails", "x.png")
    ledger.write_bytes(kept)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no ledger under runs/ or data/ names it" in done.stderr
    assert "38 images" in bare.stdout
    assert "classes" not in bare.stdout
    assert "run 'extract', or name a key" in none.stderr


def test_a_picture_that_is_gone_leaves_a_crossed_box(folder: Path) -> None:
    picture = folder / "data/raw/tiny/dot3.png"
    kept = picture.read_bytes()
    picture.unlink()
    done = pipeline(folder, "info", "--thumbnails", "gone.png")
    picture.write_bytes(kept)
    assert done.returncode == 0, done.stderr
    assert (folder / "gone.png").stat().st_size > 0


def test_rows_are_spread_evenly_from_the_first_to_the_last() -> None:
    chosen = contact_sheet.spread(list(range(1042)))
    assert (len(chosen), chosen[0], chosen[-1]) == (contact_sheet.MOST, 0, 1041)
    assert set(np.diff(chosen)) <= {10, 11}
    assert contact_sheet.spread([3, 5]) == [3, 5]


def thumbnail(name: str, size: tuple[int, int]) -> Thumbnail:
    return Thumbnail(name, "class " * 40, Image.new("RGB", size, "#2563eb"), "")


@pytest.mark.parametrize("count", [0, 1, 4, 100])
def test_a_sheet_of_any_count_is_drawn(count: int) -> None:
    sheet = contact_sheet.draw([thumbnail("x" * 300, (50, 176))] * count, "t" * 500, "about")
    columns = max(3, int(np.ceil(np.sqrt(count))))
    assert (
        sheet.width == 2 * contact_sheet.MARGIN + columns * (contact_sheet.SIDE + contact_sheet.GAP) - contact_sheet.GAP
    )
    right = sheet.crop((sheet.width - contact_sheet.MARGIN, 0, sheet.width, sheet.height))
    assert right.getcolors() == [(right.width * right.height, (255, 255, 255))]  # nothing runs over the margin


def test_long_names_keep_both_ends() -> None:
    font = contact_sheet._font(14)
    cut = contact_sheet.fitted("photographs/2019/IMG_20190712.jpg", font, contact_sheet.SIDE, middle=True)
    assert font.getlength(cut) <= contact_sheet.SIDE
    assert cut.startswith("photo")
    assert cut.endswith(".jpg")
    assert contact_sheet.fitted("two  words", font, contact_sheet.SIDE) == "two words"
