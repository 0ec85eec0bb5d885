"""Manifests: whole, exact, and refused with one line where no later stage could use them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import DamagedError, MissingError, UserError
from cache.files import read_about, write_table
from cache.manifest import (
    Manifest,
    check_blocks,
    check_manifest,
    read_manifest,
    repeated,
    write_blocks,
    write_manifest,
)
from tests.cache.build import small_manifest
from tests.strategies import manifests


@settings(max_examples=50, deadline=None)
@given(manifests())
def test_a_manifest_comes_back_as_written(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> None:
    path = tmp_path_factory.mktemp("m") / "m.parquet"
    check_manifest(manifest)
    write_manifest(path, manifest, "made")
    assert read_manifest(path) == manifest
    assert read_manifest(path).digest == manifest.digest


def test_its_metadata_says_what_it_was_made_from(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", small_manifest(), "d1")
    about = {"made_from": "d1", "digest": small_manifest().digest, "name": "tiny", "root": "data/raw", "format": "1"}
    assert read_about(tmp_path / "m.parquet") == about


def test_the_digest_is_pinned_and_does_not_hang_on_where_the_pictures_lie() -> None:
    assert small_manifest().digest == "905289f745f16332ea3630ea35a628cd"
    assert small_manifest(root="/elsewhere").digest == small_manifest().digest


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", "other"),
        ("ids", ["a", "b", "d"]),
        ("images", ["x/a.png", "x/b.png", "y/c.png"]),
        ("texts", [["a dog"], ["a cat"], ["both"]]),
        ("labels", [["dog"], ["cat"], ["cat"]]),
        ("splits", ["train", None, None]),
        ("bytes", [10, 20, 31]),
        ("xxh3", ["0" * 32, "1" * 32, "3" * 32]),
    ],
)
def test_every_column_enters_the_digest(column: str, value: object) -> None:
    assert small_manifest(**{column: value}).digest != small_manifest().digest


def test_classes_are_sorted_and_stand_once() -> None:
    assert small_manifest().classes == ["cat", "dog"]
    assert len(small_manifest()) == 3


UNSAFE = "of 3 items has an unusable {} (empty, absolute, with '..' or NUL), the first is {}"
NO_ID, NO_PATH = "; give it an id of its own", "; name its picture's file"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"texts": [["a dog"], [], ["both"]]},
            "1 of 3 items has no text, the first is 'b'; give it one or leave it out",
        ),
        (
            {"texts": [["a dog"], ["x", " "], ["\t"]]},
            "2 of 3 items have no text, the first is 'b'; give it one or leave it out",
        ),
        (
            {"labels": [["dog"], ["cat"], []]},
            "1 of 3 items has no label, the first is 'c'; give it one, leave it out, or leave out every label",
        ),
        (
            {"labels": [[" "]] * 3},
            "3 of 3 items have no label, the first is 'a'; give it one, leave it out, or leave out every label",
        ),
        ({"ids": ["a", "b", "a"]}, "1 id stands more than once, the first is 'a'; give each row an id of its own"),
        ({"ids": ["a", "../b", "c"]}, "1 " + UNSAFE.format("id", "'../b'") + NO_ID),
        ({"ids": ["a", "b", "c\0"]}, "1 " + UNSAFE.format("id", "'c\\x00'") + NO_ID),
        ({"ids": ["", "b", "c"]}, "1 " + UNSAFE.format("id", "''") + NO_ID),
        ({"ids": ["a", "b", "\udce9"]}, "1 " + UNSAFE.format("id", "'\\udce9'") + NO_ID),
        ({"images": ["/etc/passwd", "b", "c"]}, "1 " + UNSAFE.format("image", "'a'") + NO_PATH),
        ({"images": ["a", "C:\\b", "\\c"]}, "2 " + UNSAFE.format("image", "'b'").replace("has", "have") + NO_PATH),
        ({"images": ["a", "b", "x/../../c"]}, "1 " + UNSAFE.format("image", "'c'") + NO_PATH),
        ({"images": ["a", "x\\..\\b", "c"]}, "1 " + UNSAFE.format("image", "'b'") + NO_PATH),
        (
            {"splits": ["train", "dev", None]},
            "1 of 3 items has a split other than train, val, test, the first is 'b'; mend it or leave it empty",
        ),
    ],
)
def test_what_no_stage_could_use_is_refused_with_one_line(changed: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_manifest(small_manifest(**changed))
    assert str(caught.value) == f"tiny: {said}"


def test_no_items_at_all_are_refused() -> None:
    empty = replace(small_manifest(), ids=[], images=[], texts=[], labels=[], splits=[], bytes=[], xxh3=[])
    with pytest.raises(UserError, match="tiny: no items; look at the data and at the parameters of ingest"):
        check_manifest(empty)


@pytest.mark.parametrize("labels", [[[]] * 3, [["dog"]] * 3])
def test_no_class_at_all_or_a_single_one_is_let_through(labels: list[list[str]]) -> None:
    check_manifest(small_manifest(labels=labels))


def test_a_manifest_without_labels_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    write_manifest(path, small_manifest(labels=[[]] * 3), "made")
    assert pq.read_table(path)["label"].to_pylist() == [[], [], []]
    assert read_manifest(path) == small_manifest(labels=[[]] * 3)
    assert read_manifest(path).classes == []


@pytest.mark.parametrize("name", ["a..b", "a b", "1F600-200D", "x:y", "..."])
def test_harmless_names_are_let_through(name: str) -> None:
    check_manifest(small_manifest(ids=[name, "b", "c"], images=[f"{name}/{name}.png", "b", "c"]))


def test_a_foreign_or_edited_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(MissingError, match=r"m\.parquet: no such file"):
        read_manifest(path)
    write_manifest(path, small_manifest(), "made")
    table = pq.read_table(path)
    about = read_about(path)
    for edited, said in ((table.slice(1), about), (table.drop_columns(["xxh3"]), about), (table, {"format": "1"})):
        write_table(path, edited, said)
        with pytest.raises(DamagedError, match=r"m\.parquet: not a whole manifest of format 1; delete it and run 'ing"):
            read_manifest(path)


@settings(max_examples=30, deadline=None)
@given(manifests(), st.integers(1, 3))
def test_a_manifest_in_blocks_is_the_manifest(
    tmp_path_factory: pytest.TempPathFactory, manifest: Manifest, rows: int
) -> None:
    blocks = [cut(manifest, start, start + rows) for start in range(0, len(manifest), rows)]
    assert check_blocks(manifest.name, lambda: blocks) == len(manifest)
    path = tmp_path_factory.mktemp("given") / "m.parquet"
    write_blocks(path, manifest.name, manifest.root, [*blocks, cut(manifest, 0, 0)], "made")
    assert read_manifest(path) == manifest  # and its digest, which reading compares, is that of the whole
    assert read_about(path)["digest"] == manifest.digest


def cut(manifest: Manifest, start: int, end: int) -> Manifest:
    columns = [column[start:end] for column in manifest._columns()]
    return Manifest(manifest.name, manifest.root, *columns)  # type: ignore[arg-type]


def test_blocks_that_end_in_an_error_leave_nothing(tmp_path: Path) -> None:
    def blocks() -> Iterator[Manifest]:
        yield small_manifest()
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        write_blocks(tmp_path / "m.parquet", "small", "raw", blocks(), "made")
    assert list(tmp_path.iterdir()) == []


def test_faults_are_counted_over_all_blocks() -> None:
    blocks = [small_manifest(texts=[["x"], [], ["y"]]), small_manifest(texts=[[" "], ["x"], ["y"]])]
    with pytest.raises(UserError, match=r"^.*: 2 of 6 items have no text, the first is '.*'; give it one"):
        check_blocks("small", lambda: blocks)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefg"), max_size=4), max_size=4))
def test_repeated_words_are_those_of_a_count(blocks: list[list[str]]) -> None:
    count = Counter(word for block in blocks for word in block)
    assert repeated(lambda: blocks) == [word for word, times in count.items() if times > 1]
