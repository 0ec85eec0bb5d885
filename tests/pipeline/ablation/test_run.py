"""`ablate` from the prompt: it writes its files and nothing else, and goes on from what stands in the store."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from cache.scores import read_scores
from pipeline.ablation import cost, method_cost
from pipeline.ablation.experiment import FOLDER, read_experiment
from pipeline.ablation.files import read_rows
from pipeline.ablation.pages import page
from pipeline.ablation.sequences import PlantSection, planted_file
from proof.checkout import ROOT, set_params
from tests.pipeline.prompt import typed

PLANT = {"kind": "order", "classes": 6, "items": 8, "frames": 3, "width": 8, "noise": 0.5, "place": 0.0}
TINY = """
experiment:
  question: What is K worth?
  paper: nothing
  axis: K
  reference: [gap]
  beside: [mask_density]
  runs:
    - {name: K=1, params: {mixture: {components: 1}}}
    - {name: K=2, against: K=1, params: {mixture: {components: 2}}}
split: {shots: [0, 2, 9], seeds: 2}
evaluate: {galleries: [target], draws: 100}
train:
  methods: [gap, gcrdp]
  variants: []
  gap: {steps: 2, batch: 8}
  gcrdp: {steps: 2, batch: 8}
"""
HERE = ("--dataset", "features", "--encoder", "imported")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Planted sequences as imported features, and an experiment on them."""
    here = tmp_path_factory.mktemp("ablate") / "here"
    (here / FOLDER).mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", here)
    (here / FOLDER / "tiny.yaml").write_text(TINY)
    path = planted_file(here / "data", PlantSection.model_validate({**PLANT, "shuffled": False}))
    set_params(here, ingest__features__path=str(path.relative_to(here)), ingest__features__aligned=True)
    return here


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "results").rglob("*") if path.is_file()}


def heads(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (folder / "data/store/heads").rglob("*.safetensors")}


def test_features_that_are_not_there_are_named_with_the_command_that_makes_them(folder: Path) -> None:
    done = typed(folder, "ablate", "tiny", *HERE)
    assert done.returncode == 1
    assert "run python -m pipeline extract --dataset features" in done.stderr
    assert not (folder / "results").exists()


@pytest.fixture(scope="module")
def first(folder: Path) -> dict[str, bytes]:
    """The files of the first run."""
    imported = typed(folder, "extract", *HERE)
    assert imported.returncode == 0, imported.stderr
    done = typed(folder, "ablate", "tiny", *HERE)
    assert done.returncode == 0, done.stderr
    return files(folder)


def test_a_table_a_plot_and_an_answer_are_all_that_is_written(folder: Path, first: dict[str, bytes]) -> None:
    assert sorted(first) == ["features.csv", "features.md", "features.png", "features.svg"]
    assert {path.name for path in folder.iterdir()} == {"ablations", "data", "params.yaml", "results", "runs"}
    assert (folder / "runs/ablations/tiny/features/K=2/results/scores.parquet").is_file()


def test_text_and_table_cannot_part(folder: Path, first: dict[str, bytes]) -> None:
    rows = read_rows(folder / "results/ablations/tiny/features.csv")
    assert page(read_experiment(folder, "tiny").section, "features", rows).encode() == first["features.md"]


@pytest.mark.usefixtures("first")
def test_every_row_is_what_its_run_scored(folder: Path) -> None:
    rows = read_rows(folder / "results/ablations/tiny/features.csv")
    assert {(row["method"], row["value"], row["shots"]) for row in rows} == {
        (method, value, shots) for method in ("gap", "gcrdp") for value in ("K=1", "K=2") for shots in (0, 2)
    }  # 9 shots are more than the smallest class has
    for row in rows:
        table = read_scores(folder / f"runs/ablations/tiny/features/{row['run']}/results/scores.parquet")
        for column, value in (("metric", "mAP"), ("direction", "mean"), *((c, row[c]) for c in ("method", "shots"))):
            table = table.filter(pc.equal(table[column], value))
        assert pc.mean(table["value"]).as_py() == pytest.approx(row["mAP"], abs=1e-6)
        assert (row["mask_density"] is None) == (row["method"] == "gap")
    against = [(row["row"], row["against"]) for row in rows if row["shots"] == 2 and row["run"] == "K=2"]
    assert against == [("gap, K=2", "gap, K=1"), ("gcrdp, K=2", "gap, K=2"), ("gcrdp, K=2", "gcrdp, K=1")]


def test_a_second_run_trains_nothing_and_says_the_same(folder: Path, first: dict[str, bytes]) -> None:
    before = heads(folder)
    assert typed(folder, "ablate", "tiny", *HERE).returncode == 0
    assert (files(folder), heads(folder)) == (first, before)


@pytest.mark.usefixtures("first")
def test_what_dvc_runs_is_the_same(folder: Path, first: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "ablate@0")
    done = typed(folder, "ablate", "tiny", *HERE)
    assert done.returncode == 0, done.stderr
    assert files(folder) == first
    assert not (folder / "data/heads").exists()


@pytest.mark.usefixtures("first")
def test_what_experiments_made_counts_as_used(folder: Path) -> None:
    before = heads(folder)
    assert typed(folder, "clean", "--unused").returncode == 0
    assert heads(folder) == before


LOST = """
experiment:
  question: What does the encoder decide?
  paper: nothing
  axis: encoder
  extracts: true
  runs:
    - {name: here}
    - {name: gone, params: {ingest: {features: {path: nowhere.npz}}}}
split: {shots: [0], seeds: 1}
evaluate: {galleries: [target], draws: 100}
train: {methods: [clip], variants: []}
"""


@pytest.mark.usefixtures("first")
def test_a_run_that_cannot_be_made_is_told_of_and_the_others_go_on(folder: Path) -> None:
    (folder / FOLDER / "lost.yaml").write_text(LOST)
    done = typed(folder, "ablate", "lost", *HERE)
    assert done.returncode == 0, done.stderr
    assert "warning: gone: not run here (" in done.stderr
    rows = read_rows(folder / "results/ablations/lost/features.csv")
    assert [(row["run"], row["mAP"] is None) for row in rows] == [("here", False), ("gone", True)]
    assert rows[1]["note"].startswith("gone: features: nowhere.npz is missing; set ingest.features.path to what holds")
    assert rows[1]["note"].endswith("; then 'python -m pipeline ablate lost --dataset features' goes on")


FRAMES = """
experiment:
  question: What does order count for?
  paper: nothing
  axis: sequences
  extracts: true
  runs:
    - {name: frames, frames: kept}
    - {name: "frames, shuffled", against: frames, frames: shuffled}
    - name: planted
      plant: {kind: order, classes: 4, items: 4, frames: 3, width: 8, noise: 0.5, place: 0.0, shuffled: false}
split: {shots: [0], seeds: 1}
evaluate: {galleries: [target], draws: 100}
train: {methods: [clip], variants: []}
"""


@pytest.mark.usefixtures("first")
def test_imported_frames_are_compared_with_themselves_in_an_order_of_chance(folder: Path) -> None:
    (folder / FOLDER / "frames.yaml").write_text(FRAMES)
    done = typed(folder, "ablate", "frames", *HERE)
    assert done.returncode == 0, done.stderr
    assert "frames, shuffled is the same as frames" in done.stderr  # of means alone: they know no order
    assert [row["run"] for row in read_rows(folder / "results/ablations/frames/features.csv")] == [
        "frames",
        "frames, shuffled",
    ]
    [kept], [shuffled] = folder.glob("data/order-*.npz"), folder.glob("runs/ablations/planted/order-*-shuffled-*.npz")
    before, after = np.load(kept), np.load(shuffled)
    assert set(before.files) == set(after.files)
    offsets = before["text_tokens_offsets"]
    moved = 0
    for a, b in itertools.pairwise(offsets):
        one, other = before["text_tokens"][a:b], after["text_tokens"][a:b]
        assert {tuple(frame) for frame in one} == {tuple(frame) for frame in other}
        moved += not np.array_equal(one, other)
    assert moved > 0.9 * len(before["id"])
    assert np.array_equal(before["image"], after["image"])


COST = """
experiment:
  question: What does EM cost?
  paper: nothing
  axis: fit
  kind: cost
  reference: [K=2]
  cost: {repeats: 1, items: 8, iterations: 4, tolerance: 1.0e-3}
  runs:
    - {name: K=2, params: {mixture: {components: 2}}}
split: {shots: [2], seeds: 1}
evaluate: {galleries: [target], draws: 100}
train: {methods: [gap], variants: [], gap: {steps: 2, batch: 8}}
"""


@pytest.mark.usefixtures("first")
def test_a_table_of_costs_has_mixtures_and_methods(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / FOLDER / "cost.yaml").write_text(COST)
    monkeypatch.setattr(cost, "apart", cost.measured)  # a process each, whose start takes seconds, is tried by people
    monkeypatch.setattr(method_cost, "apart", method_cost.measured)
    done = typed(folder, "ablate", "cost", *HERE)
    assert done.returncode == 0, done.stderr
    rows = read_rows(folder / "results/ablations/cost/features.csv")
    assert [(row["run"], row["modality"]) for row in rows] == [
        *(("pooling", kind) for kind in ("pictures", "texts")),
        *(("K=2", kind) for kind in ("pictures", "texts")),
        *(("gap", kind) for kind in ("fit", "scoring")),
    ]
    assert all(row["seconds"] > 0 and row["gflop"] > 0 for row in rows)
    assert rows[4]["gflop"] == pytest.approx(rows[4]["gflop_counted"], rel=0.02)
    assert 0 <= rows[2]["collapsed"] <= 1 < rows[2]["iterations"] <= 5
    table = (folder / "results/ablations/cost/features.md").read_text()
    assert "| gap | scoring | 12 |" in table


@pytest.mark.parametrize("value", ["split.protocol=classic", "split.halves=2"])
def test_an_experiment_keeps_to_one_class_split_of_retrieval(folder: Path, value: str) -> None:
    done = typed(folder, "ablate", "tiny", *HERE, "-S", value)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("tiny: compares retrieval on one class split; set split.protocol to")
