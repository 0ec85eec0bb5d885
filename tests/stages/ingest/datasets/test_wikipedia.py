"""Wikipedia 2010 in its published layout."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import MissingError, UserError
from cache.manifest import read_manifest
from stages.ingest.datasets.wikipedia import PARTS, load
from stages.ingest.run import run
from tests.listener import Listener
from tests.stages.ingest.given import params, wikipedia, write

TRAIN = ["a-1\tp1\t1", "a-2\tp2\t2", "b-1.1\tp3\t1"]
TEST = ["c-3\tp4\t2"]
CATEGORIES = "art\nbiology\n"


def small(home: Path) -> Path:
    return wikipedia(home, TRAIN, TEST, CATEGORIES)


def test_ids_pictures_texts_classes_and_split_come_from_the_lists(tmp_path: Path) -> None:
    small(tmp_path)
    run(params(tmp_path, "wikipedia"))
    manifest = read_manifest(params(tmp_path, "wikipedia").manifest)
    assert (manifest.name, manifest.root) == ("wikipedia", "data/raw/wikipedia")
    assert manifest.ids == ["a-1", "a-2", "b-1.1", "c-3"]
    assert manifest.images == [
        "images/art/p1.jpg",
        "images/biology/p2.jpg",
        "images/art/p3.jpg",
        "images/biology/p4.jpg",
    ]
    assert manifest.texts == [[f"Article {number} & more"] for number in range(4)]
    assert manifest.labels == [["art"], ["biology"], ["art"], ["biology"]]
    assert manifest.splits == ["train", "train", "train", "test"]


@pytest.mark.shared
def test_the_official_2173_and_693_pairs_of_10_classes(shared: Path, tmp_path: Path) -> None:
    lists = shared / "data" / "wikipedia-2010"
    train, test, categories = (
        (lists / name).read_text()
        for name in ("trainset_txt_img_cat.list", "testset_txt_img_cat.list", "categories.list")
    )
    wikipedia(tmp_path, train.splitlines(), test.splitlines(), categories)
    run(params(tmp_path, "wikipedia"))
    manifest = read_manifest(params(tmp_path, "wikipedia").manifest)
    assert Counter(manifest.splits) == {"train": 2173, "test": 693}
    assert len(set(manifest.ids)) == 2866
    assert manifest.classes == categories.split()
    assert manifest.ids[0] == "b3150b0c281960b6a6d33407824fd40a-3"
    assert manifest.images[0] == "images/media/ceb47321a83dd824cec2d5d3f2034765.jpg"
    assert manifest.texts[2865] == ["Article 2865 & more"]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_named(tmp_path: Path, part: str) -> None:
    root = small(tmp_path)
    shutil.rmtree(root / part) if (root / part).is_dir() else (root / part).unlink()
    with pytest.raises(MissingError) as error:
        load(params(tmp_path, "wikipedia"))
    assert str(error.value) == (
        f"wikipedia: data/raw/wikipedia/{part} is missing; get the archive wikipedia_dataset at "
        "http://www.svcl.ucsd.edu/projects/crossmodal/, put it under data/raw/wikipedia "
        "(images/<category>/<image id>.jpg, texts/<text id>.xml, categories.list, trainset_txt_img_cat.list, "
        "testset_txt_img_cat.list), or use --dataset openmoji"
    )


def test_missing_articles_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    root = small(tmp_path)
    for name in ("a-2.xml", "c-3.xml"):
        (root / "texts" / name).unlink()
    with pytest.raises(MissingError) as error:
        load(params(tmp_path, "wikipedia"))
    assert str(error.value) == (
        "wikipedia: 2 of 4 articles are missing, the first is 'texts/a-2.xml'; unpack the archive again"
    )


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    root = small(tmp_path)
    (root / "images" / "biology" / "p2.jpg").unlink()
    with pytest.raises(MissingError, match=r"^wikipedia: 1 of 4 pictures are missing, the first is 'images/biology/p2"):
        run(params(tmp_path, "wikipedia"))


@pytest.mark.parametrize("line", ["a-1\tp1", "a-1\tp1\t3", "a-1\tp1\tart", "a-1\tp1\t0"])
def test_a_bad_line_of_a_list_is_named(tmp_path: Path, line: str) -> None:
    root = small(tmp_path)
    write(root / "trainset_txt_img_cat.list", "\n".join([*TRAIN, line]))
    with pytest.raises(UserError) as error:
        load(params(tmp_path, "wikipedia"))
    assert str(error.value) == (
        f"wikipedia: trainset_txt_img_cat.list line 4 is '{' '.join(line.split())}'; it must be a text id, an image "
        "id and a category from 1 to 2, the lines of categories.list; unpack the archive again"
    )


def duplicate(root: Path) -> None:
    write(root / "testset_txt_img_cat.list", "a-1\tp4\t2\n")


def upwards(root: Path) -> None:
    write(root / "testset_txt_img_cat.list", "../../../secret\tp4\t2\n")


def linked(root: Path) -> None:
    (root / "texts" / "c-3.xml").unlink()
    (root / "texts" / "c-3.xml").symlink_to(write(root.parent / "secret.xml", "<text>hush</text>"))


def empty(root: Path) -> None:
    write(root / "texts" / "c-3.xml", "<document><text> </text></document>")


def nothing(root: Path) -> None:
    write(root / "texts" / "c-3.xml", b"")


def bomb(root: Path) -> None:
    write(root / "texts" / "c-3.xml", '<!DOCTYPE d [<!ENTITY a "aa">]><d><text>&a;</text></d>')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (duplicate, "wikipedia: 1 ids stand more than once, the first is 'a-1'; make them unique"),
        (upwards, "wikipedia: 'texts/../../../secret.xml' leads out of "),
        (linked, "wikipedia: 'texts/c-3.xml' leads out of "),
        (empty, "wikipedia: 1 of 4 items have no text, the first is 'c-3'; give it one or leave it out"),
        (nothing, "wikipedia: 1 of 4 items have no text, the first is 'c-3'; give it one or leave it out"),
        (bomb, "wikipedia: texts/c-3.xml: declares an XML entity, which is refused; take the declaration out"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    change(small(tmp_path))
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "wikipedia"))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_articles_that_are_not_well_formed_are_read_and_counted(tmp_path: Path, listener: Listener) -> None:
    root = small(tmp_path)
    write(root / "texts" / "a-2.xml", '<document name="A & B"><text>Read & kept</text></document>')
    manifest = load(params(tmp_path, "wikipedia"))
    assert manifest.texts[1] == ["Read & kept"]
    assert listener.warned == [
        "wikipedia: 1 of 4 articles are not well-formed XML and were read between their <text> tags, "
        "the first is 'texts/a-2.xml'"
    ]
