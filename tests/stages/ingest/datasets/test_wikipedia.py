"""Wikipedia 2010 in its published layout."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import MissingError, UserError
from cache.manifest import read_manifest
from stages.ingest.datasets.wikipedia import load
from stages.ingest.run import run
from tests.listener import Listener
from tests.stages.ingest.given import params, unreadable, wikipedia, write

TRAIN = ["a-1\tp1\t1", "a-2\tp2\t2", "b-1.1\tp3\t1"]
TEST = ["c-3\tp4\t2"]
CATEGORIES = "art\nbiology\n"
PUBLISHED = {  # train, test
    "art": (138, 34),
    "biology": (272, 88),
    "geography": (244, 96),
    "history": (248, 85),
    "literature": (202, 65),
    "media": (178, 58),
    "music": (186, 51),
    "royalty": (144, 41),
    "sport": (214, 71),
    "warfare": (347, 104),
}


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
    counts = Counter(zip((label for [label] in manifest.labels), manifest.splits, strict=True))
    assert {name: (counts[name, "train"], counts[name, "test"]) for name in manifest.classes} == PUBLISHED
    assert len(set(manifest.ids)) == 2866
    assert manifest.classes == categories.split()
    assert manifest.ids[0] == "b3150b0c281960b6a6d33407824fd40a-3"
    assert manifest.images[0] == "images/media/ceb47321a83dd824cec2d5d3f2034765.jpg"
    assert manifest.texts[2865] == ["Article 2865 & more"]


def test_a_pair_without_article_or_picture_is_left_out_and_both_are_listed(tmp_path: Path, listener: Listener) -> None:
    root = small(tmp_path)
    (root / "texts" / "a-2.xml").unlink()
    (root / "images" / "biology" / "p4.jpg").unlink()
    given = params(tmp_path, "wikipedia", allow_missing=True)
    run(given)
    assert read_manifest(given.manifest).ids == ["a-1", "b-1.1"]
    record = given.manifest.with_suffix(".missing.txt")
    assert record.read_text() == "texts/a-2.xml\nimages/biology/p4.jpg\n"
    assert listener.warned == [
        "wikipedia: 2 of 4 pairs name a file that is missing and are left out: the first is 'texts/a-2.xml', all stand "
        f"in {record}; put them under {root} and run 'ingest' again to have them"
    ]
    assert listener.said == ["wikipedia: 2 pairs, 2 captions, 1 class, 2 train"]


def test_more_missing_articles_than_a_hundredth_stop_the_run(tmp_path: Path) -> None:
    root = small(tmp_path)
    (root / "texts" / "a-2.xml").unlink()
    with pytest.raises(MissingError, match=r"^wikipedia: 1 of 4 pairs names a file that is missing, more than the 1% "):
        run(params(tmp_path, "wikipedia"))
    assert not params(tmp_path, "wikipedia").manifest.exists()


def test_where_every_article_is_missing_that_is_what_is_said(tmp_path: Path) -> None:
    root = small(tmp_path)
    for article in (root / "texts").iterdir():
        article.rename(article.with_suffix(".txt"))
    with pytest.raises(MissingError, match=r"^wikipedia: 4 of 4 pairs name a file that is missing, more than the 1% "):
        run(params(tmp_path, "wikipedia"))
    assert params(tmp_path, "wikipedia").manifest.with_suffix(".missing.txt").read_text().count("texts/") == 4


@pytest.mark.parametrize("mode", [0, 0o644])
@pytest.mark.parametrize("part", ["..", "", "texts", "images", "texts/a-2.xml", "categories.list"])
def test_a_folder_without_read_rights_is_one_line_and_no_missing_data(tmp_path: Path, part: str, mode: int) -> None:
    root = small(tmp_path)
    shut = (root / part).resolve()
    if mode and shut.is_file():
        return  # that is all that a file needs
    with unreadable(shut, mode), pytest.raises(UserError) as error:
        run(params(tmp_path, "wikipedia"))
    assert str(error.value) == (
        f"wikipedia: {shut} may not be read by this user; give the right to, as in chmod -R u+rX {shut}"
    )
    assert not (tmp_path / "data" / "manifests").exists()


def test_a_category_that_is_no_folder_is_one_line(tmp_path: Path) -> None:
    root = small(tmp_path)
    write(root / "categories.list", "art\nbiologie\n")
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "wikipedia"))
    assert str(error.value) == (
        "wikipedia: 1 category of categories.list is no folder in images/, the first is 'biologie'; did you mean "
        "'biology'?; unpack the archive again"
    )


def test_categories_without_any_folder_are_one_line_that_ends(tmp_path: Path) -> None:
    root = small(tmp_path)
    for name in ("art", "biology"):
        (root / "images" / name).rename(root / name)
    write(root / "images" / "readme.txt", "x")
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "wikipedia"))
    assert str(error.value) == (
        "wikipedia: 2 categories of categories.list are no folder in images/, the first is 'art'; unpack the archive "
        "again"
    )


def test_a_folder_of_pictures_that_no_category_names_is_one_line(tmp_path: Path) -> None:
    root = small(tmp_path)
    (root / "images" / "empty").mkdir()  # what holds no picture is nobody's class
    write(root / "images" / ".hidden" / "a.jpg", b"x")
    run(params(tmp_path, "wikipedia"))
    write(root / "images" / "arts" / "p9.jpg", b"x")
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "wikipedia"))
    assert str(error.value) == (
        "wikipedia: 1 folder of pictures in images/ and not in categories.list, the first is 'arts'; did you "
        "mean 'art'?; unpack the archive again"
    )


def test_an_empty_folder_is_no_part_of_the_set(tmp_path: Path) -> None:
    root = small(tmp_path)
    for article in (root / "texts").iterdir():
        article.unlink()
    (root / "texts" / "deeper").mkdir()
    with pytest.raises(MissingError, match=r"^wikipedia: data/raw/wikipedia/texts is an empty folder; get the archive"):
        run(params(tmp_path, "wikipedia"))


def test_an_article_in_latin_1_is_read_and_counted(tmp_path: Path, listener: Listener) -> None:
    root = small(tmp_path)
    write(
        root / "texts" / "a-1.xml", "<document><text>Caf\xe9 \x93one\x94 &amp; two</text></document>".encode("latin-1")
    )
    said = '<?xml version="1.0" encoding="ISO-8859-1"?><document><text>Caf\xe9</text></document>'
    write(root / "texts" / "c-3.xml", said.encode("latin-1"))
    texts = load(params(tmp_path, "wikipedia")).texts
    assert (texts[0], texts[3]) == (["Caf\xe9 \u201cone\u201d & two"], ["Caf\xe9"])
    assert listener.warned == [
        "wikipedia: 1 of 4 articles is not well-formed XML and was read between its <text> tags, "
        "the first is 'texts/a-1.xml'"
    ]


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


def unclosed(root: Path) -> None:
    write(root / "texts" / "c-3.xml", "<a><text>unclosed")


def a_pipe(root: Path) -> None:
    (root / "texts" / "c-3.xml").unlink()
    os.mkfifo(root / "texts" / "c-3.xml")


def a_nul(root: Path) -> None:
    write(root / "testset_txt_img_cat.list", "c\0-3\tp4\t2\n")


def a_file_in_its_place(root: Path) -> None:
    shutil.rmtree(root)
    write(root, "")


def another_archive(root: Path) -> None:
    shutil.rmtree(root / "images")
    write(root / "wikipedia_dataset.rar", "Rar!")


def a_folder(root: Path) -> None:
    (root / "texts" / "c-3.xml").unlink()
    (root / "categories.list").unlink()
    write(root / "categories.list" / "x", "")


def bomb(root: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))  # 10^9 of them
    write(root / "texts" / "c-3.xml", f'<!DOCTYPE d [<!ENTITY l0 "ha">{laughs}]><d><text>&l9;</text></d>')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (duplicate, "wikipedia: 1 id stands more than once, the first is 'a-1'; give each row an id of its own"),
        (upwards, "wikipedia: 'texts/../../../secret.xml' leads out of "),
        (linked, "wikipedia: 'texts/c-3.xml' leads out of "),
        (empty, "wikipedia: 1 of 4 items has no text, the first is 'c-3'; give it one or leave it out"),
        (nothing, "wikipedia: 1 of 4 items has no text, the first is 'c-3'; give it one or leave it out"),
        (unclosed, "wikipedia: 1 of 4 items has no text, the first is 'c-3'; give it one or leave it out"),
        (a_pipe, "wikipedia: 'texts/c-3.xml' is a pipe or a device and must be a file; put the file there"),
        (a_nul, "wikipedia: 'texts/c\\x00-3.xml' can be no file's name; mend the list that names it"),
        (a_file_in_its_place, "wikipedia: data/raw/wikipedia is a file and must be a folder; lay what it holds into "),
        (
            another_archive,
            "wikipedia: data/raw/wikipedia/images is missing, and wikipedia_dataset.rar is of a kind that is not "
            "unpacked here (.tar.gz, .tgz, .tar.bz2, .tar.xz, .tar and .zip are); unpack it by hand into data/raw/",
        ),
        (a_folder, "wikipedia: "),
        (bomb, "wikipedia: texts/c-3.xml: declares an XML entity, which is refused; take the declaration out"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, change: Callable[[Path], None], message: str, listener: Listener
) -> None:
    change(small(tmp_path))
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "wikipedia"))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert listener.warned == []
    assert not (tmp_path / "data" / "manifests").exists()


def test_articles_that_are_not_well_formed_are_read_and_counted(tmp_path: Path, listener: Listener) -> None:
    root = small(tmp_path)
    write(root / "texts" / "a-2.xml", '<document name="A & B"><text>Read & kept</text></document>')
    manifest = load(params(tmp_path, "wikipedia"))
    assert manifest.texts[1] == ["Read & kept"]
    assert listener.warned == [
        "wikipedia: 1 of 4 articles is not well-formed XML and was read between its <text> tags, "
        "the first is 'texts/a-2.xml'"
    ]
