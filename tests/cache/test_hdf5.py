"""Contiguous HDF5: what goes in comes out, mapped and by h5py alike."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cache.errors import DamagedError, MissingError
from cache.hdf5 import ALIGNED, map_arrays, strings_of, text_array, write_arrays
from tests.strategies import WORDS

DTYPES = st.sampled_from([np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_, np.uint8])
ARRAYS = DTYPES.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), ARRAYS, max_size=4))
def test_mapped_arrays_equal_what_was_written_and_what_h5py_reads(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path_factory.mktemp("h5") / "a.h5"
    write_arrays(path, arrays)
    mapped = map_arrays(path)
    with h5py.File(path) as file:
        assert set(file) == set(mapped) == set(arrays)
        for name, array in arrays.items():
            assert mapped[name].dtype == array.dtype
            assert mapped[name].shape == array.shape
            assert mapped[name].tobytes() == array.tobytes() == file[name][()].tobytes()


def test_equal_arrays_give_equal_bytes_whenever_they_are_written(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6.0).reshape(2, 3), "id": text_array(["a", "ä"])}
    write_arrays(tmp_path / "a", arrays)
    time.sleep(1.1)  # HDF5 keeps times in whole seconds where it keeps them
    write_arrays(tmp_path / "b", arrays)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_dataset_is_contiguous_unfiltered_and_aligned(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a", {"x": np.ones((3, 5), np.float16), "y": np.ones(7)})
    with h5py.File(tmp_path / "a") as file:
        for item in file.values():
            assert item.chunks is None
            assert item.compression is None
            assert item.id.get_offset() % ALIGNED == 0


def test_an_array_that_is_not_contiguous_in_memory_is_written_in_its_own_order(tmp_path: Path) -> None:
    array = np.arange(12).reshape(3, 4).T
    write_arrays(tmp_path / "a", {"x": array})
    np.testing.assert_array_equal(map_arrays(tmp_path / "a")["x"], array)


def test_a_mapping_is_read_only(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a", {"x": np.ones(3)})
    with pytest.raises(ValueError, match="read-only"):
        map_arrays(tmp_path / "a")["x"][0] = 2


def test_a_name_that_is_no_utf8_is_mapped(tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9 ünï"
    folder.mkdir()
    write_arrays(folder / "a", {"x": np.ones(3)})
    assert map_arrays(folder / "a")["x"].tolist() == [1, 1, 1]


def test_a_mapping_holds_no_open_file(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a", {"x": np.ones(3)})
    before = len(list(Path("/dev/fd").iterdir()))
    mapped = map_arrays(tmp_path / "a")
    assert len(list(Path("/dev/fd").iterdir())) == before
    (tmp_path / "a").unlink()
    assert mapped["x"].tolist() == [1, 1, 1]


@given(st.lists(WORDS))
def test_strings_survive(strings: list[str]) -> None:
    assert strings_of(text_array(strings)) == strings


def test_a_string_that_utf8_cannot_say_is_spelt_out() -> None:
    assert strings_of(text_array(["caf\udce9.jpg"])) == ["caf\\udce9.jpg"]


def test_no_file_and_no_hdf5_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"a\.h5: no such file"):
        map_arrays(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    with pytest.raises(DamagedError, match=r"a\.h5: cannot be read as contiguous HDF5 .*; run 'verify --repair'"):
        map_arrays(tmp_path / "a.h5")


def test_a_chunked_dataset_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.ones((8, 8)), chunks=(2, 2))
    with pytest.raises(DamagedError, match="not contiguous"):
        map_arrays(tmp_path / "a.h5")


def test_a_file_cut_short_is_damaged(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.h5", {"x": np.ones(1000)})
    whole = (tmp_path / "a.h5").read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.h5").write_bytes(whole[:length])
        with pytest.raises(DamagedError):
            map_arrays(tmp_path / "a.h5")


def _write_under_a_limit(path: Path) -> int:
    """In a child whose files may not exceed 100 kB, as on a disk that fills up: the errno that a write ends with."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        write_arrays(path, {"x": np.ones(100_000)})
    except OSError as error:
        os._exit(error.errno or 1)
    os._exit(0)


def test_a_write_that_the_system_stops_is_an_oserror_and_leaves_no_file(tmp_path: Path) -> None:
    assert _write_under_a_limit(tmp_path / "a") == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
