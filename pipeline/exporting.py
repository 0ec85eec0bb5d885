"""What leaves the project: the vectors of retrieval, a head as a file of its own, a model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment, StrictUndefined

from cache.errors import MissingError, UsageError
from cache.files import canonical, read_json, write_bytes, write_table, write_through
from cache.store import LedgerKey, read_ledger
from pipeline.trained import Trained, keep_head, key_of
from pipeline.wiring import STAGES, locate, require
from stages.heads.head import Vectors
from stages.ingest.datasets import find as find_dataset
from stages.items import MODALITIES, Array, Modality
from stages.report.words import between, percent
from stages.section import Gallery
from stages.train.methods import find as find_method

VECTORS, HEADS, CARDS = (".parquet", ".npy"), (".safetensors", ".onnx"), (".md",)


def require_place(target: Path, suffixes: tuple[str, ...], force: bool) -> None:
    """UsageError unless a file of one of these kinds can be put there: a new name, or with `force` any."""
    if target.suffix.lower() not in suffixes:
        raise UsageError(f"{target}: give it a name that ends in {' or '.join(suffixes)}")
    if target.is_dir():
        raise UsageError(f"{target}: is a folder; name a file")
    if target.exists() and not force:
        raise UsageError(f"{target}: is there already; give another name, or pass --force")
    if target.suffix.lower() == ".onnx":
        require_onnx()


def require_onnx() -> None:
    """MissingError where the library that writes ONNX is not installed."""
    try:
        import_module("onnx")
    except ImportError as error:
        raise MissingError("an .onnx file needs the extra `export`; run pip install '.[export]'") from error


@dataclass(frozen=True)
class _Shown:
    """The vectors of all items in one modality, a row a vector: ids (R,), view (R,) and values (R, d)."""

    modality: Modality
    ids: list[str]
    views: list[int]
    values: Array


def write_vectors(target: Path, trained: Trained, gallery: Gallery) -> int:
    """Every item's vectors in both modalities, as the head has them in a gallery; returns how many.

    Parquet: columns id, modality, view, vector. npy: a structured array with fields of these names, which numpy reads
    without pickle. An item has one vector, of view 0, unless the head compares several; the metadata of the Parquet
    file says how two items are matched."""
    match, shown = _shown(trained, gallery)
    if target.suffix.lower() == ".npy":
        rows = _structured(shown)
        write_through(target, lambda part: _save(part, rows))
        return len(rows)
    table = pa.concat_tables([_table(one) for one in shown])
    about = {"match": match, "gallery": gallery, "encoder": trained.items.encoder, "head": trained.source}
    write_table(target, table, {**about, "about": canonical(trained.head.about).decode()})
    return int(table.num_rows)


def _shown(trained: Trained, gallery: Gallery) -> tuple[str, list[_Shown]]:
    found = {m: trained.head.vectors(trained.items, m, gallery) for m in MODALITIES}
    return found["image"].match, [_rows(trained.items.ids, m, own) for m, own in found.items()]


def _rows(ids: list[str], modality: Modality, vectors: Vectors) -> _Shown:
    count, views, width = vectors.values.shape
    named = [name for name in ids for _ in range(views)]
    return _Shown(modality, named, list(range(views)) * count, vectors.values.reshape(count * views, width))


def _table(shown: _Shown) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(shown.values).ravel(), pa.float32())
    columns = {
        "id": pa.array(shown.ids, pa.string()),
        "modality": pa.repeat(pa.scalar(shown.modality), len(shown.ids)),
        "view": pa.array(shown.views, pa.int32()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, shown.values.shape[1]),
    }
    return pa.table(columns)


def _structured(shown: list[_Shown]) -> np.ndarray[Any, Any]:
    longest = max((len(name) for one in shown for name in one.ids), default=1)
    kinds = [("id", f"U{longest}"), ("modality", "U5"), ("view", "i4"), ("vector", "f4", shown[0].values.shape[1:])]
    rows = np.empty(sum(len(one.ids) for one in shown), kinds)
    start = 0
    for one in shown:
        own = rows[start : start + len(one.ids)]
        own["id"], own["modality"], own["view"], own["vector"] = one.ids, one.modality, one.views, one.values
        start += len(one.ids)
    return rows


def _save(part: Path, rows: np.ndarray[Any, Any]) -> None:
    with part.open("wb") as file:  # np.save would give a name without .npy that ending
        np.save(file, rows, allow_pickle=False)


def write_head(target: Path, trained: Trained, gallery: Gallery) -> None:
    """The head as safetensors, for `search --head`, or as ONNX, for use without this project (see heads.graph)."""
    if target.suffix.lower() != ".onnx":
        keep_head(target, trained.head)
        return
    from stages.heads.graph import onnx_of

    write_bytes(target, onnx_of(trained.head, trained.items, gallery).SerializeToString())


def write_card(target: Path, trained: Trained, method: str, shots: int) -> None:
    """A model card in Markdown: data, encoder, method, values, keys, figures with their intervals, terms."""
    metrics, name = _metrics(trained), find_method(method).name
    template = resources.files("pipeline").joinpath("card.md.j2").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    told = environment.from_string(template).render(
        **_who(trained, method),
        shots=shots,
        figures=list(_figures(metrics, name, shots)),
        seeds=metrics["counts"]["seeds"],
        queries=metrics["counts"]["queries"],
        chance=percent(metrics["mAP"]["chance"]),
        values=sorted((trained.head.about.get("params") or {}).items()),
        keys=_keys(trained, name, shots),
    )
    write_bytes(target, (told + "\n").encode())


def _metrics(trained: Trained) -> Mapping[str, Any]:
    """metrics.json of the setting that the head was trained under; made where it does not stand."""
    setting = trained.setting
    scores = locate(setting, "evaluate") or require(setting, "evaluate")
    names = STAGES["evaluate"].artefacts(setting)
    where = setting.places.to_read(names[0]).index(scores)
    found: dict[str, Any] = read_json(setting.places.to_read(names[2])[where])
    return found


def _who(trained: Trained, method: str) -> dict[str, Any]:
    about, manifest, episode = trained.head.about, trained.manifest, trained.episode()
    dataset = find_dataset(trained.setting.params.dataset)
    return {
        "dataset": manifest.name,
        "what": dataset.about,
        "items": len(trained.items),
        "licence": dataset.licence,
        "source": dataset.source,
        "encoder": trained.items.encoder,
        "aligned": about["aligned"],
        "method": find_method(method),
        "protocol": episode.protocol,
        "target": episode.target_classes,
        "other": episode.source_classes,
    }


def _figures(metrics: Mapping[str, Any], method: str, shots: int) -> Iterator[dict[str, str]]:
    """The main figure and what stands beside it, of the head's row."""
    wanted = {"method": method, "variant": "default", "shots": shots}
    for row in metrics["means"]:
        if wanted.items() <= row.items():
            yield {
                "label": row["label"],
                "value": percent(row["mAP"]),
                "support": between(row["support"], signed=False),
                "class": between(row["class"], signed=False),
                "recall": percent(row["recall@10"]) if "recall@10" in row else "",
            }


def _keys(trained: Trained, method: str, shots: int) -> dict[str, str]:
    ledger = read_ledger(require(trained.setting, "train"))
    head: LedgerKey | None = key_of(ledger, method, shots)
    kept = {f"features, {kind}": key for kind, key in trained.head.about["features"].items()}
    return {"head": head.key if head else "", "episode": trained.head.about.get("episode") or "", **kept}
