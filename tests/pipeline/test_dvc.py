"""The pipeline under DVC: what a change reruns, experiments, and a store that DVC cannot see."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proof.checkout import make_checkout, pipeline, run, set_params


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_checkout(tmp_path_factory.mktemp("dvc") / "checkout")
    done = run(folder, "dvc", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def ran(output: str) -> list[str]:
    """The stages that DVC says it ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def features(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (folder / "data/store/features").rglob("*")}


def test_a_second_run_runs_no_stage(checkout: Path) -> None:
    assert ran(run(checkout, "dvc", "repro").stdout) == []
    assert "up to date" in run(checkout, "dvc", "status", "dvc.yaml").stdout


def test_every_artefact_stands_where_dvc_yaml_says(checkout: Path) -> None:
    for name in ("scores.parquet", "queries.parquet", "history.parquet", "metrics.json", "report.html", "table.md"):
        assert (checkout / "results" / name).stat().st_size > 0
    assert "mAP" in run(checkout, "dvc", "metrics", "show", "--json").stdout


def test_a_command_at_the_prompt_leaves_the_pipeline_up_to_date(checkout: Path) -> None:
    assert pipeline(checkout, "train", "--shots", "1", PYTHONPATH="").returncode == 0
    assert "up to date" in run(checkout, "dvc", "status", "dvc.yaml").stdout
    assert run(checkout, "git", "status", "--short", "--untracked-files=no").stdout == ""


def assert_compared(checkout: Path) -> None:
    """DVC says what changed since the commit, in figures and in curves: as the scores have it."""
    diff = json.loads(run(checkout, "dvc", "metrics", "diff", "--json").stdout)["results/metrics.json"]
    assert [name for name in diff if name.startswith("mAP.gcrdp.")]
    assert not [name for name in diff if name.startswith(("mAP.cca", "mAP.gap", "counts"))]
    plots = json.loads(run(checkout, "dvc", "plots", "diff", "--json").stdout)["data"]
    assert set(plots) == {"shots", "losses"}
    (shots,) = plots["shots"]
    now = [row for row in shots["content"]["data"]["values"] if row["rev"] == "workspace"]
    metrics = json.loads((checkout / "results/metrics.json").read_text())
    told = {(row["method"], row["shots"]): float(row["mAP"]) for row in now if row["method"] != "chance"}
    assert told == {(e["label"], str(e["shots"])): pytest.approx(e["mAP"]) for e in metrics["means"]}


def test_every_experiment_is_a_stage_beside_the_pipeline(checkout: Path) -> None:
    listed = run(checkout, "dvc", "stage", "list", "--name-only", "ablations/dvc.yaml")
    assert listed.returncode == 0, listed.stderr
    assert "ablations/dvc.yaml:ablate@losses-openmoji" in listed.stdout.split()
    asked = run(checkout, "dvc", "repro", "--dry", "ablations/dvc.yaml:ablate@losses-openmoji")
    assert ran(asked.stdout) == ["ablations/dvc.yaml:ablate@losses-openmoji"], asked.stderr


def test_theta_reruns_train_and_what_follows_alone(checkout: Path) -> None:
    before = features(checkout)
    for command in (("git", "add", "dvc.lock"), ("git", "commit", "-qm", "to compare with")):
        assert run(checkout, *command).returncode == 0
    set_params(checkout, train__gcrdp__theta=0.5)
    assert ran(run(checkout, "dvc", "repro").stdout) == ["train", "evaluate", "report"]
    assert features(checkout) == before
    assert_compared(checkout)
    set_params(checkout, train__gcrdp__theta=0.8)
    assert ran(run(checkout, "dvc", "repro").stdout) == []  # DVC's run cache brings the results back
    assert "up to date" in run(checkout, "dvc", "status", "dvc.yaml").stdout


def test_experiments_extract_nothing_again(checkout: Path) -> None:
    before = features(checkout)
    queued = run(checkout, "dvc", "exp", "run", "--queue", "-S", "train.gcrdp.theta=0.3")
    assert queued.returncode == 0, queued.stderr
    done = run(checkout, "dvc", "exp", "run", "--run-all")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = run(checkout, "dvc", "exp", "show", "--csv").stdout
    assert "0.3" in shown.replace("\n", ",").split(",")
    assert features(checkout) == before
    assert not list((checkout / ".dvc/tmp").rglob("data/store"))


def make(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Run a target of the Makefile with the environment that runs the tests: nothing is installed."""
    ready = f"{sys.prefix}/.ready"
    return run(folder, "make", "-o", ready, target, f"VENV={sys.prefix}")


def test_a_store_that_is_gone_is_made_again_with_the_same_scores(checkout: Path) -> None:
    scores = (checkout / "results/scores.parquet").read_bytes()
    shutil.rmtree(checkout / "data/store")
    assert pipeline(checkout, "verify", "--quick", PYTHONPATH="").returncode == 1
    done = make(checkout, "repro")
    assert done.returncode == 0, done.stderr
    assert (checkout / "results/scores.parquet").read_bytes() == scores
    assert ran(make(checkout, "repro").stdout) == []


def test_a_table_that_changed_is_seen_though_dvc_cannot_see_it(checkout: Path) -> None:
    table = checkout / "data/raw/tiny/pairs.csv"
    table.write_text(table.read_text().replace("a circle number 0 in colour", "another circle"))
    assert pipeline(checkout, "outdated", PYTHONPATH="").stdout == "ingest\n"
    done = make(checkout, "repro")
    assert done.returncode == 0, done.stderr
    assert ran(done.stdout)[:2] == ["ingest", "extract"]
    assert pipeline(checkout, "outdated", PYTHONPATH="").stdout == ""
