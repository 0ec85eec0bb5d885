"""The guided minute: it runs to its end, aside of everything else, and goes on where it was."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from pipeline.commands import demo
from pipeline.commands.options import gather
from pipeline.params import load_params
from proof.checkout import ROOT, pipeline
from tests.pipeline.prompt import typed

FEW = ["ingest.max_per_class=4", "split.shots=[1]", "split.seeds=1", "evaluate.draws=100", "train.align.dims=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a person has set other values, and has results."""
    here = tmp_path_factory.mktemp("demo") / "here"
    (here / "runs/results").mkdir(parents=True)
    (here / "runs/results/report.html").write_text("mine")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (here / "params.yaml").write_text(text.replace("dataset: openmoji ", "dataset: pascal ", 1))
    return here


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo as it is, with a third of its pictures."""
    monkeypatch.setattr(demo, "gather", partial(gather, assign=FEW))
    monkeypatch.setattr(demo, "SHOTS", 1)


def state(folder: Path) -> dict[str, int]:
    """Every file outside the demo's own folder, the locks and the report aside, with its time."""
    files = (path for path in folder.rglob("*") if path.is_file() and not {"demo", "locks"} & set(path.parts))
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def test_the_demo_ends_with_the_path_of_its_report_and_touches_nothing_else(folder: Path) -> None:
    before = state(folder)
    done = typed(folder, "demo")
    assert done.returncode == 0, done.stderr
    report = Path(done.stdout.splitlines()[-1])
    assert report == folder / "runs/demo/results/report.html"
    assert report.stat().st_size > 10_000
    assert (folder / "runs/demo/found.html").is_file()
    assert re.findall(r"^(\d/5)  ", done.stderr, re.MULTILINE) == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert "scm (names)" in done.stdout
    after = state(folder)
    assert before.items() <= after.items()
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"data"}


def test_again_it_computes_nothing_and_nothing_of_it_is_unused(folder: Path) -> None:
    before = state(folder)
    done = typed(folder, "demo")
    assert done.returncode == 0, done.stderr
    assert state(folder) == before
    assert typed(folder, "clean").stdout.split() == ["nothing", "there", "yet"]
    shutil.rmtree(folder / "runs/demo")
    assert "heads" in typed(folder, "clean").stdout


def test_what_the_demo_sets_are_keys_and_values_of_params() -> None:
    params = load_params(ROOT / "params.yaml", [ROOT / "pipeline/demo.yaml"], [])
    assert (params.dataset, params.encoder, params.split.seeds) == ("openmoji", "lite0-minilm", 3)
    assert 5 in params.split.shots


def test_outside_a_checkout_one_line_says_so(tmp_path: Path) -> None:
    done = pipeline(tmp_path, "demo")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no params.yaml here or above" in done.stderr
