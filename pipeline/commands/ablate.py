"""One command for all experiments of ablations/experiments.

What is slow to import is imported inside the command: `--help` does not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import PANEL, takes_setting
from pipeline.setting import Setting
from stages.progress import reporter

if TYPE_CHECKING:  # pydantic is slow to import, and --help does not need it
    from pipeline.params import Layer

Name = Annotated[str, typer.Argument(metavar="NAME", help="An experiment: a file of ablations/experiments.")]
Full = Annotated[bool, typer.Option("--full", help="The whole grid of the experiment.")]
Dataset = Annotated[
    str | None,
    typer.Option("--dataset", help="The dataset, or an overlay of ablations/overlays.", rich_help_panel=PANEL),
]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel="Stages")(takes_setting(ablate, layers))


def ablate(setting: Setting, name: Name, full: Full = False, dataset: Dataset = None) -> None:
    """An experiment: its table, its plot and the sentences that its figures allow, under results/ablations."""
    from pipeline.ablation.experiment import PLANTED, read_experiment
    from pipeline.ablation.files import read_rows
    from pipeline.ablation.pages import answer
    from pipeline.ablation.run import run_experiment

    experiment = read_experiment(setting.places.root, name)
    planted = experiment.planted and setting.params.dataset != "features"
    paths = run_experiment(setting, experiment, PLANTED if planted else dataset or named(setting), full)
    for line in answer(experiment.section, read_rows(paths[0])):
        reporter().say(line)
    for path in paths:
        print(path)


def named(setting: Setting) -> str:
    """What the files are called where --dataset says nothing: as in the scores."""
    ingest = setting.params.ingest
    return {"table": ingest.table.name, "features": ingest.features.name}.get(
        setting.params.dataset, setting.params.dataset
    )


def layers(name: str, full: bool, dataset: str | None) -> list[Layer]:
    """The dataset that was named, behind it what the experiment changes."""
    from pipeline.ablation.experiment import dataset_layer, read_experiment
    from pipeline.places import find_root

    root = find_root(Path.cwd())
    return [*dataset_layer(root, dataset), *read_experiment(root, name).layers(full)]
