"""A small checkout of the project in a folder of its own, with a tiny table of pictures, to run commands in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("circle", "cross", "dot", "line")
ITEMS = 10  # of each class, unless more are asked for

TINY = {
    "dataset": "table",
    "ingest.table.path": "data/raw/tiny/pairs.csv",
    "split.shots": [0, 1],
    "split.seeds": 2,
    "train.gap.steps": 4,
    "train.gcrdp.steps": 4,
    "train.selection.draws": 1,
    "train.align.dims": 8,
    "train.cca.dims": 8,
    "evaluate.draws": 100,
}


def environment(**more: str) -> dict[str, str]:
    """The environment of a command: this Python first, one thread, nothing of the test run's own places."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "PIPELINE_HOME", "GIT_"))}
    who = {f"GIT_{role}_{what}": "tests" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | who | {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""} | more


def run(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; its text output is kept, whatever its exit code."""
    return subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True, check=False)


def pipeline(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipeline` in a folder."""
    return run(folder, "python", "-m", "pipeline", *arguments, **{"PYTHONPATH": str(ROOT)} | more)


def set_params(folder: Path, **changes: object) -> None:
    """Change keys (dots as double underscores) of a folder's params.yaml."""
    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        *sections, last = key.split("__")
        inner = values
        for section in sections:
            inner = inner[section]
        inner[last] = value
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def write_tiny(folder: Path, items: int) -> None:
    """A table of generated pictures of four classes, `items` each, with a caption each, under data/raw/tiny."""
    place = folder / "data/raw/tiny"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["id,image,text,label"]
    for index, label in enumerate(CLASSES):
        for item in range(items):
            pixels = np.full((64, 64, 3), 255, np.uint8)
            pixels[8 * index : 8 * index + 24, 8:56] = rng.integers(0, 255, 3)
            Image.fromarray(pixels).save(place / f"{label}{item}.png")
            lines.append(f"{label}{item},{label}{item}.png,a {label} number {item} in colour,{label}")
    (place / "pairs.csv").write_text("\n".join(lines) + "\n")


def make_folder(folder: Path) -> Path:
    """A folder with the tiny table and params.yaml, enough for commands at the prompt."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", folder)
    write_tiny(folder, ITEMS)
    set_params(folder, **{key.replace(".", "__"): value for key, value in TINY.items()})
    return folder


def make_extracted(folder: Path) -> Path:
    """Such a folder with the features of its table, extracted at the prompt."""
    done = pipeline(make_folder(folder), "extract")
    assert done.returncode == 0, done.stderr
    return folder


def make_checkout(folder: Path, items: int = ITEMS) -> Path:
    """A git checkout of the working tree's files with the tiny table, enough for DVC."""
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file() and not name.startswith(("tests/", "dvc.lock")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    write_tiny(folder, items)
    set_params(folder, **{key.replace(".", "__"): value for key, value in TINY.items()})
    for command in (("git", "init", "-q"), ("git", "add", "-A"), ("git", "commit", "-qm", "start")):
        assert run(folder, *command).returncode == 0
    return folder
