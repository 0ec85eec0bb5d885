"""From a dataset on disk to a manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import MissingError, UserError
from cache.files import digest_bytes, read_about
from cache.manifest import read_manifest
from stages.ingest.run import run
from tests.listener import Listener
from tests.stages.ingest.given import COLUMNS, four_pairs, params, unreadable, write, write_csv

Rows = list[list[str]]


def ingest(home: Path, rows: Rows, captions: str = "first", allow_missing: bool = False, **table: object) -> Path:
    write_csv(home / "mine" / "pairs.csv", rows)
    given = params(home, "table", captions, allow_missing=allow_missing, **{"path": "mine/pairs.csv", **table})
    run(given)
    return given.manifest


def test_a_table_becomes_a_manifest(tmp_path: Path, listener: Listener) -> None:
    rows = four_pairs(tmp_path)
    path = ingest(tmp_path, rows)
    manifest = read_manifest(path)
    assert read_about(path)["made_from"] == "0" * 32
    assert (manifest.name, manifest.root) == ("mine", "mine")
    assert manifest.ids == [row[0] for row in rows]
    assert manifest.images == [row[1] for row in rows]
    assert manifest.texts == [[row[2]] for row in rows]
    assert manifest.labels == [[row[3]] for row in rows]
    bytes_of = [(tmp_path / "mine" / image).read_bytes() for image in manifest.images]
    assert manifest.bytes == [len(data) for data in bytes_of]
    assert manifest.xxh3 == [digest_bytes(data) for data in bytes_of]
    assert listener.said == ["mine: 4 pairs, 4 captions, 2 classes"]


def test_twice_the_same_data_is_bit_for_bit_the_same_manifest(tmp_path: Path) -> None:
    path = ingest(tmp_path, four_pairs(tmp_path))
    first = path.read_bytes()
    assert ingest(tmp_path, four_pairs(tmp_path)).read_bytes() == first


def test_other_picture_bytes_make_another_manifest(tmp_path: Path) -> None:
    rows = four_pairs(tmp_path)
    before = read_manifest(ingest(tmp_path, rows)).digest
    write(tmp_path / "mine" / "images" / "2.jpg", b"other")
    assert read_manifest(ingest(tmp_path, rows)).digest != before


@pytest.mark.parametrize(
    ("captions", "texts"), [("first", ["one", "two"]), ("mean", ["one", "two"]), ("join", ["one two"])]
)
def test_join_makes_one_caption_and_the_others_keep_all(tmp_path: Path, captions: str, texts: list[str]) -> None:
    rows = [[*row[:2], "one", row[3], "two"] for row in four_pairs(tmp_path)]
    write_csv(tmp_path / "mine" / "pairs.csv", rows, columns=[*COLUMNS, "more"])
    given = params(tmp_path, "table", captions, path="mine/pairs.csv", text=["text", "more"])
    run(given)
    assert read_manifest(given.manifest).texts == [texts] * 4


def test_an_empty_a_truncated_and_a_huge_picture_are_left_to_extract(tmp_path: Path) -> None:
    rows = four_pairs(tmp_path)
    write(tmp_path / "mine" / "images" / "0.jpg", b"")
    whole = (tmp_path / "mine" / "images" / "1.jpg").read_bytes()
    write(tmp_path / "mine" / "images" / "1.jpg", whole[: len(whole) // 2])
    huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (20_000).to_bytes(4, "big") * 2
    write(tmp_path / "mine" / "images" / "2.jpg", huge)
    assert read_manifest(ingest(tmp_path, rows)).bytes[:3] == [0, len(whole) // 2, len(huge)]


def put(row: int, column: int, value: str) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        rows[row][column] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(1, 2, " "), "mine: 1 of 4 items has no text, the first is 'item1'; give it one or leave it out"),
        (
            put(1, 3, ""),
            "mine: 1 of 4 items has no label, the first is 'item1'; give it one, leave it out, or "
            "leave out every label",
        ),
        (put(2, 0, "item0"), "mine: 1 id stands more than once, the first is 'item0'; give each row an id of its own"),
        (lambda rows: rows[:0], "mine: no items; look at the data and at the parameters of ingest"),
        (
            put(0, 0, "../item0"),
            "mine: 1 of 4 items has an unusable id (empty, absolute, with '..' or NUL), the first is '../item0'; "
            "give it an id of its own",
        ),
        (
            put(0, 1, "images/../../secret.jpg"),
            "mine: 1 of 4 items has an unusable image (empty, absolute, with '..' or NUL), the first is 'item0'; "
            "name its picture's file",
        ),
        (
            put(3, 1, "/etc/hostname"),
            "mine: 1 of 4 items has an unusable image (empty, absolute, with '..' or NUL), the first is 'item3'; "
            "name its picture's file",
        ),
    ],
)
def test_bad_rows_are_one_line_and_nothing_is_written(
    tmp_path: Path, change: Callable[[Rows], Rows], message: str
) -> None:
    with pytest.raises(UserError) as error:
        ingest(tmp_path, change(four_pairs(tmp_path)))
    assert str(error.value) == message
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("label", "table", "labels", "said"),
    [
        ("cat", {}, [["cat"]] * 4, "1 class"),
        ("cat", {"label": None}, [[]] * 4, "0 classes"),
        ("", {}, [[]] * 4, "0 classes"),
    ],
)
def test_one_class_or_none_is_enough(
    tmp_path: Path, listener: Listener, label: str, table: dict[str, object], labels: list[list[str]], said: str
) -> None:
    rows = [[*row[:3], label] for row in four_pairs(tmp_path)]
    assert read_manifest(ingest(tmp_path, rows, **table)).labels == labels
    assert listener.said == [f"mine: 4 pairs, 4 captions, {said}"]


def test_an_unusable_picture_is_called_that_where_its_path_is_the_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^mine: 1 of 4 items has an unusable image .*, the first is '/etc/hostname'"):
        ingest(tmp_path, put(3, 1, "/etc/hostname")(four_pairs(tmp_path)), id=None)


def test_too_many_missing_pictures_are_listed_and_leave_no_manifest(tmp_path: Path) -> None:
    rows = four_pairs(tmp_path)
    for name in ("1.jpg", "3.jpg"):
        (tmp_path / "mine" / "images" / name).unlink()
    with pytest.raises(MissingError) as error:
        ingest(tmp_path, rows)
    record = tmp_path / "data" / "manifests" / "table.missing.txt"
    assert str(error.value) == (
        "mine: 2 of 4 pairs name a file that is missing, more than the 1% that ingest does without: the first is "
        f"'images/1.jpg', all stand in {record}; put them under {tmp_path / 'mine'}, or go on without them by "
        "--allow-missing"
    )
    assert record.read_text() == "images/1.jpg\nimages/3.jpg\n"
    assert not (tmp_path / "data" / "manifests" / "table.parquet").exists()


def test_missing_pictures_are_left_out_where_that_is_allowed(tmp_path: Path, listener: Listener) -> None:
    rows = four_pairs(tmp_path)
    (tmp_path / "mine" / "images" / "1.jpg").unlink()
    manifest = read_manifest(ingest(tmp_path, rows, allow_missing=True))
    assert manifest.ids == ["item0", "item2", "item3"]
    assert manifest.bytes == [(tmp_path / "mine" / image).stat().st_size for image in manifest.images]
    assert listener.said == ["mine: 3 pairs, 3 captions, 2 classes"]
    assert listener.warned == [
        "mine: 1 of 4 pairs names a file that is missing and is left out: 'images/1.jpg' (noted in "
        f"{tmp_path}/data/manifests/table.missing.txt); put it under {tmp_path}/mine and run 'ingest' again to have it"
    ]


def test_once_all_pictures_are_there_no_list_of_missing_ones_is(tmp_path: Path) -> None:
    rows = four_pairs(tmp_path)
    picture = tmp_path / "mine" / "images" / "1.jpg"
    data = picture.read_bytes()
    picture.unlink()
    before = read_manifest(ingest(tmp_path, rows, allow_missing=True))
    write(picture, data)
    assert len(read_manifest(ingest(tmp_path, rows))) == len(before) + 1
    assert [path.name for path in (tmp_path / "data" / "manifests").iterdir()] == ["table.parquet"]


def test_without_a_single_picture_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    rows = four_pairs(tmp_path)
    for row in rows:
        (tmp_path / "mine" / row[1]).unlink()
    with pytest.raises(UserError, match=r"^mine: no items; look at the data"):
        ingest(tmp_path, rows, allow_missing=True)


@pytest.mark.parametrize("part", ["", "images", "images/1.jpg"])
def test_what_this_user_may_not_read_is_one_line(tmp_path: Path, part: str) -> None:
    rows = four_pairs(tmp_path)
    ingest(tmp_path, rows).parent.chmod(0o777)  # who may not read may write
    shut = tmp_path / "mine" / part
    with unreadable(shut), pytest.raises(UserError) as error:
        run(params(tmp_path, "table", path="mine/pairs.csv"))
    assert str(error.value) == (
        f"table: {shut} may not be read by this user; give the right to, as in chmod -R u+rX {shut}"
    )


def test_a_picture_linked_from_elsewhere_is_refused(tmp_path: Path) -> None:
    rows = four_pairs(tmp_path)
    picture = tmp_path / "mine" / "images" / "0.jpg"
    picture.unlink()
    picture.symlink_to(write(tmp_path / "secret.jpg", b"x"))
    with pytest.raises(UserError, match=r"^mine: 'images/0.jpg' leads out of .*; its files must lie under it"):
        ingest(tmp_path, rows)


def test_an_unknown_dataset_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "wikpedia"))
    assert str(error.value).startswith("no dataset 'wikpedia'; did you mean 'wikipedia'? there are openmoji, table, ")


def test_a_declared_split_is_counted_in_the_summary(tmp_path: Path, listener: Listener) -> None:
    rows = [[*row, split] for row, split in zip(four_pairs(tmp_path), ["dev", "train", "test", "none"], strict=True)]
    write_csv(tmp_path / "mine" / "pairs.csv", rows, columns=[*COLUMNS, "part"])
    given = params(tmp_path, "table", path="mine/pairs.csv", split="part")
    run(given)
    assert read_manifest(given.manifest).splits == ["val", "train", "test", None]
    assert listener.said == ["mine: 4 pairs, 4 captions, 2 classes, 1 train, 1 val, 1 test"]
