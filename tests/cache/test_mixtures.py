"""Mixtures: mapped as they were written."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from cache import shards
from cache.errors import DamagedError, MissingError
from cache.features import write_part
from cache.mixtures import FILES, MixtureRows, read_mixture, write_mixture
from tests.cache.build import contents, flip_bit, small_part, some


def small_mixture(start: int = 0) -> MixtureRows:
    return MixtureRows(
        views=some((2, 3, 4), np.float32, start),
        weights=some((2, 3), np.float32, start),
        responsibilities=some((7, 3), np.float16, start),
        offsets=np.array([0, 5, 7]),
        objective=some((2, 6), np.float32, start),
        live=np.array([[True, True, True], [True, True, False]]),
    )


def store_mixture(folder: Path) -> None:
    shards.begin(folder, {"K": 3}, FILES)
    for i, name in enumerate(FILES):
        finished = shards.temporary(folder)
        write_mixture(finished, small_mixture(i))
        shards.record(folder, finished, name, 2)


def test_a_mixture_comes_back_as_written(tmp_path: Path) -> None:
    store_mixture(tmp_path / "mixtures" / "k")
    for i, modality in enumerate(("image", "text")):
        read = read_mixture(tmp_path / "mixtures" / "k", modality)
        for field in fields(MixtureRows):
            one, other = getattr(read, field.name), getattr(small_mixture(i), field.name)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_dtypes_are_those_of_the_format_whatever_comes_in(tmp_path: Path) -> None:
    rows = small_mixture()
    wide = {f.name: getattr(rows, f.name).astype(np.float64) for f in fields(rows) if f.name not in ("live", "offsets")}
    write_mixture(tmp_path / "a", replace(rows, **wide))
    write_mixture(tmp_path / "b", rows)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("field", [f.name for f in fields(MixtureRows)])
def test_arrays_that_disagree_are_refused_and_leave_no_file(tmp_path: Path, field: str) -> None:
    rows = replace(small_mixture(), **{field: getattr(small_mixture(), field)[:-1]})
    with pytest.raises(ValueError, match="disagree"):
        write_mixture(tmp_path / "a", rows)
    assert contents(tmp_path) == {}


def test_an_unfinished_or_damaged_mixture_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "mixtures" / "k"
    with pytest.raises(MissingError, match="not there; run 'verify --mend'"):
        read_mixture(folder, "image")
    store_mixture(folder)
    flip_bit(folder / "text.h5")
    assert shards.check(folder, hashes=True)[0].startswith("text.h5: its content has digest")
    (folder / "text.h5").unlink()
    with pytest.raises(DamagedError, match=r"text\.h5: missing, .*; run 'verify --repair', then 'mixture' writes only"):
        read_mixture(folder, "image")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mixtures" / "k"
    shards.begin(folder, {}, FILES)
    for name in FILES:
        finished = shards.temporary(folder)
        write_part(finished, small_part("image", 0))
        shards.record(folder, finished, name, 4)
    with pytest.raises(DamagedError, match=r"image\.h5: not a file of mixtures; remove the folder and run 'mixture'"):
        read_mixture(folder, "image")
