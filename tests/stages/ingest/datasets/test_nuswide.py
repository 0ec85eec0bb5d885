"""NUS-WIDE in its published text layout, and the ten thousand."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cache.errors import UserError
from cache.manifest import Manifest, read_manifest
from stages.ingest.datasets import nuswide
from stages.ingest.datasets.nuswide import A_CONCEPT, IN_10K, PARTS_OF_10K, load, load_10k
from stages.ingest.run import run
from tests.listener import Listener
from tests.stages.ingest.given import jpeg, params, write, write_csv

SMALL = ["animal", "bear", "clouds", "dog"]  # sorted, as Concepts81.txt is


@dataclass
class Written:
    """What is to be written: of each picture the concepts that it bears, its tags and its split."""

    concepts: list[str]
    borne: list[list[str]]
    tags: list[str]
    splits: list[str] = field(default_factory=list)

    def path(self, number: int) -> str:
        """As the lists write it; the folders are of search words, not of concepts."""
        return f"{['actor', 'zoo'][number % 2]}\\{number:04}_{7000 + number}.jpg"

    def id(self, number: int) -> str:
        return self.path(number).replace("\\", "/").removesuffix(".jpg")

    def lay(self, home: Path) -> Path:
        """The published layout under home/data/raw/nuswide, without pictures."""
        root = home / "data" / "raw" / "nuswide"
        numbers = range(len(self.borne))
        self.splits = self.splits or [("Train", "Test")[number % 3 == 0] for number in numbers]
        write(root / "ConceptsList" / "Concepts81.txt", "\n".join(self.concepts) + "\n")
        write(root / "ImageList" / "Imagelist.txt", "".join(f"{self.path(n)}\r\n" for n in numbers))
        for split in ("Train", "Test"):
            lines = [f"{self.path(n)}\n" for n in numbers if self.splits[n] == split]
            write(root / "ImageList" / f"{split}Imagelist.txt", "".join(lines))
        for concept in self.concepts:
            marks = [f"{int(concept in borne)}\n" for borne in self.borne]
            write(root / "Groundtruth" / "AllLabels" / f"Labels_{concept}.txt", "".join(marks))
        tagged = [f"{7000 + n}     {tags} \n" for n, tags in enumerate(self.tags)]
        write(root / "NUS_WID_Tags" / "All_Tags.txt", "".join(tagged))
        write(root / "Flickr" / "readme.txt", "the pictures come on request")
        return root


def draw(home: Path, written: Written) -> None:
    for number in range(len(written.borne)):
        image = written.path(number).replace("\\", "/")
        write(home / "data/raw/nuswide/Flickr" / image, jpeg((number % 256, number // 256, 7)))


def small() -> Written:
    """Six pictures; with two concepts to keep, clouds (4) and animal (3), four bear one of them alone."""
    return Written(
        SMALL,
        [["clouds"], ["animal", "clouds"], ["animal", "bear"], ["clouds", "dog"], ["dog"], ["clouds"], ["animal"]],
        ["sky blue", "cow sky", "brown  bear", "dog", "hot dog", "nuage caf\xe9", "cow"],
    )


def ingested(home: Path, dataset: str) -> Manifest:
    given = params(home, dataset)
    run(given)
    return read_manifest(given.manifest)


@pytest.fixture
def of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two concepts to keep in place of ten."""
    monkeypatch.setattr(nuswide, "LARGEST", 2)


@pytest.mark.usefixtures("of_two")
def test_pictures_of_one_of_the_largest_concepts_with_tags_and_the_published_split(tmp_path: Path) -> None:
    written = small()
    written.lay(tmp_path)
    draw(tmp_path, written)
    manifest = ingested(tmp_path, "nuswide")
    kept = [0, 2, 3, 5, 6]  # 1 bears both, 4 bears neither
    assert (manifest.name, manifest.root) == ("nuswide", "data/raw/nuswide")
    assert manifest.ids == [written.id(n) for n in kept]
    assert manifest.images[:2] == ["Flickr/actor/0000_7000.jpg", "Flickr/actor/0002_7002.jpg"]
    assert manifest.texts == [["sky blue"], ["brown bear"], ["dog"], ["nuage caf\xe9"], ["cow"]]
    assert manifest.labels == [["clouds"], ["animal"], ["clouds"], ["clouds"], ["animal"]]
    assert manifest.splits == ["test", "train", "test", "train", "test"]


@pytest.mark.usefixtures("of_two")
def test_pictures_without_tags_are_left_out_and_counted(tmp_path: Path, listener: Listener) -> None:
    written = small()
    written.tags[3] = " "
    root = written.lay(tmp_path)
    lines = (root / "NUS_WID_Tags" / "All_Tags.txt").read_text().splitlines()
    write(root / "NUS_WID_Tags" / "All_Tags.txt", "\n".join(lines[1:][::-1]))  # the first has no line, none its place
    manifest = load(params(tmp_path, "nuswide"))
    assert manifest.ids == [written.id(n) for n in (2, 5, 6)]
    assert manifest.texts == [["brown bear"], ["nuage caf\xe9"], ["cow"]]
    assert listener.said == ["nuswide: left out for want of tags: 2 of 5 pictures of one concept"]


def test_the_ten_largest_of_81_concepts_are_those_that_a_loop_counts(tmp_path: Path) -> None:
    draws = random.Random(0)
    concepts = [f"c{number:02}" for number in range(81)]
    borne = [[c for i, c in enumerate(concepts) if draws.random() < 0.004 * (81 - (i * 7) % 81)] for _ in range(600)]
    written = Written(concepts, borne, ["a tag"] * 600)
    written.lay(tmp_path)
    manifest = load(params(tmp_path, "nuswide"))
    counts = Counter(concept for some in borne for concept in some)
    largest = sorted(concepts, key=lambda concept: (-counts[concept], concept))[:10]
    expected = []
    for number, some in enumerate(borne):
        of_ten = [concept for concept in some if concept in largest]
        if len(of_ten) == 1:
            expected.append((written.id(number), of_ten, written.splits[number].lower()))
    assert list(zip(manifest.ids, manifest.labels, manifest.splits, strict=True)) == expected
    assert len(expected) > 50


def ten_thousand(surplus: int = 30) -> Written:
    """Of each of the ten concepts 1,000 pictures and some more, some of which bear two, and one concept beside them."""
    borne = [[concept] for number in range(A_CONCEPT + surplus) for concept in IN_10K]
    borne += [["sky", "water"], ["sky", "tree"], ["tree"]]
    return Written(sorted([*IN_10K, "tree"]), borne, [f"tag{number}" for number in range(len(borne))])


def test_the_ten_thousand_are_the_first_1000_of_each_concept_by_sha256(tmp_path: Path) -> None:
    written = ten_thousand()
    written.lay(tmp_path)
    manifest = load_10k(params(tmp_path, "nuswide-10k"))
    ranked: dict[str, list[tuple[str, str]]] = {concept: [] for concept in IN_10K}
    for number, some in enumerate(written.borne):
        of_ten = [concept for concept in some if concept in IN_10K]
        if len(of_ten) == 1:
            one = written.id(number)
            ranked[of_ten[0]].append((hashlib.sha256(one.encode()).hexdigest(), one))
    expected = {}
    for concept, found in ranked.items():
        for place, (_, one) in enumerate(sorted(found)[:1000]):
            expected[one] = (concept, "train" if place < 800 else "val" if place < 900 else "test")
    assert manifest.ids == sorted(expected)
    assert [(label, split) for [label], split in zip(manifest.labels, manifest.splits, strict=True)] == [
        expected[one] for one in manifest.ids
    ]
    assert Counter(manifest.splits) == {"train": 8000, "val": 1000, "test": 1000}
    assert Counter(label for [label] in manifest.labels) == dict.fromkeys(IN_10K, 1000)
    assert sum(PARTS_OF_10K.values()) == A_CONCEPT


def test_too_few_pictures_of_a_concept_are_one_line(tmp_path: Path) -> None:
    written = ten_thousand(surplus=0)
    written.tags[0] = ""
    written.lay(tmp_path)
    with pytest.raises(UserError) as error:
        load_10k(params(tmp_path, "nuswide-10k"))
    assert str(error.value) == (
        "nuswide-10k: 999 pictures bear 'animal' alone and have tags, 1000 are needed; get the files whole"
    )


def test_a_list_of_ones_own_is_read_as_it_is(tmp_path: Path) -> None:
    written = small()
    root = written.lay(tmp_path)
    draw(tmp_path, written)
    rows = [
        [written.path(1), "animal", "test"],
        ["actor/0004_7004.jpg", "dog", "train"],
        ["actor/0000_7000", "dog", ""],
    ]
    write_csv(root / "nuswide-10k.csv", rows, ("image", "label", "split"))
    manifest = ingested(tmp_path, "nuswide-10k")
    assert (manifest.name, manifest.root) == ("nuswide-10k", "data/raw/nuswide")
    assert manifest.ids == [written.id(1), written.id(4), written.id(0)]
    assert manifest.labels == [["animal"], ["dog"], ["dog"]]
    assert manifest.texts == [["cow sky"], ["hot dog"], ["sky blue"]]
    assert manifest.splits == ["test", "train", None]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [["zoo\\9.jpg", "dog"]],
            "nuswide-10k: nuswide-10k.csv names 'zoo\\9.jpg', which Imagelist.txt does not; mend it",
        ),
        ([["zoo\\0001_7001.jpg", "dogs"]], "nuswide-10k: nuswide-10k.csv: no concept 'dogs'; did you mean 'dog'?"),
        (
            [["zoo\\0001_7001.jpg", "dog"]] * 2,
            "nuswide-10k: 1 id stands more than once, the first is 'zoo/0001_7001'; give each row an id of its own",
        ),
    ],
)
def test_a_bad_list_of_ones_own_is_one_line(tmp_path: Path, rows: list[list[str]], message: str) -> None:
    root = small().lay(tmp_path)
    write_csv(root / "nuswide-10k.csv", rows, ("image", "label"))
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "nuswide-10k"))
    assert str(error.value) == message


def unlabelled(root: Path) -> None:
    (root / "Groundtruth" / "AllLabels" / "Labels_dog.txt").rename(root / "Groundtruth/AllLabels/Labels_dogs.txt")


def lost(root: Path) -> None:
    (root / "Groundtruth" / "AllLabels" / "Labels_dog.txt").unlink()


def cut_short(root: Path) -> None:
    write(root / "Groundtruth" / "AllLabels" / "Labels_bear.txt", "0\n1\n")


def not_marks(root: Path) -> None:
    write(root / "Groundtruth" / "AllLabels" / "Labels_bear.txt", "0\n1\n2\n0\n0\n0\n0\n")


def unknown_in_split(root: Path) -> None:
    with (root / "ImageList" / "TestImagelist.txt").open("a") as file:
        file.write("zoo\\0009_7009.jpg\n")


def in_no_split(root: Path) -> None:
    write(root / "ImageList" / "TestImagelist.txt", "actor\\0000_7000.jpg\nzoo\\0003_7003.jpg\n")


@pytest.mark.usefixtures("of_two")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            unlabelled,
            "nuswide: Concepts81.txt does not name 1 concept that AllLabels has a file of, the first is 'dogs'; get "
            "both anew",
        ),
        (lost, "nuswide: Concepts81.txt names 'dog', AllLabels has no Labels_dog.txt; get both anew"),
        (
            cut_short,
            "nuswide: Labels_bear.txt must hold 0 or 1 a line for each of the 7 pictures of Imagelist.txt, it holds 2 "
            "marks; get the file whole",
        ),
        (
            not_marks,
            "nuswide: Labels_bear.txt must hold 0 or 1 a line for each of the 7 pictures of Imagelist.txt, it holds 7 "
            "marks; get the file whole",
        ),
        (
            unknown_in_split,
            "nuswide: ImageList/TestImagelist.txt names 'zoo/0009_7009', which Imagelist.txt does not; get both files "
            "anew",
        ),
        (
            in_no_split,
            "nuswide: 1 picture of Imagelist.txt, in neither TrainImagelist.txt nor TestImagelist.txt, the first is "
            "'actor/0006_7006'; get the files anew",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    change(small().lay(tmp_path))
    with pytest.raises(UserError) as error:
        load(params(tmp_path, "nuswide"))
    assert str(error.value) == message


def test_a_concept_of_the_ten_that_the_list_lacks_is_one_line(tmp_path: Path) -> None:
    small().lay(tmp_path)
    with pytest.raises(UserError, match=r"^nuswide-10k: Concepts81.txt has no concept 'flowers'; get the file whole$"):
        load_10k(params(tmp_path, "nuswide-10k"))
