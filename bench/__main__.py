"""`python -m bench`: run every comparison, write results/bench.json and docs/benchmarks.md.

Exits with 1, naming the rows, where a ratio is below its promise.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.row import Row
from cache.files import write_bytes, write_json

MODULES = ("em", "retrieval", "reads", "extraction")
ROOT = Path(__file__).resolve().parent.parent

HEAD = """# Benchmarks

Made by `make bench`; do not edit. Every row compares two ways in one run on
one machine: quote the ratios, not the times.

Machine: {cores} cores ({chip}), Python {python}, torch {torch}, {threads} threads, {device}.

| what | ours | instead | ratio | promised | instead is | note |
| --- | ---: | ---: | ---: | ---: | --- | --- |
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


def broken(rows: list[Row]) -> list[str]:
    """The rows whose ratio is below what was promised, as lines for people."""
    return [f"{row.name}: ratio {row.ratio:.3g}, promised {row.promised:g}" for row in rows if row.ratio < row.promised]


def main() -> int:
    """Run the comparisons, a module at a time, and write both files; the exit code."""
    rows: list[Row] = []
    for name in MODULES:
        for row in importlib.import_module(f"bench.{name}").rows():
            rows.append(row)
            print(line(row), end="", flush=True)
    about = machine()
    write_json(ROOT / "results" / "bench.json", {"machine": about, "rows": [asdict(row) for row in rows]})
    write_bytes(ROOT / "docs" / "benchmarks.md", (HEAD.format(**about) + "".join(map(line, rows))).encode())
    for told in broken(rows):
        print(told, file=sys.stderr)
    return 1 if broken(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
