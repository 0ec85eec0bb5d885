"""The benchmarks of few-shot classification, in the layout of CoOp."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cache.errors import MissingError, UsageError, UserError
from cache.manifest import Manifest, read_manifest
from stages.ingest import blocks
from stages.ingest.datasets import find, loader
from stages.ingest.datasets.coop import load
from stages.ingest.datasets.coop_sets import COOP_SETS, as_file_name
from stages.ingest.run import run
from tests.listener import Listener
from tests.stages.ingest.given import jpeg, params, whole, write

Lists = Mapping[str, Sequence[Any]]

PETS: Lists = {
    "train": [["Abyssinian_1.jpg", 0, "abyssinian"], ["beagle_1.jpg", 1, "american_beagle"]],
    "val": [["Abyssinian_2.jpg", 0, "abyssinian"]],
    "test": [["beagle_2.jpg", 1, "american_beagle"], ["Abyssinian_3.jpg", 0, "abyssinian"]],
}
PUBLISHED = {  # set: its split file, the folder of its pictures, a path in it
    "caltech101": ("Caltech101", "101_ObjectCategories", "airplanes/image_0001.jpg"),
    "oxford_pets": ("OxfordPets", "images", "Abyssinian_1.jpg"),
    "stanford_cars": ("StanfordCars", "", "cars_train/00001.jpg"),
    "oxford_flowers": ("OxfordFlowers", "jpg", "image_00001.jpg"),
    "food101": ("Food101", "images", "apple_pie/1005649.jpg"),
    "sun397": ("SUN397", "SUN397", "a/abbey/sun_aaalbzqrimafwbiv.jpg"),
    "dtd": ("DescribableTextures", "images", "banded/banded_0002.jpg"),
    "eurosat": ("EuroSAT", "2750", "Forest/Forest_1.jpg"),
    "ucf101": ("UCF101", "UCF-101-midframes", "Archery/v_Archery_g01_c01.jpg"),
}


def laid(home: Path, name: str, file: str, folder: str, lists: Lists) -> Path:
    """A set's published layout, with made-up pictures."""
    root = home / "data" / "raw" / f"coop-{name}"
    write(root / f"split_zhou_{file}.json", json.dumps(lists))
    for number, (path, *_) in enumerate(entry for entries in lists.values() for entry in entries):
        write(root / folder / path, jpeg((number, 40, 80)))
    return root


def read(home: Path, name: str, *, class_text: str = "a photo of a {}") -> Manifest:
    given = params(home, f"coop-{name}")
    section = given.section.model_copy(update={"class_text": class_text})
    return whole(load(type(given)(**{**vars(given), "section": section})))


def test_a_split_file_becomes_a_manifest(tmp_path: Path) -> None:
    laid(tmp_path, "oxford_pets", "OxfordPets", "images", PETS)
    given = params(tmp_path, "coop-oxford_pets")
    run(given)
    manifest = read_manifest(given.manifest)
    assert (manifest.name, manifest.root) == ("coop-oxford_pets", "data/raw/coop-oxford_pets")
    assert manifest.images == [f"images/{path}" for entries in PETS.values() for path, *_ in entries]
    assert manifest.ids == manifest.images
    assert manifest.labels == [["abyssinian"], ["american_beagle"], ["abyssinian"], ["american_beagle"], ["abyssinian"]]
    assert manifest.texts[:2] == [["a photo of a abyssinian"], ["a photo of a american beagle"]]
    assert manifest.splits == ["train", "train", "val", "test", "test"]
    assert all(manifest.bytes)


def test_the_words_round_the_class_name_are_a_parameter(tmp_path: Path) -> None:
    laid(tmp_path, "oxford_pets", "OxfordPets", "images", PETS)
    texts = read(tmp_path, "oxford_pets", class_text="{}, a pet").texts
    assert texts[:2] == [["abyssinian, a pet"], ["american beagle, a pet"]]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_layout_is_found(tmp_path: Path, name: str) -> None:
    file, folder, path = PUBLISHED[name]
    root = laid(tmp_path, name, file, folder, {"train": [[path, 0, "one"]], "val": [], "test": [["x.jpg", 1, "two"]]})
    for part in find(f"coop:{name}").parts:
        if not (root / part).exists():
            write(root / part / "x.jpg", b"x")  # cars_test
    manifest = read(tmp_path, name)
    assert manifest.images[0] == (f"{folder}/{path}" if folder else path)
    assert (root / manifest.images[0]).is_file()


def test_a_set_of_ones_own_needs_a_split_file_and_its_pictures_folder(tmp_path: Path) -> None:
    laid(tmp_path, "mine", "Mine", "photos", PETS)
    assert read(tmp_path, "mine").images[0] == "photos/Abyssinian_1.jpg"
    laid(tmp_path, "bare", "Bare", "", PETS)
    assert read(tmp_path, "bare").images[0] == "Abyssinian_1.jpg"


def test_a_missing_picture_is_a_missing_file_as_of_any_dataset(tmp_path: Path) -> None:
    root = laid(tmp_path, "oxford_pets", "OxfordPets", "images", PETS)
    (root / "images" / "beagle_2.jpg").unlink()
    with pytest.raises(MissingError, match=r"^coop-oxford_pets: 1 of 5 .*'images/beagle_2.jpg'"):
        run(params(tmp_path, "coop-oxford_pets"))
    run(params(tmp_path, "coop-oxford_pets", allow_missing=True))


def put(split: str, entry: Any) -> Lists:
    return {**PETS, split: [*PETS[split], entry]}


SPLIT = "coop-mine: split_zhou_Mine.json"


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (
            put("test", ["x.jpg", 2, "abyssinian"]),
            f"{SPLIT} gives 'abyssinian' the numbers 0 and 2; a class has one",
        ),
        (put("val", ["x.jpg", 1, "pug"]), f"{SPLIT} calls class 1 'american_beagle' and 'pug'; a class has one name"),
        ({"train": []}, f"{SPLIT} has no lists 'train' and 'test'; get it again"),
        (["train", "test"], f"{SPLIT} has no lists 'train' and 'test'; get it again"),
        *(
            (
                put("val", entry),
                f"{SPLIT}: entry 2 of 'val' is {json.dumps(entry)}; it must be a picture's path, a class number from 0 "
                "and a class name",
            )
            for entry in (["x.jpg", "0", "pug"], ["x.jpg", -1, "pug"], ["x.jpg", 0], [1, 0, "pug"], {}, ["x", 0, " "])
        ),
        *(
            ({**PETS, split: what}, f"{SPLIT}: '{split}' is {said}; it must be a list of entries")
            for split, what, said in (("train", None, "null"), ("test", 5, "5"), ("val", {"a": 1}, '{"a": 1}'))
        ),
        *(
            (
                put("val", entry),
                f"{SPLIT}: entry 2 of 'val' is {json.dumps(entry)[:100]}, which holds a NUL or half a character "
                "(\\ud800 to \\udfff); write it whole",
            )
            for entry in (["x\0.jpg", 1, "american_beagle"], ["x\ud800.jpg", 1, "american_beagle"], ["x", 2, "\udfff"])
        ),
        (
            put("val", ["x" * 5000, 1, "american_beagle"]),
            f"coop-mine: picture 'photos/{'x' * 93}' cannot be read (File name too long); mend it",
        ),
        (
            put("val", ["x.jpg", 1, "b" * 5000]),
            f"{SPLIT} calls class 1 'american_beagle' and '{'b' * 100}...'; a class has one name",
        ),
    ],
)
def test_a_wrong_split_file_is_one_line(tmp_path: Path, lists: Any, message: str) -> None:
    root = laid(tmp_path, "mine", "Mine", "photos", PETS)
    write(root / "split_zhou_Mine.json", json.dumps(lists))
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "coop-mine"))
    assert str(error.value) == message
    assert not list(tmp_path.glob("data/manifests/*"))


def test_a_split_file_whose_val_is_null_has_none_and_a_long_path_is_never_a_wall_of_text(tmp_path: Path) -> None:
    root = laid(tmp_path, "mine", "Mine", "photos", PETS)
    write(root / "split_zhou_Mine.json", json.dumps({**PETS, "val": None}))
    assert set(read(tmp_path, "mine").splits) == {"train", "test"}
    deep = "/".join(["deep"] * 600)
    write(root / "split_zhou_Mine.json", json.dumps({**PETS, "train": [[deep, 0, "abyssinian"]]}))
    with pytest.raises(MissingError, match=rf"'photos/{deep[:93]}\.\.\.' \(noted in ") as error:
        run(params(tmp_path, "coop-mine"))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_split_file_that_is_no_json_is_one_line(tmp_path: Path, data: bytes) -> None:
    write(laid(tmp_path, "mine", "Mine", "photos", PETS) / "split_zhou_Mine.json", data)
    with pytest.raises(UserError) as error:
        read(tmp_path, "mine")
    assert str(error.value) == f"{SPLIT} is not JSON; get it again"


def test_two_split_files_are_one_too_many(tmp_path: Path) -> None:
    laid(tmp_path, "mine", "Mine", "photos", PETS)
    laid(tmp_path, "mine", "Yours", "photos", PETS)
    with pytest.raises(UserError) as error:
        read(tmp_path, "mine")
    assert str(error.value) == (
        "coop-mine: 'split_zhou_Mine.json' and 'split_zhou_Yours.json' lie in data/raw/coop-mine; leave one split file "
        "there"
    )


@pytest.mark.parametrize("path", ["../../../secret.jpg", "/etc/hostname"])
def test_a_split_file_does_not_lead_out(tmp_path: Path, path: str) -> None:
    root = laid(tmp_path, "mine", "Mine", "photos", PETS)
    write(tmp_path / "secret.jpg", b"x")
    write(root / "split_zhou_Mine.json", json.dumps({"train": [[path, 0, "x"]], "test": []}))
    with pytest.raises(UserError, match=r"leads out of|unusable image"):
        run(params(tmp_path, "coop-mine"))
    assert not (tmp_path / "data" / "manifests").exists()


# --- FGVC-Aircraft ----------------------------------------------------------------------------------------------------


def aircraft(home: Path) -> Path:
    root = home / "data" / "raw" / "coop-fgvc_aircraft"
    write(root / "variants.txt", "707-320\nF/A-18\n")
    for split, lines in {"train": "1 707-320\n2 F/A-18\n", "val": "3 F/A-18\n", "test": "4 707-320\n"}.items():
        write(root / f"images_variant_{split}.txt", lines)
    for number in range(1, 5):
        write(root / "images" / f"{number}.jpg", jpeg((number, 0, 0)))
    return root


def test_aircraft_have_lists_of_their_own(tmp_path: Path) -> None:
    aircraft(tmp_path)
    run(params(tmp_path, "coop-fgvc_aircraft"))
    manifest = read_manifest(params(tmp_path, "coop-fgvc_aircraft").manifest)
    assert manifest.images == [f"images/{number}.jpg" for number in range(1, 5)]
    assert manifest.labels == [["707-320"], ["F/A-18"], ["F/A-18"], ["707-320"]]
    assert manifest.texts[0] == ["a photo of a 707-320"]
    assert manifest.splits == ["train", "train", "val", "test"]


def test_a_variant_that_is_none_names_the_line(tmp_path: Path) -> None:
    write(aircraft(tmp_path) / "images_variant_val.txt", "3 F/A-18\n5 F-16\n")
    with pytest.raises(UserError) as error:
        read(tmp_path, "fgvc_aircraft")
    assert str(error.value) == (
        "coop-fgvc_aircraft: images_variant_val.txt line 2 is '5 F-16'; behind the picture must stand one of the 2 "
        "lines of variants.txt; unpack the archive again"
    )


# --- ImageNet and its variants ----------------------------------------------------------------------------------------

NAMES = "n01 tench\nn02 great white shark\nn03 sunglasses\nn04 sunglasses\n"


def class_folders(home: Path, name: str, folders: Sequence[str], names: str = NAMES) -> Path:
    root = home / "data" / "raw" / f"coop-{name}"
    write(root / "classnames.txt", names)
    for number, folder in enumerate(folders):
        write(root / folder / f"{number}.JPEG", jpeg((number, 0, 9)))
    return root


@pytest.mark.parametrize("top", ["", "images/"])
def test_train_and_val_become_train_and_test(tmp_path: Path, top: str, listener: Listener) -> None:
    ids = ("n01", "n02", "n03", "n04")
    class_folders(tmp_path, "own", [f"{top}{split}/{own}" for split in ("train", "val") for own in ids])
    manifest = read(tmp_path, "own")
    assert manifest.splits == ["train"] * 4 + ["test"] * 4
    labels = ["tench", "great white shark", "sunglasses (n03)", "sunglasses (n04)"]
    assert manifest.labels == [[label] for label in labels] * 2
    assert [text for (text,) in manifest.texts[:4]] == [
        "a photo of a tench",
        "a photo of a great white shark",
        "a photo of a sunglasses",
        "a photo of a sunglasses",
    ]
    assert manifest.images[0] == f"{top}train/n01/0.JPEG"
    assert listener.warned == [
        "coop-own: 1 class name stands more than once in classnames.txt, the first is 'sunglasses'; such classes have "
        "their ids behind their names, their texts are the same"
    ]


@pytest.mark.parametrize("top", ["imagenet-a/", "", "val/"])
def test_one_folder_of_some_classes_has_no_split(tmp_path: Path, top: str) -> None:
    class_folders(tmp_path, "own", [f"{top}n03", f"{top}n01"])
    manifest = read(tmp_path, "own")
    assert manifest.splits == [None, None]
    assert manifest.labels == [["tench"], ["sunglasses (n03)"]]


def test_the_pictures_of_imagenet_are_never_all_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 2)
    root = class_folders(tmp_path, "own", ["train/n01", "train/n02", "val/n01", "val/n02"])
    write(root / "train" / "n01" / "9.JPEG", b"x")
    found = load(params(tmp_path, "coop-own")).blocks()
    assert next(found).images == ["train/n01/0.JPEG", "train/n01/9.JPEG"]
    write(root / "val" / "n02" / "9.JPEG", b"x")  # where nobody has looked yet
    assert [block.splits for block in found] == [["train", "test"], ["test", "test"]]


def test_a_folder_may_be_called_by_the_place_of_its_class(tmp_path: Path) -> None:
    class_folders(tmp_path, "own", ["matched/0", "matched/3"])
    assert read(tmp_path, "own").labels == [["tench"], ["sunglasses (n04)"]]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ["a/n01", "a/n09", "a/n10"],
            "coop-own: classnames.txt names 2 of the 3 folders in {root}/a no class, the first is 'n09'; take out what "
            "is none, give what is one a line",
        ),
        (
            ["a/n01", "a/4"],
            "coop-own: classnames.txt names 1 of the 2 folders in {root}/a no class, the first is '4'; take out what "
            "is none, give what is one a line",
        ),
        (
            ["train/n01", "train/n02", "val/n01"],
            "coop-own: 1 class has a folder in one of train and val alone, the first is 'n02'; unpack the "
            "archives again",
        ),
        (
            ["a/x"],
            "coop-own: no folder of a class of classnames.txt in {root}; put <class id>/<picture> below it",
        ),
    ],
)
def test_folders_and_names_must_agree(tmp_path: Path, folders: list[str], message: str) -> None:
    root = class_folders(tmp_path, "own", folders)
    with pytest.raises(UserError) as error:
        read(tmp_path, "own")
    assert str(error.value) == message.format(root=root)


def test_a_set_of_all_classes_lacks_none(tmp_path: Path) -> None:
    names = "".join(f"n{number:03d} class {number}\n" for number in range(1000))
    folders = [f"imagenetv2-matched-frequency-format-val/{number}" for number in range(1000) if number != 7]
    class_folders(tmp_path, "imagenetv2", folders, names)
    with pytest.raises(UserError) as error:
        read(tmp_path, "imagenetv2")
    assert str(error.value) == (
        "coop-imagenetv2: no folder for 1 of the 1000 classes of classnames.txt, the first is 'n007 class 7'; unpack "
        "the archive again"
    )
    class_folders(tmp_path, "imagenet_a", [f"imagenet-a/n{number:03d}" for number in range(3)], names)
    assert len(read(tmp_path, "imagenet_a")) == 3


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("n01 tench\nn01 shark\n", "line 2 names 'n01' again; a class has one name"),
        ("n01 tench\n\nn02\n", "line 3 is 'n02'; it must be a class id, a blank, and a name"),
    ],
)
def test_a_wrong_class_name_names_its_line(tmp_path: Path, names: str, message: str) -> None:
    class_folders(tmp_path, "own", ["a/n01"], names)
    with pytest.raises(UserError) as error:
        read(tmp_path, "own")
    assert str(error.value) == f"coop-own: classnames.txt {message}"


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_colon_is_no_part_of_a_file_name() -> None:
    assert as_file_name("coop:oxford_pets") == as_file_name("coop-oxford_pets") == "coop-oxford_pets"
    assert as_file_name("openmoji") == "openmoji"
    assert find("coop:oxford_pets") is find("coop-oxford_pets") is COOP_SETS["coop-oxford_pets"]


def test_ten_split_benchmarks_imagenet_and_four_variants_are_known() -> None:
    assert len(COOP_SETS) == 15
    assert all(each.address and each.items and each.classes and each.parts for each in COOP_SETS.values())
    assert all(callable(loader(each)) for each in COOP_SETS.values())


@pytest.mark.parametrize("name", ["coop:", "coop:../x", "coop:a/b", "coop:.x", "coop:a b"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"^no dataset 'coop:.*'; write coop:<name> of letters, digits and . _ -,"):
        find(name)


@pytest.mark.parametrize("name", [*COOP_SETS, "coop-mine"])
def test_absent_data_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingError) as error:
        load(params(tmp_path, name))
    assert str(error.value).startswith(f"{name}: data/raw/{name} is missing; get ")
    assert "\n" not in str(error.value)


def test_a_folder_that_holds_something_else_says_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "data" / "raw" / "coop-mine" / "notes.txt", "x")
    with pytest.raises(MissingError) as error:
        load(params(tmp_path, "coop-mine"))
    assert str(error.value).startswith(
        "coop-mine: data/raw/coop-mine/split_zhou_<Name>.json, or classnames.txt, is missing; get "
    )
