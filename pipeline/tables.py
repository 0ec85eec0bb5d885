"""Artefacts as rows for a table: one dict a row, figures in per cent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from cache.files import read_json, read_table
from cache.store import folder_of, read_ledger
from pipeline.params import leaves
from stages.choices import Choice, choices_of
from stages.naming import row_label
from stages.report.words import shots
from stages.stats import support_interval

Row = dict[str, str | int | float | None]
Contender = tuple[str, str, str, bool, int]  # method, variant, access, names, shots
Cell = dict[tuple[str, str], dict[int, list[float]]]  # metric and direction -> seed -> a figure a class split

METRICS = ("mAP", "macro-mAP", "P@1", "recall@1", "recall@5", "recall@10")


def folder_bytes(folder: Path) -> int:
    """The bytes of the files in a folder; 0 where it is gone."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0


def sized(count: float) -> str:
    """Bytes for a person: three digits and a unit, 1 kB being 1000 bytes."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 99.5 or unit == "bytes" else f"{count:.3g} {unit}"


def cache_rows(path: Path, store: Path) -> list[Row]:
    """The feature caches that a ledger names."""
    ledger = read_ledger(path)
    return [
        {
            "rows": str(key.about["rows"]),
            "count": int(key.about["count"]),
            "failed": int(key.about["failed"]),
            "MB": folder_bytes(folder_of(store, key.kind, key.key)) / 1e6,
            "encoder": str(ledger.about["label"]),
            "key": key.key,
        }
        for key in ledger.keys
    ]


def episode_rows(path: Path) -> list[Row]:
    """How many items have which role, a row an episode shape (shots), over its seeds and halves."""
    table = read_table(path, ["half", "shots", "seed", "role"])
    counts = Counter(zip(table["shots"].to_pylist(), table["role"].to_pylist(), strict=True))
    draws = {
        shots: _draws(table.filter(pc.equal(table["shots"], shots))) for shots in pc.unique(table["shots"]).to_pylist()
    }
    roles = sorted({role for _, role in counts})
    return [
        {"shots": shots, "episodes": n, **{role: counts[shots, role] // n for role in roles}}
        for shots, n in sorted(draws.items())
    ]


def _draws(table: Any) -> int:
    """How many episodes some rows belong to."""
    return len(set(zip(table["half"].to_pylist(), table["seed"].to_pylist(), strict=True)))


def mixture_rows(path: Path) -> list[Row]:
    """The diagnostics of the mixtures that a ledger names, a row a modality."""
    ledger = read_ledger(path)
    return [
        {"modality": modality, "K": int(key.about["components"]), "covariance": str(key.about["covariance"])}
        | {name: _flat(value) for name, value in found.items()}
        | {"key": key.key}
        for key in ledger.keys
        for modality, found in key.about["diagnostics"].items()
    ]


def _flat(value: Any) -> str | int | float | None:
    """A value of a ledger as one cell; a list of figures to three digits."""
    if isinstance(value, list):
        return ", ".join(f"{figure:.3g}" if isinstance(figure, float) else str(figure) for figure in value)
    return value if isinstance(value, str | int | None) else f"{value:.3g}"


def score_rows(path: Path, lacking: Iterable[Mapping[str, Any]] = ()) -> list[Row]:
    """Methods by shots on the main gallery, in per cent: the mean of both directions, each direction, its kin.

    The main gallery is `target`, or the first there is. `±` is half the 95 % support interval of mAP: over seeds,
    each the mean of its class splits; empty for one seed. Rows that saw more of the target items stand behind the
    others of their shot count, each access by itself.

    lacking: the rows that failed, as metrics.json lists them. Each stands in the table, without a figure where all of
    it failed, and every row then says how many `draws` it has `of` how many: of one that failed each seed of a class
    split counts.
    """
    table = read_table(path)
    table = table.filter(pc.equal(table["gallery"], main_gallery(table)))
    found: dict[Contender, Cell] = {}
    for row in table.to_pylist():
        cell = found.setdefault(_contender(row), {})
        seeds = cell.setdefault((row["metric"], row["direction"]), {})
        seeds.setdefault(row["seed"], []).append(100 * row["value"])
    part = {_contender(entry): (entry["draws"], entry["of"]) for entry in lacking}
    named = ["chance", *table["method"].to_pylist(), *(key[0] for key in part)]
    order = {name: index for index, name in enumerate(dict.fromkeys(named))}
    keys = sorted({**found, **part}, key=lambda k: (k[4], k[2] != "inductive", k[2], order[k[0]], k[1]))
    rows = [_score_row(key, found.get(key, {})) for key in keys]
    if not part:
        return rows
    drawn = [part.get(key, (row["draws"], row["draws"])) for key, row in zip(keys, rows, strict=True)]
    return [{**row, "draws": draws, "of": of} for row, (draws, of) in zip(rows, drawn, strict=True)]


def lacking_rows(metrics: Path) -> list[dict[str, Any]]:
    """What metrics.json lists of rows that failed."""
    found: list[dict[str, Any]] = read_json(metrics).get("lacking", [])
    return found


def _contender(row: Mapping[str, Any]) -> Contender:
    return row["method"], row["variant"], row["access"], row["names"], row["shots"]


def main_gallery(table: Any) -> str:
    """The gallery that a table of scores is about: `target`, or the first there is."""
    names = table["gallery"].unique().to_pylist()
    return "target" if "target" in names else str(names[0])


def _score_row(key: Contender, cell: Cell) -> Row:
    """One row of the table of scores, without figures where there are none."""
    values = {name: [float(np.mean(own)) for own in seeds.values()] for name, seeds in cell.items()}
    method, variant, access, names, shots = key
    main = values.get(("mAP", "mean"), [])
    label = row_label(method, variant, access, names)
    row: Row = {"shots": shots, "method": label, "mAP": _mean(main), "±": half_width(main)}
    row |= {label: _mean(values.get(("mAP", way))) for label, way in (("I2T", "i2t"), ("T2I", "t2i"))}
    row |= {metric: _mean(values.get((metric, "mean"))) for metric in METRICS[1:]}
    return row | {"draws": len(main)}


def _mean(values: list[float] | None) -> float | None:
    return float(np.mean(values)) if values else None


def half_width(values: list[float]) -> float | None:
    """Half the 95 % support interval of a mean over draws; None for one draw, or none."""
    interval = support_interval(values)
    return None if interval is None else (interval[1] - interval[0]) / 2


def chosen_lines(heads: Path) -> list[str]:
    """What of the values that a key of params.yaml lists was chosen, as a heads ledger says it: a line a row of the
    tables, or several where shot counts choose differently."""
    found = choices_of([key.about for key in read_ledger(heads).of("selections")])
    return [f"{_where(choice)}: {_told(choice)} chosen on source classes" for choice in found]


def _where(choice: Choice) -> str:
    return f"{row_label(choice.method, choice.variant, 'inductive', False)} at {shots(choice.shots)}"


def _told(choice: Choice) -> str:
    return ", ".join(f"{key} {value}" for key, value in choice.values.items())


def entry_rows(store: Path, datasets: Mapping[str, str]) -> list[Row]:
    """Every key in the store: kind, what it holds, of which dataset where a ledger of features says so, files, size."""
    folders = sorted(path for path in store.glob("*/*") if (path / "cache.json").is_file())
    return [entry_row(folder, datasets.get(folder.name, "")) for folder in folders]


def entry_row(folder: Path, dataset: str) -> Row:
    """One key of the store as a row."""
    about = read_json(folder / "cache.json")
    content = about.get("content", {})
    what = [content.get(name) for name in ("encoder", "rows", "method", "captions")]
    return {
        "kind": folder.parent.name,
        "key": folder.name,
        "what": " ".join(str(part) for part in what if part is not None),
        "dataset": dataset,
        "files": len(about["files"]),
        "MB": folder_bytes(folder) / 1e6,
    }


def about_rows(folder: Path, more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Everything that a key of the store says of itself, a row a value as JSON has it, behind what else is known."""
    about = {**more, **read_json(folder / "cache.json"), "folder": str(folder), "bytes": folder_bytes(folder)}
    return [{"what": name, "value": value} for name, value in leaves(about)]


def as_texts(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Such rows for a person: lists as their members, what is not there as nothing, figures as they are."""
    return [{"what": row["what"], "value": _as_text(row["value"])} for row in rows]


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
