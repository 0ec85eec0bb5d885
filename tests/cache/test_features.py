"""Feature caches: what was put in comes out, mapped, in any order, in any process."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cache
from bench.opening import make_sparse
from cache import shards
from cache.errors import DamagedError, MissingError
from cache.features import FAILED, INDEX, PART_NAME, FeatureCache, Part, RowKind, file_names, finish, write_part
from cache.hdf5 import map_arrays
from tests.cache.build import begin_features, features_folder, flip_bit, small_part, write_features
from tests.strategies import parts

KINDS: tuple[RowKind, ...] = ("image", "text", "name")


def store_parts(folder: Path, rows: RowKind, made: list[Part]) -> FeatureCache:
    begin_features(folder, rows, len(made))
    for i, part in enumerate(made):
        finished = shards.temporary(folder)
        write_part(finished, part)
        shards.record(folder, finished, PART_NAME(i), len(part.ids))
    finish(folder)
    return FeatureCache.open(folder)


def row_tokens(part: Part, row: int) -> np.ndarray:
    """The tokens of one row, by the definition of the layout."""
    assert part.tokens is not None
    if part.offsets is None:
        return np.asarray(part.tokens[row])
    return np.asarray(part.tokens[part.offsets[row] : part.offsets[row + 1]])


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(KINDS))
def test_every_row_comes_back_as_it_was_put_in_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rows: RowKind
) -> None:
    made = data.draw(st.lists(parts(rows), min_size=1, max_size=3))
    made = [Part(**{**vars(part), "pooled_raw": None}) for part in made]
    opened = store_parts(features_folder(tmp_path_factory.mktemp("s"), rows), rows, made)
    flat = [(part, row) for part in made for row in range(len(part.ids))]
    asked = data.draw(st.lists(st.integers(0, len(flat) - 1), max_size=8)) if flat else []
    expected = [row_tokens(*flat[i]) for i in asked]
    assert len(opened) == len(flat)
    assert opened.ids == [part.ids[row] for part, row in flat]
    assert opened.failed.to_pylist() == [vars(failure) for part in made for failure in part.failures]
    np.testing.assert_array_equal(opened.pooled(), np.concatenate([part.pooled for part in made]))
    got = opened.tokens(asked)
    if isinstance(got, tuple):
        got = [got[0][a:b] for a, b in zip(got[1][:-1], got[1][1:], strict=True)]
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == np.float16
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rows", KINDS)
def test_mapped_reads_equal_those_of_h5py(tmp_path: Path, rows: RowKind) -> None:
    folder = features_folder(tmp_path, rows)
    write_features(folder, rows)
    opened = FeatureCache.open(folder)
    with h5py.File(folder / PART_NAME(0)) as a, h5py.File(folder / PART_NAME(1)) as b:
        everything = opened.tokens(range(7))
        values = everything[0] if isinstance(everything, tuple) else everything
        np.testing.assert_array_equal(values, np.concatenate([a["tokens"][()], b["tokens"][()]]))
        np.testing.assert_array_equal(opened.pooled(), np.concatenate([a["pooled"][()], b["pooled"][()]]))
        np.testing.assert_array_equal(opened.pooled_raw(), np.concatenate([a["pooled_raw"][()], b["pooled_raw"][()]]))


def test_the_index_says_where_every_row_lies(tmp_path: Path) -> None:
    folder = features_folder(tmp_path, "text")
    write_features(folder, "text")
    opened = FeatureCache.open(folder)
    assert opened.index.to_pylist()[5] == {
        "id": "é1-1",
        "caption": 0,
        "n_tokens": 2,
        "truncated": True,
        "part": 1,
        "row": 1,
    }
    assert opened.rows_kind == "text"
    assert opened.about["dims"] == {"tokens": 3, "pooled": 4, "pooled_raw": 5}


def test_the_package_offers_the_reader() -> None:
    assert cache.FeatureCache is FeatureCache
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        cache.Nothing  # noqa: B018


def test_equal_parts_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_part(tmp_path / name, small_part("text", 0))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_part_whose_every_row_failed_is_a_part_and_its_neighbours_keep_their_width(tmp_path: Path) -> None:
    nothing = small_part("image", 0, n=0)
    nothing.tokens, nothing.pooled = np.empty((0, 0, 0), np.float16), np.empty((0, 0), np.float32)
    nothing.pooled_raw = np.empty((0, 0), np.float32)
    opened = store_parts(features_folder(tmp_path, "image"), "image", [nothing, small_part("image", 1)])
    assert opened.tokens([]).shape == (0, 2, 3)  # type: ignore[union-attr]
    assert opened.pooled().shape == (4, 4)
    assert opened.failed["id"].to_pylist() == ["bad0", "bad1"]


def test_a_cache_without_a_single_row_can_be_opened(tmp_path: Path) -> None:
    opened = store_parts(features_folder(tmp_path, "text"), "text", [small_part("text", 0, n=0)])
    assert len(opened) == 0
    assert opened.pooled().shape == (0, 4)
    assert opened.tokens([])[0].shape == (0, 3)


def test_a_cache_without_tokens_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = features_folder(tmp_path, "text")
    write_features(folder, "text", tokens=False)
    opened = FeatureCache.open(folder)
    assert not opened.has_tokens
    assert opened.pooled().shape == (7, 4)
    with pytest.raises(MissingError) as caught:
        opened.tokens([0])
    remedy = "no tokens here; set extract.tokens to joint or raw and run 'extract'"
    assert str(caught.value) == f"features/{folder.name}: {remedy}"


def test_an_unaligned_encoder_has_no_raw_vectors(tmp_path: Path) -> None:
    part = small_part("image", 0)
    part.pooled_raw = None
    assert store_parts(features_folder(tmp_path, "image"), "image", [part]).pooled_raw() is None


def test_a_row_that_is_not_there_is_an_index_error(tmp_path: Path) -> None:
    write_features(features_folder(tmp_path, "image"), "image")
    with pytest.raises(IndexError):
        FeatureCache.open(features_folder(tmp_path, "image")).tokens([7])


def test_an_unfinished_cache_is_not_opened(tmp_path: Path) -> None:
    folder = features_folder(tmp_path, "image")
    with pytest.raises(MissingError, match="not there; run 'verify --mend'"):
        FeatureCache.open(folder)
    begin_features(folder, "image", 1)
    with pytest.raises(MissingError, match=r"unfinished, part-00000\.h5 and 2 more to come; run 'extract'"):
        FeatureCache.open(folder)


def test_an_open_cache_reads_on_in_a_forked_child_and_in_the_parent_after_it(tmp_path: Path) -> None:
    write_features(features_folder(tmp_path, "image"), "image")
    opened = FeatureCache.open(features_folder(tmp_path, "image"))
    before = np.asarray(opened.tokens([0]))
    child = os.fork()
    if not child:
        same = np.array_equal(np.asarray(opened.tokens([0])), before) and opened.tokens([6]) is not None
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(np.asarray(opened.tokens([0])), before)


def test_a_pickled_cache_is_opened_again_not_copied(tmp_path: Path) -> None:
    write_features(features_folder(tmp_path, "image"), "image")
    opened = FeatureCache.open(features_folder(tmp_path, "image"))
    opened.tokens(range(7))
    sent = pickle.dumps(opened)
    assert len(sent) < 500
    np.testing.assert_array_equal(np.asarray(pickle.loads(sent).tokens([3])), np.asarray(opened.tokens([3])))


def test_float32_tokens_stay_float32(tmp_path: Path) -> None:
    part = small_part("image", 0)
    assert part.tokens is not None
    part.tokens = part.tokens.astype(np.float32) + np.float32(1e-4)
    opened = store_parts(features_folder(tmp_path, "image"), "image", [part])
    np.testing.assert_array_equal(np.asarray(opened.tokens(range(4))), part.tokens)


@pytest.mark.parametrize("field", ["captions", "n_tokens", "truncated", "pooled", "pooled_raw", "tokens", "offsets"])
def test_a_part_whose_arrays_disagree_is_refused_and_leaves_no_file(tmp_path: Path, field: str) -> None:
    part = small_part("text", 0)
    setattr(part, field, getattr(part, field)[:-1])
    with pytest.raises(ValueError, match=r"lengths|disagree"):
        write_part(tmp_path / "a", part)
    assert list(tmp_path.iterdir()) == []


def test_image_tokens_that_are_not_those_of_the_rows_are_refused(tmp_path: Path) -> None:
    part = small_part("image", 0)
    part.tokens = np.ones((3, 2, 3), np.float16)
    with pytest.raises(ValueError, match="are not those of 4 rows"):
        write_part(tmp_path / "a", part)


def test_a_cache_is_finished_only_when_every_part_is_recorded(tmp_path: Path) -> None:
    folder = features_folder(tmp_path, "image")
    begin_features(folder, "image", 2)
    with pytest.raises(ValueError, match=r"part-00000\.h5 is not recorded yet"):
        finish(folder)


def test_a_failure_with_an_unspeakable_path_is_kept(tmp_path: Path) -> None:
    part = small_part("image", 0)
    part.failures = [type(part.failures[0])("x", "caf\udce9.jpg", "OSError", "zwölf Fehler\nin zwei Zeilen")]
    opened = store_parts(features_folder(tmp_path, "image"), "image", [part])
    (row,) = opened.failed.to_pylist()
    assert (row["path"], row["message"]) == ("caf\\udce9.jpg", "zwölf Fehler\nin zwei Zeilen")


def test_a_cache_of_parts_lists_its_files() -> None:
    assert file_names(2) == ["part-00000.h5", "part-00001.h5", "index.parquet", "failed.parquet"]
    assert file_names(100_001)[-3] == "part-100000.h5"


def test_the_tiny_part_has_the_bytes_it_always_had(tmp_path: Path) -> None:
    golden = Path(__file__).parent / "golden" / "part-00000.h5"
    write_part(tmp_path / "a", small_part("text", 0))
    assert (tmp_path / "a").read_bytes() == golden.read_bytes()
    assert map_arrays(golden)["offsets"].tolist() == [0, 1, 3, 6, 10]


def test_a_column_of_the_index_is_read_when_it_is_asked_for_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    original = pq.read_table
    monkeypatch.setattr(
        "cache.files.pq.read_table", lambda path, columns, **k: _noted(original, read, path, columns, k)
    )
    write_features(features_folder(tmp_path, "text"), "text")
    opened = FeatureCache.open(features_folder(tmp_path, "text"))
    assert (len(opened), opened.pooled().shape) == (7, (7, 4))
    opened.tokens([3])
    assert read == [["part"], ["row"]]
    assert opened.columns(["row", "caption", "part"]).column_names == ["row", "caption", "part"]
    assert opened.index.column_names == ["id", "caption", "n_tokens", "truncated", "part", "row"]
    assert opened.ids == opened.index["id"].to_pylist()
    assert read[2:] == [["caption"], ["id", "n_tokens", "truncated"]]


def _noted(original, read, path, columns, others):
    read.append(columns)
    return original(path, columns=columns, **others)


def damaged_cache(tmp_path: Path, name: str, verify: bool) -> FeatureCache:
    """A cache of two parts, four rows and three, one bit of one file turned over after it was written."""
    folder = features_folder(tmp_path, "image")
    write_features(folder, "image")
    flip_bit(folder / name, at=_in_pooled(folder / name) if name.endswith(".h5") else 0.5)
    return FeatureCache.open(folder, verify=verify)


def test_with_verify_a_damaged_part_is_refused_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = damaged_cache(tmp_path, PART_NAME(1), verify=True)
    sound = np.asarray(opened.tokens([2, 0]))
    np.testing.assert_array_equal(sound, small_part("image", 0).tokens[[2, 0]])  # type: ignore[index]
    line = (
        rf"features/{opened.path.name}/part-00001\.h5: its content has digest [0-9a-f]{{32}}, shards\.jsonl says "
        r"[0-9a-f]{32}; run 'verify --repair', then 'extract' writes only this part again"
    )
    for read in (lambda: opened.tokens([0, 4]), opened.pooled, opened.pooled_raw):
        with pytest.raises(DamagedError, match=f"^{line}$"):
            read()
    for again in (pickle.loads(pickle.dumps(opened)), opened):
        np.testing.assert_array_equal(np.asarray(again.tokens([2, 0])), sound)
        with pytest.raises(DamagedError, match=line):
            again.tokens([6])


def _in_pooled(part: Path) -> float:
    """Where in the file, as a share of it, the pooled vectors lie."""
    with h5py.File(part) as file:
        return float((file["pooled"].id.get_offset() + 1.5) / (part.stat().st_size - 1))


@pytest.mark.parametrize(("name", "read"), [(INDEX, "index"), (INDEX, "ids"), (FAILED, "failed")])
def test_with_verify_a_damaged_table_is_refused_where_it_is_read(tmp_path: Path, name: str, read: str) -> None:
    opened = damaged_cache(tmp_path, name, verify=True)
    assert opened.pooled().shape == (7, 4)
    with pytest.raises(DamagedError, match=rf"{name}: its content has digest .* writes only this file again"):
        getattr(opened, read)


def test_without_verify_bytes_are_taken_as_they_are_and_sizes_are_not(tmp_path: Path) -> None:
    opened = damaged_cache(tmp_path, PART_NAME(1), verify=False)
    assert not np.array_equal(opened.pooled()[4:], small_part("image", 1, 3).pooled)
    last = opened.path / PART_NAME(1)
    os.truncate(last, last.stat().st_size - 1)
    with pytest.raises(DamagedError, match=r"part-00001\.h5: \d+ bytes, shards\.jsonl says \d+"):
        FeatureCache.open(opened.path)


def test_with_verify_each_file_is_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_features(features_folder(tmp_path, "image"), "image")
    opened = FeatureCache.open(features_folder(tmp_path, "image"), verify=True)
    compared: list[str] = []
    original = shards.require_sound_file
    monkeypatch.setattr(
        "cache.features.shards.require_sound_file", lambda f, line: (compared.append(line.name), original(f, line))
    )
    for _ in range(2):
        opened.tokens([0, 6, 1, 5])
        opened.pooled()
        assert opened.index.num_rows + opened.failed.num_rows == 9
    assert sorted(compared) == sorted([PART_NAME(0), PART_NAME(1), INDEX, FAILED])


READER = """
import json, resource, sys
from pathlib import Path
from cache.features import FeatureCache

def held():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return 1024 * int(line.split()[1])  # without what is mapped: the system takes that back when it needs it

resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
FeatureCache.open(Path(sys.argv[1])).tokens([0])  # what libraries load on their first use counts before
before = held()
opened = FeatureCache.open(Path(sys.argv[2]))
tokens = opened.tokens(range(0, len(opened), 100))
print(json.dumps([tokens.shape, held() - before - tokens.nbytes]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which only Linux has")
def test_many_parts_are_read_with_few_open_files_and_without_the_ids_in_memory(tmp_path: Path) -> None:
    """200,000 rows in 200 parts: their ids would take 20 MB as a column and as Python strings, part and row take 2."""
    write_features(features_folder(tmp_path / "a", "image"), "image")
    large = make_sparse(tmp_path / "b", rows=200_000, per_part=1000, patches=16, width=64)
    command = [sys.executable, "-c", READER, str(features_folder(tmp_path / "a", "image")), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shape, beyond = json.loads(done.stdout)
    assert shape == [2000, 16, 64]
    assert beyond < 18e6
