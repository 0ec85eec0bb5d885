"""`python -m proof`: break things many times over, write results/proof.json and docs/reliability.md.

`python -m proof flips kills` does these alone. Both files are written after each module, with what was done by then.
Exits with 1, naming the rows, where something did not hold each time.
"""

from __future__ import annotations

import importlib
import inspect
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.machine import machine
from cache.files import write_bytes, write_json
from proof.row import Proof

MODULES = ("kills", "dvc_kills", "commits", "flips")
LIBRARIES = ("torch", "open_clip_torch", "h5py", "pyarrow", "joblib", "dvc")
ROOT = Path(__file__).resolve().parent.parent

HEAD = """# Reliability

Made by `make proof`; do not edit. What was done to stage one, how often, and how
often it held. CI runs a tenth of each count on every change.

A kill is SIGKILL (`kill -9`) of a process at work: it cannot be caught, and nothing
is flushed, closed or cleaned up. Where the kills landed stands in the notes. The
machine itself stayed up: what outlives a power failure rests on fsync, which is called
before a file gets its name; no plug was pulled.

Machine: {cores} cores ({chip}), {system}, Python {python}, {libraries}.

| what | tried | held | note |
| --- | ---: | ---: | --- |
"""


def line(proof: Proof) -> str:
    """One row of the table."""
    return f"| {proof.what} | {proof.tried} | {proof.held} | {proof.note} |\n"


def page(about: dict[str, Any], proofs: list[Proof], how: dict[str, str]) -> str:
    """docs/reliability.md: the machine, the table, and how each module went about it, in its own words."""
    libraries = ", ".join(f"{name} {number}" for name, number in about["libraries"].items())
    head = HEAD.format(**{**about, "libraries": libraries}) + "".join(map(line, proofs))
    return head + "\n## How\n" + "".join(f"\n`proof/{name}.py`: {said}\n" for name, said in how.items())


def broken(proofs: list[Proof]) -> list[str]:
    """What did not hold each time, or was never tried, as lines for people."""
    return [f"{p.what}: held {p.held} of {p.tried} times" for p in proofs if p.held < p.tried or not p.tried]


def main(names: Sequence[str]) -> int:
    """Run the modules one after the other, all or those named, and write both files; the exit code."""
    proofs: list[Proof] = []
    how: dict[str, str] = {}
    if unknown := set(names) - set(MODULES):
        print(f"no proof '{min(unknown)}'; there are {', '.join(MODULES)}", file=sys.stderr)
        return 2
    for name in names or MODULES:
        module = importlib.import_module(f"proof.{name}")
        how[name] = inspect.cleandoc(module.__doc__ or "")
        for proof in module.prove(1.0):
            proofs.append(proof)
            print(line(proof), end="", flush=True)
        write(proofs, how)
    for told in broken(proofs):
        print(told, file=sys.stderr)
    return 1 if broken(proofs) else 0


def write(proofs: list[Proof], how: dict[str, str]) -> None:
    """Both files, of what was done so far."""
    about = {**machine(), "system": platform.platform(), "libraries": {name: version(name) for name in LIBRARIES}}
    write_json(ROOT / "results" / "proof.json", {"machine": about, "proofs": [asdict(proof) for proof in proofs]})
    write_bytes(ROOT / "docs" / "reliability.md", page(about, proofs, how).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
