"""The same few features in every format that features come in."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from scipy import io

from cache.hdf5 import Array
from proof.checkout import ROOT
from stages.imported.params import FeaturesSection

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["ingest"]["features"]
COUNT = 12


@dataclass(frozen=True)
class Given:
    """Features of COUNT pairs of the classes a, b, c; texts have two to four tokens, pictures three."""

    image: Array
    text: Array
    image_tokens: Array
    text_tokens: list[Array]
    ids: list[str]
    labels: list[str]
    captions: list[str]
    splits: list[str]


def given(seed: int = 0) -> Given:
    """Random numbers, float32."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    return Given(
        image=drawn(COUNT, 5),
        text=drawn(COUNT, 4),
        image_tokens=drawn(COUNT, 3, 6),
        text_tokens=[drawn(2 + i % 3, 7) for i in range(COUNT)],
        ids=[f"item{i:02}" for i in range(COUNT)],
        labels=["abc"[i % 3] for i in range(COUNT)],
        captions=[f"caption {i}" for i in range(COUNT)],
        splits=["train" if i < COUNT // 2 else "test" for i in range(COUNT)],
    )


def flat(rows: list[Array]) -> tuple[Array, Array]:
    """Ragged rows one behind the other, and where each begins."""
    return np.concatenate(rows), np.cumsum([0, *map(len, rows)])


def arrays(g: Given) -> dict[str, Any]:
    """Everything by the names that params.yaml gives it, texts as numpy has them."""
    values, offsets = flat(g.text_tokens)
    return {
        "image": g.image,
        "text": g.text,
        "image_tokens": g.image_tokens,
        "text_tokens": values,
        "text_tokens_offsets": offsets,
        "id": np.array(g.ids),
        "label": np.array(g.labels),
        "caption": np.array(g.captions),
        "split": np.array(g.splits),
    }


def write_npz(folder: Path, g: Given) -> Path:
    np.savez(folder / "given.npz", **arrays(g))
    return folder / "given.npz"


def write_npy(folder: Path, g: Given) -> Path:
    place = folder / "given"
    place.mkdir()
    for name, array in arrays(g).items():
        np.save(place / f"{name}.npy", array)
    return place


def write_h5(folder: Path, g: Given) -> Path:
    with h5py.File(folder / "given.h5", "w") as file:
        for name, array in arrays(g).items():
            file[name] = array if array.dtype.kind != "U" else array.astype(h5py.string_dtype())
    return folder / "given.h5"


def write_parquet(folder: Path, g: Given) -> Path:
    columns = {
        "image": pa.array(g.image.tolist(), pa.list_(pa.float32())),
        "text": pa.array(g.text.tolist(), pa.list_(pa.float32(), 4)),
        "image_tokens": pa.array([row.tolist() for row in g.image_tokens], pa.list_(pa.list_(pa.float32()))),
        "text_tokens": pa.array([row.tolist() for row in g.text_tokens], pa.list_(pa.list_(pa.float32()))),
        **{"id": g.ids, "label": g.labels, "caption": g.captions, "split": g.splits},
    }
    pq.write_table(pa.table(columns), folder / "given.parquet")
    return folder / "given.parquet"


def write_mat(folder: Path, g: Given) -> Path:
    """MATLAB 5: ragged tokens as a cell array, words as cell arrays of text."""
    cells = np.empty(COUNT, object)
    cells[:] = g.text_tokens
    words = {k: np.array(v, object) for k, v in (("id", g.ids), ("label", g.labels), ("caption", g.captions))}
    numbers = {"image": g.image, "text": g.text, "image_tokens": g.image_tokens, "text_tokens": cells}
    io.savemat(folder / "given.mat", {**numbers, **words, "split": np.array(g.splits, object)})
    return folder / "given.mat"


def write_mat73(folder: Path, g: Given) -> Path:
    """MATLAB 7.3: HDF5 with the axes the other way round, and cells as references."""
    path = folder / "given.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name in ("image", "text", "image_tokens"):
            file[name] = getattr(g, name).T
        _put_cells(file, "text_tokens", [row.T for row in g.text_tokens], "single")
        for name, words in (("id", g.ids), ("label", g.labels), ("caption", g.captions), ("split", g.splits)):
            _put_cells(file, name, [np.array([[ord(c)] for c in word], np.uint16) for word in words], "char")
    return path


def _put_cells(file: h5py.File, name: str, cells: list[Array], kind: str) -> None:
    references = []
    for number, cell in enumerate(cells):
        made = file.create_dataset(f"#refs#/{name}{number}", data=cell)
        made.attrs["MATLAB_class"] = np.bytes_(kind)
        references.append(made.ref)
    file.create_dataset(name, data=np.array([references], dtype=h5py.ref_dtype))
    file[name].attrs["MATLAB_class"] = np.bytes_("cell")


def write_clip_retrieval(folder: Path, g: Given, parts: int = 2, extra: dict[str, list[str]] | None = None) -> Path:
    """The folder that clip-retrieval writes: numbered parts of both arrays, and of their metadata."""
    place = folder / "given"
    bounds = np.linspace(0, len(g.ids), parts + 1).astype(int)
    columns = {"image_path": [f"/pictures/{name}" for name in g.ids], "caption": g.captions, **(extra or {})}
    for name in ("img_emb", "text_emb", "metadata"):
        (place / name).mkdir(parents=True)
    for part, (lo, hi) in enumerate(itertools.pairwise(bounds)):
        np.save(place / f"img_emb/img_emb_{part}.npy", g.image[lo:hi])
        np.save(place / f"text_emb/text_emb_{part}.npy", g.text[lo:hi])
        table = pa.table({name: column[lo:hi] for name, column in columns.items()})
        pq.write_table(table, place / f"metadata/metadata_{part}.parquet")
    return place


WRITERS: dict[str, Callable[[Path, Given], Path]] = {
    "npz": write_npz,
    "npy": write_npy,
    "h5": write_h5,
    "parquet": write_parquet,
    "mat": write_mat,
    "mat73": write_mat73,
}
FLAT_MAT = {"image": ["image"], "text": ["text"], "lists": [], "categories": "categories.list"}


def section(path: Path | None, **changes: Any) -> FeaturesSection:
    """The shipped section with another path, the column `split`, variables of a .mat file by their plain names."""
    plain = {"path": None if path is None else str(path), "split": "split", "mat": FLAT_MAT}
    return FeaturesSection.model_validate({**SHIPPED, **plain, **changes})


def without_tokens(g: Given) -> Given:
    """The same, to be written where tokens have no place."""
    return replace(g, text_tokens=[], image_tokens=np.empty((0, 0, 0), np.float32))
