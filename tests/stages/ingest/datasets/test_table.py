"""A user's own table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache.errors import MissingError, ParamsError, UserError
from cache.manifest import Manifest, read_manifest
from stages.columns import BLOCK
from stages.ingest.datasets import table as reader
from stages.ingest.params import IngestParams
from stages.ingest.run import run
from tests.stages.ingest.given import COLUMNS, four_pairs, params, write, write_csv


def load(given: IngestParams) -> Manifest:
    """The table as one manifest; its tests are shorter than a block."""
    (manifest,) = reader.load(given).blocks()
    return manifest


CAPTIONS = [f"caption_{number}" for number in range(5)]


def load_rows(home: Path, rows: list[list[str]], columns: list[str], **table: object) -> Manifest:
    write_csv(home / "mine" / "pairs.csv", rows, columns)
    return load(params(home, "table", **{"path": "mine/pairs.csv", **table}))


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    manifest = load_rows(
        tmp_path,
        [["7", "a.jpg", "x", "cat"]],
        ["key", "file", "words", "kind"],
        id="key",
        image="file",
        text="words",
        label="kind",
        name="pets",
    )
    assert (manifest.name, manifest.ids, manifest.images) == ("pets", ["7"], ["a.jpg"])
    assert (manifest.texts, manifest.labels) == ([["x"]], [["cat"]])


def test_a_separator_cuts_labels_and_leaves_texts_whole(tmp_path: Path) -> None:
    row = ["1", "a.jpg", "sky; sea", "sky; sea;;sky"]
    assert load_rows(tmp_path, [row], list(COLUMNS), separator=";").labels == [["sky", "sea"]]
    assert load_rows(tmp_path, [row], list(COLUMNS), separator=";").texts == [["sky; sea"]]
    assert load_rows(tmp_path, [row], list(COLUMNS)).labels == [["sky; sea;;sky"]]


def test_all_captions_are_kept_in_order_but_empty_ones(tmp_path: Path) -> None:
    rows = [["1", "a.jpg", "x", "cat", "one", "", "one"]]
    columns = [*COLUMNS, "c0", "c1", "c2"]
    assert load_rows(tmp_path, rows, columns, text=["c0", "c1", "c2"]).texts == [["one", "one"]]


def test_tsv_and_parquet_say_the_same_as_csv(tmp_path: Path) -> None:
    rows = four_pairs(tmp_path)
    columns = list(COLUMNS)
    expected = load_rows(tmp_path, rows, columns)
    write(tmp_path / "mine" / "pairs.tsv", "\n".join("\t".join(row) for row in [columns, *rows]))
    pq.write_table(
        pa.table({name: [row[i] for row in rows] for i, name in enumerate(columns)}),
        tmp_path / "mine" / "pairs.parquet",
    )
    for suffix in ("tsv", "parquet"):
        assert load(params(tmp_path, "table", path=f"mine/pairs.{suffix}")) == expected


def test_parquet_may_hold_lists_and_whole_numbers(tmp_path: Path) -> None:
    table = pa.table(
        {"id": [7, 8], "image": ["a", "b"], "text": [["x", "y"], ["z"]], "label": [["sky", "sea"], ["sea"]]}
    )
    pq.write_table(table, tmp_path / "pairs.parquet")
    manifest = load(params(tmp_path, "table", path="pairs.parquet"))
    assert (manifest.ids, manifest.root) == (["7", "8"], ".")
    assert manifest.texts == [["x", "y"], ["z"]]
    assert manifest.labels == [["sky", "sea"], ["sea"]]


def test_a_folder_of_class_folders_is_a_table_too(tmp_path: Path) -> None:
    for number, label in enumerate(["cat", "cat", "dog"]):
        write(tmp_path / "pets" / label / f"{number}.jpg", b"x")
    run(params(tmp_path, "table", path="pets", name="pets"))
    manifest = read_manifest(params(tmp_path, "table").manifest)
    assert (manifest.name, manifest.root) == ("pets", "pets")
    assert manifest.ids == ["cat/0.jpg", "cat/1.jpg", "dog/2.jpg"]
    assert manifest.classes == ["cat", "dog"]


def test_a_table_outside_home_has_an_absolute_root(tmp_path: Path) -> None:
    write_csv(tmp_path / "elsewhere" / "pairs.csv", [["1", "a.jpg", "x", "cat"]])
    (tmp_path / "home").mkdir()
    manifest = load(params(tmp_path / "home", "table", path="../elsewhere/pairs.csv"))
    assert manifest.root == (tmp_path / "elsewhere").as_posix()


@pytest.mark.parametrize(
    ("table", "key", "name", "way"),
    [
        ({"id": "key"}, "id", "key", "; or do without: -S ingest.table.id=null"),
        ({"image": "file"}, "image", "file", ""),
        ({"text": ["text", "more"]}, "text", "more", ""),
        ({"label": "kind"}, "label", "kind", "; or do without: -S ingest.table.label=null"),
        ({"split": "part"}, "split", "part", "; or do without: -S ingest.table.split=null"),
    ],
)
def test_a_missing_column_names_those_there_are(
    tmp_path: Path, table: dict[str, object], key: str, name: str, way: str
) -> None:
    with pytest.raises(ParamsError) as error:
        load_rows(tmp_path, [["1", "a.jpg", "x", "cat"]], list(COLUMNS), **table)
    assert str(error.value) == (
        f"mine/pairs.csv: no column '{name}'; set ingest.table.{key} to one of: id, image, text, label{way}"
    )


def test_all_missing_columns_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as error:
        load_rows(tmp_path, [["a.jpg", "x"]], ["image", "text"])
    assert str(error.value) == (
        "mine/pairs.csv: no column 'id' nor 'label'; set ingest.table.id and ingest.table.label to one of: image, "
        "text; or do without: -S ingest.table.id=null -S ingest.table.label=null"
    )


def test_pictures_and_texts_are_all_that_a_table_needs(tmp_path: Path) -> None:
    manifest = load_rows(tmp_path, [["x/a.jpg", "one"], ["b.jpg", "two"]], ["image", "text"], id=None, label=None)
    assert manifest.ids == manifest.images == ["x/a.jpg", "b.jpg"]
    assert manifest.labels == [[], []]


def test_a_picture_in_several_rows_is_refused_where_its_path_is_the_id(tmp_path: Path) -> None:
    rows = [["a.jpg", "one"], ["a.jpg", "two"], ["b.jpg", "three"]]
    with pytest.raises(UserError) as error:
        load_rows(tmp_path, rows, ["image", "text"], id=None, label=None)
    assert str(error.value) == (
        "mine/pairs.csv: 1 picture stands in several rows, the first is 'a.jpg'; put its captions into columns of one "
        "row (ingest.table.text), or name a column of ids (ingest.table.id)"
    )


def test_no_text_column_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"^mine/pairs.csv: ingest.table.text is an empty list; name at least one"):
        load_rows(tmp_path, [["1", "a.jpg", "x", "cat"]], list(COLUMNS), text=[])


def test_an_unknown_split_names_the_row(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_rows(tmp_path, [["1", "a.jpg", "x", "cat", "training"]], [*COLUMNS, "part"], split="part")
    assert str(error.value) == (
        "mine/pairs.csv: the row with id '1' has split 'training'; it must be train, val, dev, test or empty"
    )


@pytest.mark.parametrize("value", [{"bytes": b"x", "path": None}, b"x", 1.5, True])
def test_a_parquet_column_of_another_type_is_refused(tmp_path: Path, value: object) -> None:
    table = pa.table({"id": ["1"], "image": [value], "text": ["x"], "label": ["cat"]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    with pytest.raises(ParamsError) as error:
        load(params(tmp_path, "table", path="pairs.parquet"))
    assert str(error.value) == (
        f"pairs.parquet: column 'image' holds {type(value).__name__}; it must hold text or whole numbers"
    )


def test_a_nul_in_parquet_is_refused_too(tmp_path: Path) -> None:
    table = pa.table({"id": ["1"], "image": ["a.jpg"], "text": ["x\0y"], "label": ["cat"]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    with pytest.raises(UserError) as error:
        load(params(tmp_path, "table", path="pairs.parquet"))
    assert str(error.value) == r"pairs.parquet: column 'text' holds a NUL byte, first in 'x\x00y'; take it out"


def test_no_path_says_which_parameter_to_set(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as error:
        load(params(tmp_path, "table"))
    assert str(error.value) == (
        "table: ingest.table.path is null; set it to a CSV, TSV, JSON lines or Parquet file or a folder of class "
        "folders, as in -S ingest.table.path=pairs.csv"
    )


def test_an_absent_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as error:
        load(params(tmp_path, "table", path="mine/pairs.csv"))
    assert str(error.value) == (
        f"table: {tmp_path}/mine/pairs.csv is missing; set ingest.table.path to your CSV, TSV, JSON lines or Parquet "
        "file or folder of class folders, or use --dataset openmoji"
    )


@pytest.mark.shared
@pytest.mark.parametrize("file", ["pairs.csv", "pairs_masked.csv"])
def test_the_photographs_are_taken_as_they_are(shared: Path, tmp_path: Path, file: str) -> None:
    path = str(shared / "data" / "flickr8k-core20" / file)
    for text, captions in ((CAPTIONS, 5), ("caption_0", 1)):
        given = params(tmp_path, "table", path=path, name="core20", text=text)
        run(given)
        manifest = read_manifest(given.manifest)
        assert (len(manifest), len(manifest.classes)) == (1539, 20)
        assert {len(texts) for texts in manifest.texts} == {captions}
        assert set(manifest.splits) == {None}  # Flickr8k's own split is not asked for
    assert manifest.ids[0] == "1032122270_ea6f0beedb"
    assert manifest.root == (shared / "data" / "flickr8k-core20").as_posix()


@pytest.mark.shared
def test_the_split_column_of_the_photographs_can_be_read(shared: Path, tmp_path: Path) -> None:
    path = str(shared / "data" / "flickr8k-core20" / "pairs.csv")
    splits = load(params(tmp_path, "table", path=path, text="caption_0", split="split")).splits
    assert [splits.count(name) for name in ("train", "val", "test", None)] == [987, 270, 258, 24]


def test_json_lines_hold_lists_and_leave_keys_out(tmp_path: Path) -> None:
    write(
        tmp_path / "pairs.jsonl",
        '{"id": 7, "image": "a.jpg", "text": ["x", " ", "y"], "label": "sky; sea", "part": "test"}\n'
        '{"image": "b.jpg", "id": "8", "text": "z", "label": ["sea", "sea"]}\n',
    )
    manifest = load(params(tmp_path, "table", path="pairs.jsonl", separator=";", split="part"))
    assert (manifest.ids, manifest.images) == (["7", "8"], ["a.jpg", "b.jpg"])
    assert manifest.texts == [["x", "y"], ["z"]]
    assert manifest.labels == [["sky", "sea"], ["sea"]]
    assert manifest.splits == ["test", None]


def test_a_number_with_a_fraction_is_no_word(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", '{"id": 7.5, "image": "a.jpg", "text": "x", "label": "cat"}\n')
    with pytest.raises(
        ParamsError, match=r"^pairs.jsonl: column 'id' holds float; it must hold text or whole numbers$"
    ):
        load(params(tmp_path, "table", path="pairs.jsonl"))


@pytest.mark.parametrize("bad", ["in the last block", "twice, far apart"])
def test_every_row_is_checked_before_a_picture_is_read(tmp_path: Path, bad: str) -> None:
    rows = [[f"{number}", "nowhere.jpg", "x", "cat"] for number in range(2 * BLOCK + 3)]
    if bad == "in the last block":
        rows[-1][2] = ""
        told = f"mine: 1 of {len(rows)} items has no text, the first is '{len(rows) - 1}'; give it one or leave it out"
    else:
        rows[-1][0] = "5"
        told = "mine: 1 id stands more than once, the first is '5'; give each row an id of its own"
    write_csv(tmp_path / "mine" / "pairs.csv", rows)
    with pytest.raises(UserError) as error:
        run(params(tmp_path, "table", path="mine/pairs.csv"))
    assert str(error.value) == told
    assert not (tmp_path / "data").exists()


def test_a_picture_of_two_rows_far_apart_is_no_id(tmp_path: Path) -> None:
    rows = [[f"{number}.jpg", "x"] for number in range(BLOCK + 1)] + [["7.jpg", "y"]]
    with pytest.raises(UserError, match=r"^mine/pairs.csv: 1 picture stands in several rows, the first is '7.jpg'; "):
        load_rows(tmp_path, rows, ["image", "text"], id=None, label=None)
