"""Every format gives the same rows and the same numbers; what cannot be read is one line."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import io

from cache.errors import MissingError, ParamsError, UsageError, UserError
from cache.hdf5 import Array
from stages.imported.bundle import Bundle, check_bundle, open_bundle
from tests.stages.imported.written import (
    SHIPPED,
    WRITERS,
    Given,
    arrays,
    given,
    section,
    write_clip_retrieval,
    write_npz,
)
from tests.stages.ingest.given import unreadable, write


def opened(path: Path, **changes: Any) -> Bundle:
    bundle = open_bundle(section(path, **changes), path.parent)
    check_bundle(bundle, allow_zero=False, storage="float32")
    return bundle


def message_of(path: Path | None, home: Path, kind: type[UserError] = UserError, **changes: Any) -> str:
    with pytest.raises(kind) as error:
        check_bundle(open_bundle(section(path, **changes), home), allow_zero=False, storage="float32")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_same(form: str, tmp_path: Path) -> None:
    g = given()
    bundle = opened(WRITERS[form](tmp_path, g))
    rows = bundle.rows
    assert rows.ids == g.ids
    assert rows.labels == [[label] for label in g.labels]
    assert (rows.texts, rows.splits) == ([[text] for text in g.captions], g.splits)
    image, text = bundle.vectors["image"], bundle.vectors["text"]
    for lo, hi in ((0, 1), (3, 9), (0, 12)):
        seen, read = image.block(slice(lo, hi), True), text.block(slice(lo, hi), True)
        assert seen.tokens is not None
        assert read.tokens is not None
        np.testing.assert_array_equal(seen.pooled, g.image[lo:hi])
        np.testing.assert_array_equal(seen.tokens, g.image_tokens[lo:hi])
        np.testing.assert_array_equal(read.pooled, g.text[lo:hi])
        np.testing.assert_array_equal(read.tokens, np.concatenate(g.text_tokens[lo:hi]))
        assert read.n_tokens.tolist() == [len(row) for row in g.text_tokens[lo:hi]]
    plain = opened(write_npz(tmp_path, g))
    for kind in ("image", "text"):
        assert bundle.vectors[kind].digest("float16") == plain.vectors[kind].digest("float16")


def test_a_digest_changes_with_any_number(tmp_path: Path) -> None:
    vectors = opened(write_npz(tmp_path, g := given())).vectors
    before = [vectors["text"].digest(storage) for storage in (None, "float32", "float16")]
    assert len(set(before)) == 3
    g.text_tokens[-1][-1, -1] += 1
    after = opened(write_npz(tmp_path, g)).vectors["text"]
    assert after.digest(None) == before[0]
    assert after.digest("float32") != before[1]
    g.text[-1, -1] += 1
    assert opened(write_npz(tmp_path, g)).vectors["text"].digest(None) != before[0]


def test_float16_float64_and_whole_numbers_become_float32(tmp_path: Path) -> None:
    values = {np.float16: given().image.astype(np.float16), np.float64: given().image.astype(np.float64)}
    values[np.uint8] = np.arange(60, dtype=np.uint8).reshape(12, 5) + 1
    for array in values.values():
        np.savez(tmp_path / "x.npz", **{**arrays(given()), "image": array})
        read = opened(tmp_path / "x.npz").vectors["image"].block(slice(0, 12), False).pooled
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, array.astype(np.float32))


def test_the_folder_of_clip_retrieval_is_taken_as_it_is(tmp_path: Path) -> None:
    g = given()
    path = write_clip_retrieval(tmp_path, g, parts=3)
    bundle = opened(path, label=None, split=None)
    assert bundle.rows.ids == g.ids  # /pictures/item00 ... from their common folder on
    assert bundle.rows.texts == [[text] for text in g.captions]
    np.testing.assert_array_equal(bundle.vectors["image"].block(slice(0, 12), False).pooled, g.image)
    np.testing.assert_array_equal(bundle.vectors["text"].block(slice(2, 7), False).pooled, g.text[2:7])
    assert bundle.lacks()[:2] == ["image and text tokens (K is 1)", "class names (methods that need them refuse)"]
    (tmp_path / "more").mkdir()
    labelled = write_clip_retrieval(tmp_path / "more", g, 11, {"key": [f"{i:09}" for i in range(12)], "kind": g.labels})
    bundle = opened(labelled, label="kind", split=None)
    assert bundle.rows.ids == [f"{i:09}" for i in range(12)]
    assert bundle.rows.labels == [[label] for label in g.labels]  # part 10 comes after part 9
    (labelled / "text_emb/text_emb_4.npy").unlink()
    assert message_of(labelled, tmp_path, label=None) == (
        "more/given: text_emb/text_emb_4.npy is missing; clip-retrieval writes one a part"
    )
    (labelled / "img_emb/img_emb_10.npy").unlink()
    (labelled / "text_emb/text_emb_4.npy").write_bytes((labelled / "text_emb/text_emb_5.npy").read_bytes())
    assert message_of(labelled, tmp_path) == "more/given: 10 parts in img_emb, 11 in metadata; write it again"


@pytest.mark.parametrize("folder", [".", "img_emb", "metadata"])
def test_a_folder_that_may_not_be_listed_is_not_taken_for_an_empty_one(folder: str, tmp_path: Path) -> None:
    path = write_clip_retrieval(tmp_path, given())
    with unreadable(path / folder):
        assert message_of(path, tmp_path) == (
            "given: may not be read by this user; give the right to, as in chmod -R u+rX given"
        )


def test_a_folder_of_arrays_that_may_not_be_listed_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "arrays"
    write(path / "image.npy", b"")
    with unreadable(path, 0o300):
        assert message_of(path, tmp_path).startswith("arrays: may not be read by this user; ")


@pytest.mark.parametrize("folder", ["img_emb", "text_emb", "metadata"])
def test_a_folder_that_clip_retrieval_was_not_asked_for_is_one_line(folder: str, tmp_path: Path) -> None:
    path = write_clip_retrieval(tmp_path, given())
    (path / folder).rename(tmp_path / "away")
    assert message_of(path, tmp_path, split=None) == (
        f"given: the folder {folder} is missing; run clip-retrieval with --enable_image True --enable_text True"
    )


def test_parts_of_clip_retrieval_have_the_columns_that_their_own_rows_have(tmp_path: Path) -> None:
    g = given()
    path = write_clip_retrieval(tmp_path, g, 3, {"label": g.labels, "error": [""] * 12})
    tables = [pq.read_table(path / f"metadata/metadata_{part}.parquet") for part in range(3)]
    nulls = pa.nulls(4)
    pq.write_table(tables[1].drop_columns(["error", "caption"]), path / "metadata/metadata_1.parquet")
    pq.write_table(
        tables[2].set_column(1, "caption", nulls).append_column("late", nulls), path / "metadata/metadata_2.parquet"
    )
    bundle = opened(path, split=None)
    assert bundle.rows.labels == [[label] for label in g.labels]
    assert bundle.rows.texts == [*([text] for text in g.captions[:4]), *[[""]] * 8]


def test_a_table_beside_says_who_the_rows_are(tmp_path: Path) -> None:
    g = given()
    np.savez(tmp_path / "bare.npz", image=g.image, text=g.text)
    lines = ["id,label,caption,split", *(f'007{i},"x;y","a, b",dev' for i in range(12))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    rows = opened(tmp_path / "bare.npz", table=str(tmp_path / "rows.csv"), separator=";").rows
    assert (rows.ids[0], rows.labels[0], rows.texts[0], rows.splits[0]) == ("0070", ["x", "y"], ["a, b"], "val")
    (tmp_path / "rows.csv").write_text("\n".join(lines[:-1]))
    assert message_of(tmp_path / "bare.npz", tmp_path, table="rows.csv") == (
        "bare.npz: rows differ (image 12, text 12, ids 11); each pair needs a row in all of them, in one order"
    )
    (tmp_path / "rows.csv").write_text("id,label\n1,2,3\n")
    assert message_of(tmp_path / "bare.npz", tmp_path, table="rows.csv") == (
        "rows.csv: line 2 has 3 fields, the first line 2; put fields that hold the delimiter in quotes"
    )
    assert message_of(tmp_path / "bare.npz", tmp_path, MissingError, table="no.csv") == (
        "no.csv: missing; set ingest.features.table to the table of the rows, or to null"
    )


def test_class_names_are_taken_by_the_class_each_row_is_of(tmp_path: Path) -> None:
    names = np.arange(16, dtype=np.float32).reshape(4, 4) + 1
    own = {**arrays(given()), "names": names, "names_classes": np.array(list("cxba"))}
    np.savez(tmp_path / "named.npz", **own)
    bundle = opened(tmp_path / "named.npz")
    assert bundle.classes == ["a", "b", "c"]
    np.testing.assert_array_equal(bundle.vectors["name"].block(slice(0, 3), False).pooled, names[[3, 2, 0]])
    for changes, said in (
        ({"names_classes": np.array(list("cxbz"))}, "no row in 'names' for 1 of 3 classes, the first is 'a'"),
        ({"names": names[:, :3]}, "'names' is 4 x 3; it must have a row for each of the 4 classes"),
        ({"names_classes": np.array(list("abc"))}, "'names' is 4 x 4; it must have a row for each of the 3 classes"),
    ):
        np.savez(tmp_path / "named.npz", **{**own, **changes})
        assert message_of(tmp_path / "named.npz", tmp_path).startswith(f"named.npz: {said}")
    del own["names_classes"]
    np.savez(tmp_path / "named.npz", **own)
    assert "'names' stands without 'names_classes'; say which" in message_of(tmp_path / "named.npz", tmp_path)


def test_raw_vectors_are_kept_where_all_have_them_and_one_space_is_shared(tmp_path: Path) -> None:
    g = given()
    own = {**arrays(g), "text": g.image + 1, "image_raw": g.image, "text_raw": g.text}
    np.savez(tmp_path / "raw.npz", **own)
    widths = [opened(tmp_path / "raw.npz", aligned=aligned).vectors["text"].raw_width for aligned in (True, False)]
    assert widths == [4, None]
    del own["image_raw"]
    np.savez(tmp_path / "raw.npz", **own)
    bundle = opened(tmp_path / "raw.npz", aligned=True)
    assert bundle.vectors["text"].raw_width is None
    assert "raw vectors" in bundle.lacks()


@pytest.mark.parametrize("what", ["image", "text", "image_tokens", "text_tokens"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_no_finite_number_is_counted_and_named(what: str, value: float, tmp_path: Path) -> None:
    own = arrays(given())
    own[what] = own[what].astype(np.float64)
    own[what][7] = value
    np.savez(tmp_path / "x.npz", **own)
    kind, *tokens = what.split("_")
    told, do = f"no finite numbers in 1 of 12 {kind} vectors", "mend the source, or take such rows out"
    if tokens:
        told, do = f"no finite numbers in the tokens of 1 of 12 {kind}s", "mend the source, or leave tokens out"
    if tokens and value == 1e39:  # a number, but float32 has none as large
        told, do = f"numbers too large for float32 in the tokens of 1 of 12 {kind}s", "leave tokens out"
    item = "item02" if what == "text_tokens" else "item07"
    end = ": --tokens none" if tokens else ""
    assert message_of(tmp_path / "x.npz", tmp_path) == f"x.npz: {told}, the first is that of '{item}'; {do}{end}"
    if tokens:
        check_bundle(open_bundle(section(tmp_path / "x.npz"), tmp_path), allow_zero=False, storage=None)


def test_zero_vectors_are_refused_unless_asked_for(tmp_path: Path) -> None:
    g = given()
    g.text[[3, 5]] = 0
    path = write_npz(tmp_path, g)
    assert message_of(path, tmp_path) == (
        "given.npz: nothing but zeros in 2 of 12 text vectors, the first is that of 'item03'; take such rows out, or "
        "let them through, unlike everything: -S ingest.features.allow_zero=true"
    )
    check_bundle(open_bundle(section(path), tmp_path), allow_zero=True, storage="float16")


def test_the_right_item_is_named_far_behind(tmp_path: Path) -> None:
    count = 3000
    image = np.ones((count, 2), np.float32)
    image[2500] = np.nan
    np.savez(tmp_path / "x.npz", image=image, text=np.ones((count, 2)), id=np.arange(count))
    assert "no finite numbers in 1 of 3000 image vectors, the first is that of '2500'" in message_of(
        tmp_path / "x.npz", tmp_path, label=None, split=None
    )


def test_wrong_names_say_what_the_file_has(tmp_path: Path) -> None:
    io.savemat(tmp_path / "x.mat", {"img": given().image, "txt": given().text})
    assert message_of(
        tmp_path / "x.mat", tmp_path, ParamsError, mat={**section(None).mat.model_dump(), "image": ["I"]}
    ) == (
        "x.mat: nothing is called 'I'; it has vectors in img, txt: say which are the image vectors, as in "
        "-S 'ingest.features.mat.image=[img]'"
    )
    path = write_npz(tmp_path, given())
    assert message_of(path, tmp_path, ParamsError, text="texts") == (
        "given.npz: nothing is called 'texts'; it has vectors in text: say which are the text vectors, as in "
        "-S ingest.features.text=text"
    )
    np.savez(tmp_path / "x.npz", words=np.array(given().ids), key=np.arange(12))
    assert message_of(tmp_path / "x.npz", tmp_path, ParamsError) == (
        "x.npz: nothing is called 'image', and nothing in it has a vector a row; it holds key, words"
    )


def test_a_column_that_was_named_and_is_not_there_is_told_with_those_that_may_be_meant(tmp_path: Path) -> None:
    g = given()
    one, two = {"serial": np.arange(12), "kind": np.array(g.labels)}, {"other": g.image, "width": np.ones((12, 2))}
    np.savez(tmp_path / "x.npz", **{**arrays(g), **one, **two, "only": np.array(["same"] * 12)})
    path = tmp_path / "x.npz"
    for key, maybe in (("label", "kind or label"), ("id", "id or serial"), ("split", "split")):
        first = maybe.split()[0]
        without = "" if key == "id" else f", or do without: -S ingest.features.{key}=null"
        assert message_of(path, tmp_path, ParamsError, **{key: "class"}) == (
            f"x.npz: nothing is called 'class'; by what stands there it may be {maybe}: "
            f"-S ingest.features.{key}={first}{without}"
        )
    np.savez(path, image=g.image, text=g.text, id=np.array(g.ids))
    assert message_of(path, tmp_path, ParamsError, split=None, label="class") == (
        "x.npz: nothing is called 'class', and nothing there looks like classes; name a table that has them: "
        "-S ingest.features.table=FILE, or do without: -S ingest.features.label=null"
    )


def test_a_column_of_labels_that_is_only_the_default_may_be_missing(tmp_path: Path) -> None:
    own = {name: array for name, array in arrays(given()).items() if name != "label"}
    np.savez(tmp_path / "x.npz", **own)
    assert opened(tmp_path / "x.npz").rows.labels == [[]] * 12
    assert opened(tmp_path / "x.npz").rows.maybe == []
    np.savez(tmp_path / "x.npz", **own, kind=np.array(given().labels))
    assert opened(tmp_path / "x.npz").rows.maybe == ["kind"]
    assert opened(tmp_path / "x.npz", label=["label", "kind"]).rows.labels == [[label] for label in given().labels]
    assert opened(tmp_path / "x.npz", label=None).rows.maybe == []


@pytest.mark.parametrize("form", WRITERS)
def test_a_truncated_file_is_one_line(form: str, tmp_path: Path) -> None:
    path = WRITERS[form](tmp_path, given())
    file = path / "text.npy" if path.is_dir() else path
    whole = file.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 9):
        file.write_bytes(whole[:size])
        said = message_of(path, tmp_path)
        name, kind = (f"{path.name}/text.npy", ".npy") if path.is_dir() else (path.name, path.suffix)
        assert said.startswith(f"{name}: not a whole {kind} file ("), said
        assert said.endswith("); copy it again, or write it anew")
        assert "pickle" not in said


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    objects = np.array([Trap()] * 12, object)
    np.savez(tmp_path / "x.npz", **{**arrays(given()), "id": objects})
    said = (
        "is an array of objects, which only unpickling could read, and that runs code; save it as numbers, or as text"
    )
    assert message_of(tmp_path / "x.npz", tmp_path).startswith(f"x.npz: 'id' {said}")
    folder = WRITERS["npy"](tmp_path, given())
    np.save(folder / "image.npy", objects)
    assert message_of(folder, tmp_path).startswith(f"given: 'image.npy' {said}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": np.ones((11, 4))}, "rows differ (image 12, image_tokens 12, text 11, text_tokens 12, ids 12); each"),
        (
            {"image_tokens": np.ones((12, 0, 6))},
            "'image_tokens' is no array of numbers of 3 axes (shape (12, 0, 6), fl",
        ),
        (
            {"text_tokens": np.ones(36)},
            "'text_tokens' is no array of numbers of 3 axes (shape (36,), float64); a row a",
        ),
        ({"image": np.ones(12)}, "'image' is no array of numbers of 2 axes (shape (12,), float64); a row a pair"),
        (
            {"image": np.ones((12, 0))},
            "'image' is no array of numbers of 2 axes (shape (12, 0), float64); a row a pair",
        ),
        (
            {"image": np.full((12, 2), "x")},
            "'image' is no array of numbers of 2 axes (shape (12, 2), <U1); a row a pair",
        ),
        ({"text_tokens_offsets": np.arange(13)}, "'text_tokens_offsets' must be n + 1 growing numbers from 0 to 36"),
        ({"id": np.ones((12, 2))}, "'id' has several values a row; it must have one"),
        ({"id": np.full(12, 0.5)}, "'id' holds float; it must hold text or whole numbers"),
        ({"label": np.array(["a"] * 11)}, "12 ids and 11 labels; a row has one of each"),
        (
            {"split": np.array(["training"] * 12)},
            "a row has split 'training'; it must be train, val, dev, test or empty",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{**arrays(given()), **changes})
    assert message_of(tmp_path / "x.npz", tmp_path).startswith(f"x.npz: {said}")


def test_one_space_has_one_width(tmp_path: Path) -> None:
    assert message_of(write_npz(tmp_path, given()), tmp_path, ParamsError, aligned=True) == (
        "given.npz: ingest.features.aligned is true, but image vectors are 5 wide and text vectors 4; vectors of one "
        "space have one width, so set it to false"
    )


def test_split_lists_give_the_split_and_know_every_id(tmp_path: Path) -> None:
    path = write_npz(tmp_path, given())
    (tmp_path / "train_ids.txt").write_text("item03\nitem01 7\n")
    (tmp_path / "Test.txt").write_text("item11\n\n")
    lists = ["train_ids.txt", "Test.txt"]
    splits = open_bundle(section(path, split_lists=lists), tmp_path).rows.splits
    assert {i: own for i, own in enumerate(splits) if own} == {1: "train", 3: "train", 11: "test"}
    (tmp_path / "Test.txt").write_text("item11\nitem12\nitem99\n")
    assert message_of(path, tmp_path, split_lists=lists) == (
        "Test.txt: 2 of 3 ids not in given.npz, the first is 'item12'; did you mean 'item11'?"
    )
    (tmp_path / "Test.txt").write_text("item11\nitem03\n")
    assert message_of(path, tmp_path, split_lists=lists) == (
        "Test.txt: 1 id stands twice in the lists, the first is 'item03'; mend the list"
    )
    assert "the list 'other.txt' names no split; let its name" in message_of(path, tmp_path, split_lists=["other.txt"])
    assert message_of(path, tmp_path, MissingError, split_lists=["train.txt"]) == (
        "train.txt: missing; --split-list takes files with an id a line"
    )


def test_what_is_no_source_of_features_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert message_of(tmp_path / "x.npy", tmp_path, UsageError).startswith("x.npy: features come as .mat, .npz, .h5, ")
    assert message_of(tmp_path / "empty", tmp_path).startswith("empty: no .npy file and no folder img_emb in it; put")
    assert message_of(tmp_path / "none.h5", tmp_path, MissingError) == (
        f"features: {tmp_path}/none.h5 is missing; set ingest.features.path to what holds them"
    )
    assert message_of(None, tmp_path, ParamsError).endswith("python -m pipeline import-features PATH")


def test_objects_in_hdf5_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("image", (12,), h5py.vlen_dtype(np.float32))
        file["text"], file["id"] = given().text, np.arange(12)
    assert message_of(tmp_path / "x.h5", tmp_path).startswith("x.h5: 'image' holds objects; store numbers, ragged ones")


def write_published(folder: Path) -> Path:
    """The layout of the file of 2010: two parts of each modality, and the lists beside it."""
    g = given()
    parts = {"I_tr": g.image[:8], "T_tr": g.text[:8], "I_te": g.image[8:], "T_te": g.text[8:]}
    io.savemat(folder / "published.mat", parts)
    lines = [f"text{i}\timage{i}\t{i % 3 + 1}" for i in range(12)]
    (folder / "trainset_txt_img_cat.list").write_text("\n".join(lines[:8]) + "\n")
    (folder / "testset_txt_img_cat.list").write_text("\n".join(lines[8:]) + "\n\n")
    (folder / "categories.list").write_text("art\nbiology\nwarfare\n")
    return folder / "published.mat"


SHIPPED_MAT = {"mat": SHIPPED["mat"], "split": None}


def test_a_mat_file_is_joined_and_listed_as_it_was_published(tmp_path: Path) -> None:
    bundle = opened(write_published(tmp_path), **SHIPPED_MAT)
    assert bundle.rows.ids == [f"text{i}" for i in range(12)]
    assert bundle.rows.labels == [[["art", "biology", "warfare"][i % 3]] for i in range(12)]
    assert bundle.rows.splits == ["train"] * 8 + ["test"] * 4
    np.testing.assert_array_equal(bundle.vectors["image"].block(slice(0, 12), False).pooled, given().image)
    np.testing.assert_array_equal(bundle.vectors["text"].block(slice(0, 12), False).pooled, given().text)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "testset_txt_img_cat.list",
            "a b 1\n",
            "published.mat: 4 rows of features and 1 line in testset_txt_img_cat.list; they belong together",
        ),
        (
            "testset_txt_img_cat.list",
            "a b 1\n" * 3 + "a b 4",
            "published.mat: testset_txt_img_cat.list line 4 is 'a b 4'; it must be an ",
        ),
        (
            "testset_txt_img_cat.list",
            "a b 1\n" * 3 + "1",
            "published.mat: testset_txt_img_cat.list line 4 is '1'; it must be an id and, ",
        ),
        (
            "categories.list",
            None,
            "categories.list: missing; put it beside published.mat, or, where ids and classes are in that file, -S",
        ),
    ],
)
def test_lists_that_do_not_fit_are_one_line(name: str, text: str | None, said: str, tmp_path: Path) -> None:
    path = write_published(tmp_path)
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    assert message_of(path, tmp_path, **SHIPPED_MAT).startswith(said)


def test_a_part_without_a_list_is_one_line(tmp_path: Path) -> None:
    mat = {**SHIPPED["mat"], "lists": ["trainset_txt_img_cat.list"]}
    assert message_of(write_published(tmp_path), tmp_path, ParamsError, mat=mat) == (
        "published.mat: 1 list in ingest.features.mat.lists for 2 parts; name one a part"
    )
    assert "ingest.features.mat.text is empty; it has vectors in T_te, T_tr: say which are the text" in message_of(
        tmp_path / "published.mat", tmp_path, ParamsError, mat={**SHIPPED["mat"], "text": []}
    )


SEVERAL = [1 + i % 3 for i in range(12)]  # texts of each pair


def several(g: Given) -> tuple[Array, list[list[str]]]:
    """Vectors of the texts of each pair, one behind the other, and the texts."""
    vectors = np.arange(sum(SEVERAL) * 4, dtype=np.float32).reshape(-1, 4) + 1
    return vectors, [[f"{item} text {i}" for i in range(count)] for item, count in zip(g.ids, SEVERAL, strict=True)]


@pytest.mark.parametrize("form", ["npz", "h5", "parquet"])
def test_several_texts_of_a_pair_come_as_a_list_of_vectors(form: str, tmp_path: Path) -> None:
    g = given()
    vectors, texts = several(g)
    bounds = np.cumsum([0, *SEVERAL])
    own = {
        "image": g.image,
        "text": vectors,
        "text_offsets": bounds,
        "caption": np.array([*itertools.chain(*texts)]),
        "id": g.ids,
    }
    if form == "npz":
        np.savez(tmp_path / "x.npz", **own)
    elif form == "h5":
        with h5py.File(tmp_path / "x.h5", "w") as file:
            for name, array in own.items():
                file[name] = (
                    array if name in {"image", "text", "text_offsets"} else np.array(array, h5py.string_dtype())
                )
    else:
        lists = [vectors[lo:hi].tolist() for lo, hi in itertools.pairwise(bounds)]
        pq.write_table(
            pa.table({"image": g.image.tolist(), "text": lists, "caption": texts, "id": g.ids}), tmp_path / "x.parquet"
        )
    bundle = opened(tmp_path / f"x.{form}", split=None)
    np.testing.assert_array_equal(bundle.vectors["text"].block(slice(0, len(vectors)), False).pooled, vectors)
    assert bundle.rows.texts == texts
    assert bundle.ids_of("text") == [item for item, count in zip(g.ids, SEVERAL, strict=True) for _ in range(count)]


def test_as_many_texts_of_every_pair_come_as_an_array_of_three_axes(tmp_path: Path) -> None:
    g = given()
    text = np.arange(12 * 2 * 4, dtype=np.float32).reshape(12, 2, 4) + 1
    own = {"image": g.image, "text": text, "text_raw": text * 2, "id": np.array(g.ids)}
    np.savez(tmp_path / "x.npz", **own)
    bundle = opened(tmp_path / "x.npz", split=None)
    np.testing.assert_array_equal(bundle.vectors["text"].block(slice(0, 24), False).pooled, text.reshape(24, 4))
    assert bundle.rows.texts == [["", ""]] * 12
    for changes, said in (
        ({"caption": np.array(g.captions)}, "'item00' has 1 text in 'caption' and 2 text vectors; each text has a vec"),
        ({"caption": np.array(g.captions[1:])}, "12 ids and 11 texts; a row has one of each"),
        (
            {"text": text.reshape(24, 4)},
            "rows differ (image 12, text 24, text_raw 24, ids 12); each pair needs a row in",
        ),
        (
            {"text_raw": text[:, 0]},
            "rows differ (image 12, text 24, text_raw 12, ids 12); each pair needs a row in all",
        ),
        (
            {"text": text[:6, 0], "text_offsets": np.array([0, *[0] * 6, *range(1, 7)]), "text_raw": text[:6, 0]},
            "'item00' has no text vector; give it one, or leave it out",
        ),
    ):
        np.savez(tmp_path / "x.npz", **{**own, **changes})
        assert message_of(tmp_path / "x.npz", tmp_path, split=None).startswith(f"x.npz: {said}")
    np.savez(tmp_path / "x.npz", **{**own, "text": text.reshape(24, 4)})
    assert message_of(tmp_path / "x.npz", tmp_path, split=None).endswith("or flat with '..._offsets' beside them")
    np.savez(tmp_path / "x.npz", **{**own, "id": np.repeat(g.ids[:6], 2), "key": np.arange(12)})
    assert message_of(tmp_path / "x.npz", tmp_path, split=None) == (
        "x.npz: 6 ids stand more than once in 'id', the first is 'item00'; give each row an id of its own: "
        "-S ingest.features.id=key, or put the texts of a pair in one row, as a list"
    )


def test_as_many_texts_of_every_pair_stand_in_a_row_as_their_vectors_do(tmp_path: Path) -> None:
    g = given()
    texts = [[f"{item} text {i}" for i in range(2)] for item in g.ids]
    text = np.arange(12 * 2 * 4, dtype=np.float32).reshape(12, 2, 4) + 1
    for kind in ("U", "S"):
        own = {"image": g.image, "text": text, "caption": np.array(texts).astype(kind), "id": np.array(g.ids)}
        np.savez(tmp_path / "x.npz", **own)
        assert opened(tmp_path / "x.npz", split=None).rows.texts == texts
    np.savez(tmp_path / "x.npz", **{**own, "id": own["caption"]})
    assert message_of(tmp_path / "x.npz", tmp_path, split=None) == (
        "x.npz: 'id' has several values a row; it must have one"
    )


def test_raw_vectors_are_of_the_same_texts(tmp_path: Path) -> None:
    g = given()
    vectors, _ = several(g)
    bounds = np.cumsum([0, *SEVERAL])
    own = {"image": g.image, "image_raw": g.image, "text": vectors, "text_offsets": bounds, "text_raw": vectors * 2}
    own["id"] = np.array(g.ids)
    for beside in ({"text_raw_offsets": bounds}, {}):  # without offsets they stand as the vectors do
        np.savez(tmp_path / "x.npz", **own, **beside)
        assert len(opened(tmp_path / "x.npz", split=None).vectors["text"]) == 24
    moved = bounds.copy()
    moved[2] -= 1
    for offsets, told in (
        (moved, "pair 2 has 2 vectors in 'text' and 1 in 'text_raw'; each text has one in both, in one order"),
        (np.insert(moved, 2, moved[2]), "12 pairs in 'text' and 13 in 'text_raw'; each text has one in both, in one "),
    ):
        np.savez(tmp_path / "x.npz", **own, text_raw_offsets=offsets)
        assert message_of(tmp_path / "x.npz", tmp_path, split=None).startswith(f"x.npz: {told}")


@pytest.mark.parametrize("typed", [True, False])
def test_a_table_without_rows_has_no_items(typed: bool, tmp_path: Path) -> None:
    vectors = pa.list_(pa.float32()) if typed else pa.null()  # what pandas writes of a table without rows
    word = pa.string() if typed else pa.null()
    columns = {"image": vectors, "text": vectors, "text_tokens": vectors, "id": word, "label": word}
    pq.write_table(pa.table({name: pa.array([], kind) for name, kind in columns.items()}), tmp_path / "x.parquet")
    told = "no items; look at the data and at the parameters of ingest"
    assert message_of(tmp_path / "x.parquet", tmp_path, split=None) == f"x.parquet: {told}"


def test_what_its_name_promises_and_it_is_not_is_one_line(tmp_path: Path) -> None:
    folder = WRITERS["npy"](tmp_path, given())
    (folder / "text.npy").write_text("0.25 0.5 0.75\n")
    assert message_of(folder, tmp_path).startswith("given/text.npy: not a whole .npy file (the magic string is not ")
    (tmp_path / "x.npz").write_text("0.25 0.5 0.75\n")
    assert message_of(tmp_path / "x.npz", tmp_path) == (
        "x.npz: not a whole .npz file (File is not a zip file); copy it again, or write it anew"
    )
    with zipfile.ZipFile(write_npz(tmp_path, given()), "a") as archive:
        archive.writestr("note", "0.25 0.5 0.75\n")
    assert message_of(tmp_path / "given.npz", tmp_path, image="note") == (
        "given.npz: 'note' in it is no array; write it with numpy.savez"
    )
    with h5py.File(tmp_path / "x.mat", "w") as file:
        file["image"] = h5py.SoftLink("/nowhere")
    assert message_of(tmp_path / "x.mat", tmp_path).startswith("x.mat: not a whole .mat file (")


@pytest.mark.parametrize("form", WRITERS)
def test_what_may_not_be_read_is_one_line(form: str, tmp_path: Path) -> None:
    path = WRITERS[form](tmp_path, given())
    file = path / "text.npy" if path.is_dir() else path
    name = file.relative_to(tmp_path)
    with unreadable(file):
        assert message_of(path, tmp_path) == (
            f"{name}: may not be read by this user; give the right to, as in chmod -R u+rX {name}"
        )
