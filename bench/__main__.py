"""`python -m bench [NAME ...]`: measure all, or the modules named, and write the pages that tell of it.

Writes docs/benchmarks.json, and of it docs/benchmarks.md and docs/scale.md; what is not measured now stays as it is
there. Exits with 1, naming the rows, where a ratio is below its promise, with 2 for a name that is none.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import scale
from bench.figures import Figures, Machine, machines_of, read_figures, row_of, with_fact, with_rows
from bench.machine import machine
from bench.row import Row
from cache.errors import UsageError, nearest
from cache.files import write_bytes, write_json

# The rows() of these are ratios.
COMPARISONS = (
    "em",
    "retrieval",
    "training",
    "reads",
    "opening",
    "ingesting",
    "searching",
    "extraction",
    "recipe",
    "repro",
    "gpu",
)
FACTS = ("precision", "scale", "doubling")  # their facts() are figures of their own
ROOT = Path(__file__).resolve().parent.parent

HEAD = """# Benchmarks

Made by `make bench` from [benchmarks.json](benchmarks.json); do not edit. Every row compares two ways in one run on
one machine: quote the ratios, not the times.

Machines:

{machines}
| what | on | ours | instead | ratio | promised | instead is | note |
| --- | --- | ---: | ---: | ---: | ---: | --- | --- |
"""

MACHINE = "{number}. {cores} cores ({chip}), Python {python}, torch {torch}, {threads} threads, {device}\n"

NO_BF16 = """
No rows of stage one in bf16: this processor has no instructions for it (avx512_bf16, amx_bf16), and emulates it slowly.
"""

NO_GPU = """
No rows of a GPU: no GPU was at hand. `python -m bench gpu` adds them where there is one.
"""

PRECISION = """
## What precision changes

lite0-minilm with its own weights on drawings of the embedded dataset and their names, against fp32 and float32 storage.
Cosines with the vector as it was, least and mean; the largest change of a vector relative to its length; the share of
items whose nearest neighbour, and of ten nearest neighbours that, stayed (by cosine; for tokens between the means of
items). Pooled vectors are stored as float32 always. On the cpu of machine {number}.

| what | of | items | vectors | least cosine | mean cosine | largest change | nearest | ten nearest |
| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |
"""

DOUBLING = """
## What doubling costs

Seconds for the sizes named, each twice the one before, all else as in its first size; `growth` is what each doubling
multiplied the time by: 2 is in proportion. On the cpu of machine {number}.

| what | grows | sizes | seconds | growth | why not in proportion |
| --- | --- | --- | --- | --- | --- |
"""


def line(row: Row, number: int) -> str:
    """One row of the table, taken on the machine of a number."""
    promised = f"{row.promised:g}" if row.promised else "nothing"
    figures = f"{row.ours:.3g} {row.unit} | {row.theirs:.3g} {row.unit} | {row.ratio:.2f} | {promised}"
    return f"| {row.name} | {row.device} of {number} | {figures} | {row.against} | {row.note} |\n"


def changes(told: dict[str, Any]) -> str:
    """What one precision did to one side: a line for pooled vectors, where they changed, and one for tokens."""
    if "fault" in told:
        return f"| {told['what']} | {told['fault']} |\n"
    head = f"| {told['what']} | {told['side']} | {told['items']} "
    return "".join(f"{head}| {which} | {_figures(told[which])} |\n" for which in ("pooled", "tokens") if told[which])


def _figures(change: dict[str, float]) -> str:
    cosines = f"{change['least']:.7f} | {change['mean']:.7f}"
    return f"{cosines} | {change['step']:.1e} | {change['nearest']:.1%} | {change['ten']:.1%}"


def doubled(told: dict[str, Any]) -> str:
    """What doubling one dimension of some work cost, as a line."""
    sizes = ", ".join(f"{size:,}" for size in told["sizes"])
    took = ", ".join(f"{seconds:.3g}" for seconds in told["seconds"])
    pairs = zip(told["seconds"], told["seconds"][1:], strict=False)
    growth = ", ".join(f"{after / before:.1f}" for before, after in pairs)
    return f"| {told['what']} | {told['by']} | {sizes} | {took} | {growth} | {told['why']} |\n"


def broken(rows: list[Row]) -> list[str]:
    """The rows whose ratio is below what was promised, as lines for people."""
    return [f"{row.name}: ratio {row.ratio:.3g}, promised {row.promised:g}" for row in rows if row.ratio < row.promised]


def main(names: Sequence[str]) -> int:
    """Measure a module at a time, and write the files after each; the exit code."""
    modules = (*COMPARISONS, *FACTS)
    if unknown := [name for name in names if name not in modules]:
        print(f"bench: no comparison '{unknown[0]}'{nearest(unknown[0], modules)}", file=sys.stderr)
        return UsageError.exit_code
    figures, on, rows = read_figures(ROOT / "docs" / "benchmarks.json", modules), machine(), []
    for name in names or modules:
        figures, made = measured(name, figures, on)
        write_pages(figures)
        rows += made
    faults = broken(rows)
    for told in faults:
        print(told, file=sys.stderr)
    return 1 if faults else 0


def measured(name: str, figures: Figures, on: Machine) -> tuple[Figures, list[Row]]:
    """The figures with those of a module made anew, and its rows."""
    module = importlib.import_module(f"bench.{name}")
    if name in FACTS:
        return with_fact(figures, name, module.facts(), on), []
    rows: list[Row] = module.rows()
    print("".join(f"{row.name}: {row.ratio:.3f}; {row.note}\n" for row in rows), end="", flush=True)
    return with_rows(figures, name, rows, on), rows


def write_pages(figures: Figures) -> None:
    """docs/benchmarks.json, and of it alone docs/benchmarks.md and docs/scale.md."""
    rows = sorted(figures["rows"], key=lambda row: COMPARISONS.index(row["module"]))
    figures = {**figures, "rows": rows}
    write_json(ROOT / "docs" / "benchmarks.json", figures)
    write_bytes(ROOT / "docs" / "benchmarks.md", page(figures).encode())
    write_bytes(ROOT / "docs" / "scale.md", scale.page(figures).encode())


def page(figures: Figures) -> str:
    """docs/benchmarks.md."""
    machines, rows = machines_of(figures), figures["rows"]
    about = "".join(MACHINE.format(number=number, **each) for number, each in enumerate(machines, 1))
    text = HEAD.format(machines=about)
    text += "".join(line(row_of(row), 1 + machines.index(row["machine"])) for row in rows)
    recipe = [row["name"] for row in rows if row["module"] == "recipe"]
    if recipe and not any("bf16" in name for name in recipe):
        text += NO_BF16
    if all(row["device"] == "cpu" for row in rows):
        text += NO_GPU
    if told := figures["facts"].get("precision"):
        text += PRECISION.format(number=1 + machines.index(told["machine"])) + "".join(map(changes, told["told"]))
    if told := figures["facts"].get("doubling"):
        text += DOUBLING.format(number=1 + machines.index(told["machine"])) + "".join(map(doubled, told["told"]))
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
