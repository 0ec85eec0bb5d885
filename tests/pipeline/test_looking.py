"""info on a cache: the card, the histogram of lengths, the contact sheet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import DamagedError
from cache.manifest import write_manifest
from cache.verify import Finding
from pipeline import cache_card, contact_sheet, upkeep
from pipeline.contact_sheet import Thumbnail
from pipeline.tables import sized
from proof.checkout import make_folder, pipeline
from stages.extract.plan import image_rows
from tests.cache.build import flip_bit, small_manifest


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
    assert rows["card.count"] == 38
    assert rows["card.failures.ValueError"] == 1
    assert rows["card.lengths"] is None
    assert rows["card.named_by"] == ["runs/features/table/lite0-minilm.json"]
    assert rows["content.storage"] == "float16"
    assert rows["content.aligned"] is False
    assert rows["files"] == ["part-00000.h5", "index.parquet", "failed.parquet"]


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


def test_texts_have_no_thumbnails(folder: Path) -> None:
    done = pipeline(folder, "info", key_of(folder, "text"), "--thumbnails", "x.png")
    assert "no pictures" in done.stderr
    assert done.returncode == 2


def refused_sheet(folder: Path, key: str) -> str:
    """The one line of a sheet that could not be drawn, and left nothing."""
    done = pipeline(folder, "info", key, "--thumbnails", "x.png")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert not (folder / "x.png").exists()
    return done.stderr


def test_a_manifest_that_is_lost_or_another_tables_is_one_line(folder: Path) -> None:
    path, key = folder / "runs/manifests/table.parquet", key_of(folder, "image")
    kept = path.read_bytes()
    path.unlink()
    lost = refused_sheet(folder, key)
    write_manifest(path, small_manifest(), "other")
    replaced = refused_sheet(folder, key)
    path.write_bytes(kept)
    assert "the manifest that it was made from is gone; run 'extract' again" in lost
    assert "made from another table than runs/manifests/table.parquet holds now; run 'ingest' on that one" in replaced


def test_a_cache_that_no_ledger_names_is_known_by_its_rows(folder: Path) -> None:
    """As after an extract with other parameters, whose ledger takes the place of the first one's."""
    ledger = folder / "runs/features/table/lite0-minilm.json"
    keys, kept = {kind: key_of(folder, kind) for kind in ("image", "text", "name")}, ledger.read_bytes()
    ledger.unlink()
    sheet = pipeline(folder, "info", keys["image"], "--thumbnails", "unnamed.png")
    rows = json.loads(pipeline(folder, "info", "--json").stdout)
    cards = {kind: pipeline(folder, "info", key).stdout for kind, key in keys.items()}
    none = pipeline(folder, "info", "--thumbnails", "x.png")
    manifest = folder / "runs/manifests/table.parquet"
    bytes_of_manifest = manifest.read_bytes()
    manifest.unlink()
    refused, bare = refused_sheet(folder, keys["image"]), pipeline(folder, "info", keys["image"]).stdout
    ledger.write_bytes(kept)
    manifest.write_bytes(bytes_of_manifest)
    assert sheet.returncode == 0, sheet.stderr
    assert (folder / "unnamed.png").stat().st_size > 0
    assert {row["key"]: row["dataset"] for row in rows} == dict.fromkeys(keys.values(), "table")
    for kind, count in (("image", "38 images"), ("text", "40 texts"), ("name", "class names")):
        assert f"{count} of table" in cards[kind]
        assert "no ledger; 'clean --unused' removes it" in cards[kind]
    assert "run 'extract', or name a key" in none.stderr
    assert "no ledger names it, and no manifest under runs/ or data/ has its rows; run 'ingest'" in refused
    assert "38 images" in bare
    assert "classes" not in bare


def test_an_unfinished_cache_says_how_far_it_is_and_what_goes_on_with_it(folder: Path) -> None:
    asked = ("-S", "extract.rows_per_shard=10", "-S", "extract.storage=float32")
    here, lone = folder / "data/store/features", folder / "runs/features/table/lite0-minilm.json"
    before, kept = set(here.iterdir()), lone.read_bytes()
    assert pipeline(folder, "extract", *asked).returncode == 0
    (cut,) = (
        path for path in set(here.iterdir()) - before if len(list(path.glob("*.h5"))) == 4 and rows_of(path) == "image"
    )
    flip_bit(cut / "part-00002.h5")
    done = pipeline(folder, "verify", "--repair")
    printed, listed = pipeline(folder, "info", cut.name), pipeline(folder, "info", cut.name, "--json")
    for path in set(here.iterdir()) - before:
        shutil.rmtree(path)
    missing = pipeline(folder, "verify")
    lone.write_bytes(kept)
    assert done.returncode == 0, done.stderr
    assert "which is not whole" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("data/store: no damage, 1 key unfinished")
    assert missing.stderr.splitlines()[-1].endswith("data/store: no damage, but not all that ledgers name")
    assert pipeline(folder, "verify").stderr.splitlines()[-1].endswith("data/store: whole")
    card = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in printed.stdout.splitlines()[1:]}
    assert (card["parts"], card["rows"], card["holds"]) == ("3 of 4 recorded", "28 recorded", "images of table")
    assert card["state"].startswith("unfinished; run 'extract' again")
    assert printed.stderr == ""
    values = {row["what"]: row["value"] for row in json.loads(listed.stdout)}
    assert (values["progress.parts"], values["progress.parts_planned"], values["progress.rows"]) == (3, 4, 28)
    assert values["progress.being_written"] is False


def rows_of(cache: Path) -> str:
    return str(json.loads((cache / "cache.json").read_text())["rows"])


def test_one_problem_is_one_problem_and_two_are_problems() -> None:
    finding = Finding(Path("data/store/features/k"), "part-00000.h5: missing", "run 'verify --repair'")
    with pytest.raises(DamagedError, match=r"^1 problem: data/store/features/k: part-00000.h5: missing; run"):
        upkeep.require_none([finding])
    with pytest.raises(DamagedError, match=r"^2 problems; the first: data/store"):
        upkeep.require_none([finding, finding])


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


def test_what_the_font_lacks_is_no_empty_box() -> None:
    font = contact_sheet._font(14)
    assert contact_sheet.legible("снимок 3 ελ", font) == "снимок 3 ελ"
    assert contact_sheet.legible("照片/IMG_1.jpg", font) == "…/IMG_1.jpg"
    strange = contact_sheet.draw([thumbnail("照片.jpg", (50, 50))], "日本 · lite0-minilm", "about")
    plain = contact_sheet.draw([thumbnail("….jpg", (50, 50))], "… · lite0-minilm", "about")
    assert strange.tobytes() == plain.tobytes()
    boxed = contact_sheet.draw([thumbnail("\ufffe.jpg", (50, 50))], "… · lite0-minilm", "about")
    assert boxed.tobytes() == plain.tobytes()


def test_pictures_and_classes_whose_names_the_font_lacks_are_told_apart(tmp_path: Path) -> None:
    manifest = small_manifest(ids=["猫", "犬.png", "c"], labels=[["猫"], ["कुत्ता", "dog"], ["dog"]])
    found = [
        contact_sheet.thumbnail(manifest, tmp_path, image_rows(manifest)[i], i, {"猫": "ValueError"}) for i in range(3)
    ]
    assert [(one.id, one.labels) for one in found] == [
        ("row 1", "class 3"),
        ("row 2: ….png", "class 2, dog"),
        ("c", "dog"),
    ]
    assert [one.problem for one in found] == ["ValueError", "not there any more", "not there any more"]
