"""docs/ablations.md is what the committed tables make it; every experiment is a stage of ablations/dvc.yaml."""

from __future__ import annotations

import pytest
import yaml

from ablations.answers import DATASETS, INTRO, KEPT, PAGE, command, facts, part, render
from pipeline.ablation.experiment import PLANTED, read_experiment
from pipeline.ablation.experiment import names_in as names
from pipeline.ablation.files import read_rows
from pipeline.ablation.words import SAME, figure, verdict
from proof.checkout import ROOT

STAGES = yaml.safe_load((ROOT / "ablations/dvc.yaml").read_text(encoding="utf-8"))["stages"]


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text(encoding="utf-8") == render()


@pytest.mark.parametrize("name", names(ROOT))
def test_every_experiment_has_a_part_that_says_what_was_not_measured(name: str) -> None:
    experiment = read_experiment(ROOT, name)
    told = part(experiment)
    assert told in render()
    for dataset in (PLANTED,) if experiment.planted else DATASETS:
        kept = (KEPT / name / f"{dataset}.csv").is_file()
        assert (f"On `{dataset}`: " in told) == kept == (f"`{command(experiment, dataset)}`" not in told)


def test_every_difference_of_the_committed_tables_is_told() -> None:
    for table in sorted(KEPT.rglob("*.csv")):
        name = table.parent.name
        experiment = read_experiment(ROOT, name)
        told = part(experiment)
        assert table.with_suffix(".svg").read_text(encoding="utf-8").startswith("<?xml")
        assert f"(ablations/{name}/{table.stem}.svg)" in told
        for row in read_rows(table):
            if row.get("against") and verdict(row) != SAME:
                assert f"{row['row']} {verdict(row)} {row['against']}" in told
                assert figure(row) in told


def test_every_experiment_is_a_stage() -> None:
    matrix = STAGES["ablate"]["matrix"]
    planted = [name for name in names(ROOT) if read_experiment(ROOT, name).planted]
    assert sorted([*matrix["name"], *planted]) == names(ROOT)
    assert matrix["data"] == list(DATASETS)
    assert STAGES["planted"]["cmd"].split()[-1:] == planted


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_what_decides_it_and_makes_all_files(name: str) -> None:
    stage = STAGES[name]
    filled = {"${item.name}": "losses", "${item.data}": "openmoji"}
    texts = {kind: [_filled(text, filled) for text in stage[kind]] for kind in ("deps", "outs")}
    assert not [path for path in texts["deps"] if not (ROOT / path).exists()]
    assert {"stages", "cache", "pipeline/ablation"} <= set(texts["deps"])
    assert sorted(path.rpartition(".")[2] for path in texts["outs"]) == ["csv", "md", "png", "svg"]
    assert len({path.rpartition(".")[0] for path in texts["outs"]}) == 1


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def test_datasets_stand_beside_how_complex_they_are() -> None:
    experiment = read_experiment(ROOT, "components")
    row = {**dict.fromkeys(experiment.section.beside, 3.14159), "row": "K=3", "mAP": 0.5, "note": ""}
    lines = facts(experiment, {"openmoji": [row, {**row, "row": "K=1", "mAP": 0.4}]}).splitlines()
    assert lines[1].startswith("| dataset | highest | mAP | class count | picture dimension |")
    assert lines[3] == "| openmoji | K=3 | 50.0 | 3.14 | 3.14 | 3.14 | 3.14 | 3.14 |"
    assert facts(read_experiment(ROOT, "losses"), {"openmoji": [row]}) == ""


def test_the_intro_says_how_to_run_it() -> None:
    assert "python -m pipeline ablate NAME --dataset D" in INTRO
