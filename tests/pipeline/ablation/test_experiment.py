"""The shipped experiments are overlays that hold; a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import ParamsError, UsageError
from pipeline.ablation.experiment import FOLDER, dataset_layer, names_in, read_experiment
from pipeline.params import leaves, load_params, override, read_values, validate
from proof.checkout import ROOT
from stages.train.plan import rows_of

SHIPPED = ROOT / "params.yaml"


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", names_in(ROOT))
def test_every_run_of_a_shipped_experiment_is_valid(name: str, full: bool) -> None:
    experiment = read_experiment(ROOT, name)
    params = load_params(SHIPPED, [], [], behind=experiment.layers(full))
    for run in experiment.runs(full, imported=False):
        values = override(params.model_dump(by_alias=True), list(leaves(run.params)), name)
        assert rows_of(validate(values, name).train)


@pytest.mark.parametrize("name", names_in(ROOT))
def test_the_default_grid_is_5_shots_and_5_seeds_unless_shots_are_the_question(name: str) -> None:
    params = load_params(SHIPPED, [], [], behind=read_experiment(ROOT, name).layers(False))
    wanted = {"encoders": [0], "baselines": [0, 1, 3, 5], "shots": [0, 1, 2, 3, 5, 8, 16]}
    assert (params.split.shots, params.split.seeds) == (wanted.get(name, [5]), 5)
    assert (params.evaluate.galleries, params.train.admit) == (["target"], [])


def test_full_is_more_than_the_default() -> None:
    for name in names_in(ROOT):
        experiment = read_experiment(ROOT, name)
        small, large = (load_params(SHIPPED, [], [], behind=experiment.layers(full)) for full in (False, True))
        assert len(experiment.runs(True, False)) >= len(experiment.runs(False, False))
        assert large.split.seeds >= small.split.seeds


def test_an_unknown_experiment_lists_what_there_is() -> None:
    with pytest.raises(UsageError) as error:
        read_experiment(ROOT, "loses")
    assert str(error.value) == f"no experiment 'loses'; did you mean 'losses'?; there are: {', '.join(names_in(ROOT))}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split: {seeds: 1}", "wrong.yaml: no section 'experiment'"),
        ("experiment: {question: a, paper: b}", "wrong.yaml: experiment.axis: field required"),
        ("experiment: {question: a, paper: b, axis: c, runs: [{name: d}, {name: d}]}", "run 'd' stands twice"),
        ("experiment: {question: a, paper: b, axis: c, runs: [{name: d, against: e}]}", "'d' is against 'e'; there ar"),
    ],
)
def test_a_wrong_experiment_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "wrong.yaml").write_text(text)
    with pytest.raises(ParamsError, match=message):
        read_experiment(tmp_path, "wrong")


def test_a_dataset_may_be_an_overlay_that_says_more_of_the_data() -> None:
    for name, dataset in (("core20", "table"), ("openmoji", "openmoji"), ("wikipedia", "wikipedia")):
        assert load_params(SHIPPED, [], [], behind=dataset_layer(ROOT, name)).dataset == dataset
    assert dataset_layer(ROOT, None) == []


def test_what_a_person_sets_counts_for_more_than_the_experiment() -> None:
    layers = read_experiment(ROOT, "losses").layers(False)
    params = load_params(SHIPPED, [ROOT / "ablations/overlays/core20.yaml"], [("split.seeds", 2)], [], layers)
    assert (params.split.seeds, params.train.methods, params.dataset) == (2, ["gap", "gcrdp"], "table")
    assert read_values(SHIPPED)["split"]["seeds"] == 5


def test_runs_of_frames_are_of_imported_features_alone() -> None:
    time, losses = (read_experiment(ROOT, name) for name in ("time", "losses"))
    assert [run.name for run in time.runs(False, imported=True)] == ["frames", "frames, shuffled"]
    assert all(run.plant for run in time.runs(False, imported=False))
    assert losses.runs(False, imported=True) == losses.runs(False, imported=False)
    assert (time.planted, losses.planted) == (True, False)
