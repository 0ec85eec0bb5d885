"""XMediaNet's pictures and texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import UserError
from cache.manifest import Manifest, read_manifest
from stages.ingest.datasets.xmedianet import LISTS, load
from stages.ingest.run import run
from tests.listener import Listener
from tests.stages.ingest.given import jpeg, params, write

TRAIN = [("bee/i2.jpg", "bee/t1.txt"), ("owl/i1.jpg", "owl/t2.txt")]
TEST = [("bee/i1.jpg", "bee/t2.txt")]


def small(home: Path, lists: bool = True) -> Path:
    root = home / "data" / "raw" / "xmedianet"
    for number, (image, text) in enumerate([*TRAIN, *TEST]):
        write(root / "image" / image, jpeg((number, 0, 0)))
        write(root / "text" / text, f"  The text\n{text} ")
    if lists:
        for split, pairs in (("train", TRAIN), ("test", TEST)):
            for side, name in enumerate(LISTS[split]):
                number = {"bee": 1, "owl": 2}
                lines = [f"{pair[side]} {number[pair[side].split('/')[0]]}" for pair in pairs]
                write(root / name, "\n".join(lines) + "\n")
    return root


def ingested(home: Path, **table: object) -> Manifest:
    given = params(home, "xmedianet", **table)
    run(given)
    return read_manifest(given.manifest)


def test_line_n_of_a_list_of_pictures_goes_with_line_n_of_the_texts(tmp_path: Path) -> None:
    small(tmp_path)
    manifest = ingested(tmp_path)
    assert (manifest.name, manifest.root) == ("xmedianet", "data/raw/xmedianet")
    assert manifest.ids == ["bee/i2", "owl/i1", "bee/i1"]
    assert manifest.images == ["image/bee/i2.jpg", "image/owl/i1.jpg", "image/bee/i1.jpg"]
    assert manifest.texts == [[f"The text {text}"] for _, text in [*TRAIN, *TEST]]
    assert manifest.labels == [["bee"], ["owl"], ["bee"]]
    assert manifest.splits == ["train", "train", "test"]


def test_lists_may_name_the_part_and_write_windows_paths(tmp_path: Path) -> None:
    root = small(tmp_path)
    write(root / "img_train_list.txt", "image\\bee\\i2.jpg\t1\nimage\\owl\\i1.jpg\t2\n")
    assert ingested(tmp_path).images[:2] == ["image/bee/i2.jpg", "image/owl/i1.jpg"]


def test_without_lists_a_category_is_paired_in_the_order_of_names(tmp_path: Path) -> None:
    root = small(tmp_path, lists=False)
    write(root / "image" / "bee" / ".hidden", b"x")
    manifest = ingested(tmp_path)
    assert manifest.ids == ["bee/i1", "bee/i2", "owl/i1"]
    assert manifest.texts == [["The text bee/t1.txt"], ["The text bee/t2.txt"], ["The text owl/t2.txt"]]
    assert manifest.splits == [None] * 3


def test_two_hundred_classes_load_to_as_many_pairs_as_are_listed(tmp_path: Path) -> None:
    root = tmp_path / "data" / "raw" / "xmedianet"
    lines: dict[str, list[str]] = {name: [] for names in LISTS.values() for name in names}
    for category in range(200):
        for number, split in enumerate(["train"] * 4 + ["test"]):
            write(root / "image" / f"c{category:03}" / f"{number}.jpg", b"x")
            write(root / "text" / f"c{category:03}" / f"{number}.txt", f"text {category} {number}")
            for name, suffix in zip(LISTS[split], ("jpg", "txt"), strict=True):
                lines[name].append(f"c{category:03}/{number}.{suffix} {category + 1}")
    for name, written in lines.items():
        write(root / name, "\n".join(written))
    manifest = load(params(tmp_path, "xmedianet"))
    assert isinstance(manifest, Manifest)
    assert Counter(manifest.splits) == {"train": 800, "test": 200}
    assert set(Counter(label for [label] in manifest.labels).values()) == {5}
    assert len(manifest.classes) == 200


def test_a_text_in_latin_1_is_read(tmp_path: Path) -> None:
    write(small(tmp_path) / "text" / "owl" / "t2.txt", b"Caf\xe9")
    assert ingested(tmp_path).texts[1] == ["Caf\xe9"]


def test_a_pair_whose_text_is_missing_is_left_out_where_that_is_allowed(tmp_path: Path, listener: Listener) -> None:
    root = small(tmp_path)
    (root / "text" / "bee" / "t1.txt").unlink()
    assert ingested(tmp_path, allow_missing=True).ids == ["owl/i1", "bee/i1"]
    assert listener.warned[0].startswith("xmedianet: 1 of 3 pairs names a file that is missing and is left out: 'te")
    assert (tmp_path / "data" / "manifests" / "xmedianet.missing.txt").read_text() == "text/bee/t1.txt\n"


def lone_category(root: Path) -> None:
    (root / "text" / "owls").mkdir()


def lone_list(root: Path) -> None:
    (root / "txt_test_list.txt").unlink()


def longer_list(root: Path) -> None:
    write(root / "txt_test_list.txt", "bee/t2.txt 1\n\nowl/t2.txt 2\n")


def crossed_lists(root: Path) -> None:
    write(root / "txt_train_list.txt", "bee/t1.txt 1\nbee/t2.txt 1\n")


def unlisted(root: Path) -> None:
    for path in ("image/zebra/i1.jpg", "text/zebra/t1.txt"):
        write(root / path, b"x")


def folderless(root: Path) -> None:
    write(root / "img_test_list.txt", "elk/i1.jpg 1\n")
    write(root / "txt_test_list.txt", "elk/t1.txt 1\n")


def numberless(root: Path) -> None:
    write(root / "img_test_list.txt", "\nbee/i1.jpg\n")


def upwards(root: Path) -> None:
    write(root / "txt_test_list.txt", "bee/../../../secret 1\n")


def again(root: Path) -> None:
    write(root / "img_test_list.txt", "bee/i2.jpg 1\n")


def wordless(root: Path) -> None:
    write(root / "text" / "owl" / "t2.txt", " \n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lone_category,
            "xmedianet: 1 category has a folder in one part alone, the first is 'owls', in text/ and not in image/; "
            "unpack the archive again",
        ),
        (
            lone_list,
            "xmedianet: some of the lists are missing; lay all four under data/raw/xmedianet (img_train_list.txt, "
            "txt_train_list.txt, img_test_list.txt, txt_test_list.txt), or none",
        ),
        (longer_list, "xmedianet: img_test_list.txt has 1 line, txt_test_list.txt 2; get both files anew"),
        (
            crossed_lists,
            "xmedianet: entry 2 of img_train_list.txt is 'owl/i1.jpg', of txt_train_list.txt 'bee/t2.txt': two "
            "categories; get both files anew",
        ),
        (
            numberless,
            "xmedianet: img_test_list.txt line 2 is 'bee/i1.jpg'; it must be <category>/<file> and the category's "
            "number",
        ),
        (
            unlisted,
            "xmedianet: 1 folder of pictures in image/ and not in the lists, the first is 'zebra'; get the lists and "
            "the archive anew",
        ),
        (
            folderless,
            "xmedianet: 1 category of the lists is no folder in image/, the first is 'elk'; get the lists and the "
            "archive anew",
        ),
        (upwards, "xmedianet: 'text/bee/../../../secret' leads out of "),
        (again, "xmedianet: 1 id stands more than once, the first is 'bee/i2'; give each row an id of its own"),
        (wordless, "xmedianet: 1 of 3 items has no text, the first is 'owl/i1'; give it one or leave it out"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    change(small(tmp_path))
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "xmedianet"))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_category_of_more_pictures_than_texts_is_one_line_without_lists(tmp_path: Path) -> None:
    root = small(tmp_path, lists=False)
    write(root / "image" / "owl" / "i9.jpg", b"x")
    with pytest.raises(UserError) as error:
        load(params(tmp_path, "xmedianet"))
    assert str(error.value) == (
        "xmedianet: 'owl' has 2 pictures and 1 text; unpack the archive again, or lay the published lists beside them"
    )
