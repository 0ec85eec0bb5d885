"""`python -m bench [NAME ...]`: measure all, or the modules named, and write the pages that tell of it.

Writes results/bench.json, docs/benchmarks.md and docs/scale.md; what was not measured now stays as results/bench.json
has it. Exits with 1, naming the rows, where a ratio is below its promise, with 2 for a name that is none.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from bench import scale
from bench.row import Row
from cache.errors import UsageError, nearest
from cache.files import read_json, write_bytes, write_json

COMPARISONS = ("em", "retrieval", "reads", "opening", "extraction", "recipe")  # their rows() are ratios
FACTS = ("precision", "scale")  # their facts() are figures of their own
ROOT = Path(__file__).resolve().parent.parent

HEAD = """# Benchmarks

Made by `make bench`; do not edit. Every row compares two ways in one run on
one machine: quote the ratios, not the times.

Machine: {cores} cores ({chip}), Python {python}, torch {torch}, {threads} threads, {device}.

| what | ours | instead | ratio | promised | instead is | note |
| --- | ---: | ---: | ---: | ---: | --- | --- |
"""

NO_BF16 = """
No rows of stage one in bf16: this processor has no instructions for it (avx512_bf16, amx_bf16), and emulates it slowly.
"""

PRECISION = """
## What precision changes

lite0-minilm with its own weights on drawings of the embedded dataset and their names, against fp32 and float32 storage.
Cosines with the vector as it was, least and mean; the largest change of a vector relative to its length; the share of
items whose nearest neighbour, and of ten nearest neighbours that, stayed (by cosine; for tokens between the means of
items). Pooled vectors are stored as float32 always.

| what | of | items | vectors | least cosine | mean cosine | largest change | nearest | ten nearest |
| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |
"""


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cores": os.cpu_count(),
        "chip": chip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
    }


def chip() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def line(row: Row) -> str:
    """One row of the table."""
    figures = f"{row.ours:.3g} {row.unit} | {row.theirs:.3g} {row.unit} | {row.ratio:.2f} | {row.promised:g}"
    return f"| {row.name} | {figures} | {row.against} | {row.note} |\n"


def changes(told: dict[str, Any]) -> str:
    """What one precision did to one side: a line for pooled vectors, where they changed, and one for tokens."""
    if "fault" in told:
        return f"| {told['what']} | {told['fault']} |\n"
    head = f"| {told['what']} | {told['side']} | {told['items']} "
    return "".join(f"{head}| {which} | {_figures(told[which])} |\n" for which in ("pooled", "tokens") if told[which])


def _figures(change: dict[str, float]) -> str:
    cosines = f"{change['least']:.7f} | {change['mean']:.7f}"
    return f"{cosines} | {change['step']:.1e} | {change['nearest']:.1%} | {change['ten']:.1%}"


def broken(rows: list[Row]) -> list[str]:
    """The rows whose ratio is below what was promised, as lines for people."""
    return [f"{row.name}: ratio {row.ratio:.3g}, promised {row.promised:g}" for row in rows if row.ratio < row.promised]


def main(names: Sequence[str]) -> int:
    """Measure a module at a time, and write the files; the exit code."""
    if unknown := [name for name in names if name not in (*COMPARISONS, *FACTS)]:
        print(f"bench: no comparison '{unknown[0]}'{nearest(unknown[0], [*COMPARISONS, *FACTS])}", file=sys.stderr)
        return UsageError.exit_code
    results = measured(names or (*COMPARISONS, *FACTS), before() if names else {"rows": [], "facts": {}})
    write_json(ROOT / "results" / "bench.json", results)
    write_pages(results)
    faults = broken([_row(row) for row in results["rows"]])
    for told in faults:
        print(told, file=sys.stderr)
    return 1 if faults else 0


def before() -> dict[str, Any]:
    """What the last run left behind."""
    path = ROOT / "results" / "bench.json"
    return {"rows": [], "facts": {}, **(read_json(path) if path.exists() else {})}


def measured(names: Sequence[str], results: dict[str, Any]) -> dict[str, Any]:
    """The results with those of some modules made anew."""
    rows = {name: [row for row in results["rows"] if row.get("module") == name] for name in COMPARISONS}
    facts = dict(results["facts"])
    for name in names:
        module = importlib.import_module(f"bench.{name}")
        if name in FACTS:
            facts[name] = module.facts()
            continue
        rows[name] = [{"module": name, **asdict(row)} for row in module.rows()]
        print("".join(line(_row(row)) for row in rows[name]), end="", flush=True)
    return {"machine": machine(), "rows": [row for own in rows.values() for row in own], "facts": facts}


def _row(told: dict[str, Any]) -> Row:
    return Row(**{field.name: told[field.name] for field in fields(Row)})


def write_pages(results: dict[str, Any]) -> None:
    """docs/benchmarks.md and docs/scale.md, of the results alone."""
    rows = [_row(row) for row in results["rows"]]
    page = HEAD.format(**results["machine"]) + "".join(map(line, rows))
    recipe = [row["name"] for row in results["rows"] if row["module"] == "recipe"]
    if recipe and not any("bf16" in name for name in recipe):
        page += NO_BF16
    if told := results["facts"].get("precision"):
        page += PRECISION + "".join(map(changes, told))
    write_bytes(ROOT / "docs" / "benchmarks.md", page.encode())
    write_bytes(ROOT / "docs" / "scale.md", scale.page(results).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
