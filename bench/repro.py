"""What `make repro` takes on a fresh copy of the tracked files, installation aside, and two parts of it alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import joblib

from bench.row import Row, seconds, within
from pipeline.commands.options import gather
from pipeline.wiring import STAGES
from stages.train.params import TrainParams
from stages.train.run import run

ROOT = Path(__file__).resolve().parent.parent
SECONDS = {"repro": 300.0, "selections": 60.0}
INSTALLED = "installed"  # stands in the copy for what make installs; the copy is run by the Python that runs this


def rows() -> list[Row]:
    """`make repro` as it is shipped, all selections of its run together, and its heads on two workers against one."""
    with tempfile.TemporaryDirectory() as name:
        folder = copy_tracked(Path(name) / "copy")
        took = seconds(lambda: make_repro(folder))
        return rows_of({"repro": took, **parts_of(folder)})


def rows_of(told: Mapping[str, float]) -> list[Row]:
    """The rows of what was measured: seconds of everything, and how many selections and heads they were."""
    heads, cores = int(told["heads"]), joblib.cpu_count()
    one, two = told["heads"] / told["one worker"], told["heads"] / told["two workers"]
    made = f"{int(told['made'])} selections, the items read once"
    notes = {"repro": "every stage, installation aside", "selections": made}
    limits = [
        within(name, told[part], SECONDS[part], notes[part])
        for name, part in (("make repro, a fresh copy", "repro"), ("make repro, all selections", "selections"))
    ]
    note = f"{heads} heads of the run of `make repro`, on {cores} cores"
    return [*limits, Row("heads, 2 workers", two, one, two / one, 0.0, "1 worker", unit="heads/s", note=note)]


def copy_tracked(folder: Path) -> Path:
    """A git repository in a new folder with every file that is tracked here, as it is here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def make_repro(folder: Path) -> None:
    """`make repro` in a copy, which takes the packages of this Python for installed."""
    (folder / INSTALLED).touch()
    _call(folder, "make", "repro", f"READY={INSTALLED}", f"VENV={sys.prefix}")


def parts_of(folder: Path) -> dict[str, float]:
    """What `stage_two` says of a copy in which features stand."""
    return dict(json.loads(_call(folder, sys.executable, "-m", "bench.repro")))


def _call(folder: Path, *command: str) -> str:
    """What a command in a folder prints, none of whose surroundings is of this checkout; it tells of errors itself."""
    ours = ("DVC_", "GIT_", "PIPELINE_", "PYTHONPATH", "MAKE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(command, cwd=folder, env=kept, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def stage_two() -> dict[str, float]:
    """Seconds of `train` in the checkout that is the working folder: of all selections while every head stands, and of
    all heads on one and on two workers while every selection does; and how many of both there are."""
    setting = gather()
    train = STAGES["train"]
    params: TrainParams = train.params(setting, train.stamp(setting))
    run(params)  # what `make repro` has made stands already
    return {
        "one worker": _anew(params, "heads", 1),
        "two workers": _anew(params, "heads", 2),
        "selections": _anew(params, "selections", params.section.workers),
        "heads": _count(params.store / "heads"),
        "made": _count(params.store / "selections"),
    }


def _anew(params: TrainParams, kind: str, workers: int | str) -> float:
    """Seconds of a run that finds nothing of a kind in the store."""
    shutil.rmtree(params.store / kind)
    section = params.section.model_copy(update={"workers": workers})
    return seconds(lambda: run(replace(params, section=section)))


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


if __name__ == "__main__":
    print(json.dumps(stage_two()))
