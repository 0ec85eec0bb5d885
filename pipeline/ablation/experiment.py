"""An experiment is an overlay of params.yaml with one section more, `experiment`: what is asked, and of which runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from cache.errors import MissingError, ParamsError, UsageError, meant
from pipeline.ablation.sequences import PlantSection
from pipeline.params import EXPERIMENT, Layer, leaves, read_overlay, read_values
from stages.section import Section, said, twice

PLANTED = "planted"  # what a dataset of planted sequences is called
FOLDER, OVERLAYS = "ablations/experiments", "ablations/overlays"
Kind = Literal["retrieval", "cost"]
Curve = Literal["mask_density"]  # what training records, mean over its steps
Fact = Literal["class_count", "picture_dimension", "text_dimension", "picture_token_spread", "text_token_spread"]
BEFORE = "the shot count before"


class RunSection(Section):
    """One run of an experiment. name: its place on the axis, nothing for the run that the others vary; against: the run
    with which its rows are compared, too; params: what it changes of params.yaml; plant: the sequences that it is of,
    in place of a dataset; frames: of imported features alone, their tokens as they lie or in an order of chance."""

    name: str = ""
    against: str | None = None
    plant: PlantSection | None = None
    frames: Literal["kept", "shuffled"] | None = None
    params: dict[str, Any] = Field(default_factory=dict)


class CostSection(Section):
    """How the cost of EM is measured: the best of `repeats`; convergence on some `items` over so many iterations, to a
    gain below `tolerance` nats a token."""

    repeats: int = Field(ge=1)
    items: int = Field(ge=1)
    iterations: int = Field(ge=2)
    tolerance: float = Field(gt=0)


class FullSection(Section):
    """What `--full` adds: keys of params.yaml in place of the default ones, and runs behind the default ones."""

    params: dict[str, Any] = Field(default_factory=dict)
    runs: list[RunSection] = Field(default_factory=list)


class ExperimentSection(Section):
    """The section `experiment` of an overlay.

    question; paper: what the paper or its readers say; axis: what differs from row to row. Rows are compared with the
    first row of `reference` that their run has, with the same row of the run that theirs is `against`, and where
    `before`, with themselves at the shot count before. runs: those to make, none for one run of the overlay itself.
    beside: further figures of a row, or of the dataset. extracts: whether features are made where they are missing.
    kind: `retrieval` compares how well rows retrieve, `cost` what the mixtures of the runs cost, measured as `cost`
    says."""

    question: str
    paper: str
    axis: str
    kind: Kind = "retrieval"
    reference: list[str] = Field(default_factory=list)
    before: bool = False
    beside: list[Curve | Fact] = Field(default_factory=list)
    extracts: bool = False
    cost: CostSection | None = None
    runs: list[RunSection] = Field(default_factory=list)
    full: FullSection = FullSection()

    @model_validator(mode="after")
    def _cost_says_how(self) -> ExperimentSection:
        if (self.kind == "cost") != (self.cost is not None):
            raise ValueError("kind cost and a section cost go together; write both, or neither")
        return self

    @model_validator(mode="after")
    def _runs_are_told_apart(self) -> ExperimentSection:
        names = [run.name for run in (*self.runs, *self.full.runs)]
        if again := twice(names):
            raise ValueError(f"run '{again}' stands twice, name each run once")
        for run in (*self.runs, *self.full.runs):
            if run.against is not None and run.against not in names:
                raise ValueError(f"run '{run.name}' is against '{run.against}'; there are: {', '.join(names)}")
        return self


@dataclass(frozen=True)
class Experiment:
    """An experiment by its name: its section, and what else its overlay changes."""

    name: str
    section: ExperimentSection
    changes: Layer

    def layers(self, full: bool) -> list[Layer]:
        """What it changes of params.yaml, in order."""
        more = (list(leaves(self.section.full.params)), f"{self.name}.yaml: full")
        return [self.changes, more] if full else [self.changes]

    def runs(self, full: bool, imported: bool) -> list[RunSection]:
        """The runs to make, in order; one that changes nothing where the section names none. imported: whether the
        dataset is of imported features: where some runs are of frames these are made then, else the others."""
        named = [*self.section.runs, *(self.section.full.runs if full else [])]
        if any(run.frames for run in named):
            named = [run for run in named if (run.frames is not None) == imported]
        return named or [RunSection()]

    @property
    def planted(self) -> bool:
        """Whether it is of sequences that it plants, so that no dataset plays a part but imported features."""
        return all(run.plant is not None for run in self.runs(False, False))


def names_in(root: Path) -> list[str]:
    """The experiments of a checkout, sorted."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml"))


def read_experiment(root: Path, name: str) -> Experiment:
    """An experiment by its name; UsageError, with the names there are, for none, ParamsError for a wrong section."""
    path = root / FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = names_in(root)
        if not known:
            raise MissingError(f"{root / FOLDER}: holds no experiment; run the command in a checkout of this project")
        raise UsageError(f"no experiment '{name}'{meant(name, known)}; there are: {', '.join(known)}")
    return Experiment(name, _section(path), (read_overlay(path), path.name))


def _section(path: Path) -> ExperimentSection:
    values = read_values(path)
    if EXPERIMENT not in values:
        raise ParamsError(f"{path.name}: no section '{EXPERIMENT}'; it says what is asked, and of which runs")
    try:
        return ExperimentSection.model_validate(values[EXPERIMENT])
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join([EXPERIMENT, *map(str, fault["loc"])])
        raise ParamsError(f"{path.name}: {key}: {said(fault['msg'])}") from error


def dataset_layer(root: Path, dataset: str | None) -> Sequence[Layer]:
    """What --dataset stands for: an overlay of that name, which may say more of the data, else the dataset itself."""
    if dataset in (None, PLANTED):
        return []
    overlay, named = root / OVERLAYS / f"{dataset}.yaml", [("dataset", dataset)]
    if not overlay.is_file():
        return [(named, "--dataset")]
    own = read_overlay(overlay)
    return [(own if any(key == "dataset" for key, _ in own) else [*named, *own], overlay.name)]
