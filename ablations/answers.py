"""`python -m ablations.answers [NAME ...]`: run experiments on the datasets that the documents quote, and write
docs/ablations.md.

core20 needs the research-only photos; `--render` only writes the page from the committed docs/ablations.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from cache.files import write_bytes
from pipeline.ablation.experiment import (
    FOLDER,
    PLANTED,
    Experiment,
    Fact,
    dataset_layer,
    names_in,
    read_experiment,
)
from pipeline.ablation.files import read_rows
from pipeline.ablation.pages import answer, lost
from pipeline.ablation.run import run_experiment
from pipeline.commands.options import gather
from pipeline.console import ConsoleReporter
from stages.progress import report_to, reporter
from stages.report.words import percent

ROOT = Path(__file__).resolve().parent.parent
KEPT, PAGE = ROOT / "docs" / "ablations", ROOT / "docs" / "ablations.md"
DATASETS = ("openmoji", "core20")
Row = Mapping[str, Any]

INTRO = f"""# Questions that the papers left open

Made by `python -m ablations.answers`; do not edit. Tables: docs/ablations/*/*.csv. An experiment is a file of
`{FOLDER}`; `python -m pipeline ablate NAME --dataset D` runs it on any dataset, and
`dvc repro ablations/dvc.yaml` all of them.

The sentences are made from the tables by rule. mAP in per cent, gallery `target`, parity protocol, 5 draws of the
supports; differences in points of mAP, paired over the same draws and queries, with the *class* interval (bootstrap
over target classes, then queries). Two rows are told apart where that interval leaves out 0 and p, corrected by Holm
over all comparisons of the table at that shot count, is below 0.05; they are the same where the interval is within a
hundredth of a point of 0. In the figures the thin line is the class interval,
the thick one the *support* interval (over draws). Trained heads use the values of params.yaml unless a row says
otherwise.

core20 is a check of the pipeline, no published benchmark: 96 % of its captions name the class of the photograph.
"""


def measure(name: str, dataset: str) -> None:
    """Run an experiment on one dataset and keep its table and its figure."""
    experiment = read_experiment(ROOT, name)
    reporter().say(f"-- {name}, {dataset}")
    setting = gather(behind=[*dataset_layer(ROOT, dataset), *experiment.layers(False)])
    for path in run_experiment(setting, experiment, dataset, full=False):
        if path.suffix in (".csv", ".svg"):
            (KEPT / name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, KEPT / name / path.name)


def datasets_of(experiment: Experiment) -> tuple[str, ...]:
    """What an experiment is run on."""
    return (PLANTED,) if experiment.planted else DATASETS


def render() -> str:
    """The page as the committed tables make it."""
    return INTRO + "".join(part(read_experiment(ROOT, name)) for name in names_in(ROOT))


def part(experiment: Experiment) -> str:
    """All on one experiment: what was asked and said, and the answer on each dataset."""
    head = f"\n## {experiment.name}: {experiment.section.question}\n\nSaid of it: {experiment.section.paper}\n"
    tables = {name: KEPT / experiment.name / f"{name}.csv" for name in datasets_of(experiment)}
    found = {name: read_rows(path) for name, path in tables.items() if path.is_file()}
    told = [on_dataset(experiment, name, rows) for name, rows in found.items()]
    gone = [
        f"\nNot measured on {name}: `{command(experiment, name)}` does it.\n" for name in tables if name not in found
    ]
    return "".join([head, *told, facts(experiment, found), *gone])


def command(experiment: Experiment, dataset: str) -> str:
    """What makes a table that is not there."""
    flag = "" if dataset == PLANTED else f" --dataset {dataset}"
    return f"python -m pipeline ablate {experiment.name}{flag}"


def on_dataset(experiment: Experiment, dataset: str, rows: Sequence[Row]) -> str:
    """The sentences of one table, its figure, and what could not be run."""
    name, told = experiment.name, " ".join(answer(experiment.section, rows))
    gone = "".join(f"- {line}\n" for line in lost(rows))
    figure = f"![{name} on {dataset}: the table in docs/ablations/{name}/{dataset}.csv](ablations/{name}/{dataset}.svg)"
    return f"\nOn `{dataset}`: {told}\n\n{figure}\n" + (f"\nNot run:\n\n{gone}" if gone else "")


def facts(experiment: Experiment, found: Mapping[str, Sequence[Row]]) -> str:
    """A table of datasets, where the experiment tells of them: the best row beside how complex each is."""
    known = [name for name in experiment.section.beside if name in get_args(Fact)]
    return "\n" + "\n".join(_fact_lines(known, found)) + "\n" if known and found else ""


def _fact_lines(known: Sequence[str], found: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    yield f"| dataset | highest | mAP | {' | '.join(name.replace('_', ' ') for name in known)} |"
    yield "| --- | --- |" + " ---: |" * (1 + len(known))
    for dataset, rows in found.items():
        best = max((row for row in rows if not row["note"]), key=lambda row: float(row["mAP"]))
        figures = " | ".join(f"{best[name]:.3g}" for name in known)
        yield f"| {dataset} | {best['row']} | {percent(best['mAP'])} | {figures} |"


def main() -> None:
    """Run the experiments named, all of them where none is, unless --render; then write the page."""
    report_to(ConsoleReporter())
    asked = [name for name in sys.argv[1:] if not name.startswith("--")] or names_in(ROOT)
    if "--render" not in sys.argv:
        for name in asked:
            for dataset in datasets_of(read_experiment(ROOT, name)):
                measure(name, dataset)
    write_bytes(PAGE, render().encode())


if __name__ == "__main__":
    main()
