"""One command a stage. At the prompt each makes what cheap artefacts it needs; under DVC each runs alone.

What is slow to import is imported inside the commands: `--help` does not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import UsageError
from pipeline.commands.options import AsJson, takes_setting
from pipeline.console import show
from pipeline.setting import Setting
from stages.progress import reporter

CLASSES_TITLE = "top-1 in per cent over shots"
PROTOTYPES_TITLE = (
    "\nnames as prototypes before and after the gap is closed: the gap, and top-1 in per cent by prototypes alone"
)
Target = Annotated[
    list[str] | None,
    typer.Option("--target-dataset", help="Test the heads on it, too: a dataset, or blur, grey, sketch. With --task."),
]
PlotFile = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw the gap of --task classify, and what prototypes reach, as .png or .svg."),
]
SCORES_TITLE = "mAP and its kin in per cent, gallery `{}`"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (ingest, extract, split, mixture, train, evaluate, report):
        app.command(rich_help_panel="Stages")(takes_setting(command, several=command in (train, evaluate)))


def _make(setting: Setting, name: str) -> Path:
    """Make a stage's artefact in any case."""
    from pipeline.wiring import make

    return make(setting, name)


def _refresh(setting: Setting, name: str) -> Path:
    """Make a stage's artefact unless one with the present parameters stands; under DVC make it in any case."""
    from pipeline.wiring import locate

    found = None if setting.places.stage else locate(setting, name)
    if found:
        reporter().say(f"{name}: {found} stands")
    return found or _make(setting, name)


def ingest(setting: Setting) -> None:
    """A dataset on disk -> the manifest of its pairs."""
    print(_make(setting, "ingest"))


def extract(setting: Setting, as_json: AsJson = False) -> None:
    """Manifest + encoder -> patch, token and pooled features in the store (ingests first where need be)."""
    from pipeline.tables import cache_rows

    show(cache_rows(_refresh(setting, "extract"), setting.places.store), as_json)


def split(setting: Setting, as_json: AsJson = False) -> None:
    """Manifest + features -> episodes: who is source, support and test."""
    from pipeline.tables import episode_rows

    show(episode_rows(_refresh(setting, "split")), as_json)


def mixture(setting: Setting, as_json: AsJson = False) -> None:
    """Tokens -> the component views of every item."""
    from pipeline.tables import mixture_rows

    show(mixture_rows(_refresh(setting, "mixture")), as_json)


def train(setting: Setting, target_dataset: Target = None, plot: PlotFile = None, as_json: AsJson = False) -> None:
    """Episodes + features -> heads; at the prompt their scores are printed."""
    from cache.store import read_ledger
    from pipeline.several import settings_of
    from pipeline.tables import chosen_lines

    paths = [_refresh(own, "train") for own in settings_of(setting)]
    for line in (line for path in paths for line in chosen_lines(path)):
        reporter().say(line)
    some_stand = all(read_ledger(path).of("heads") for path in paths)  # else there is nothing to score
    if some_stand and setting.places.stage is None:
        evaluate(setting, target_dataset, plot, as_json)


def evaluate(setting: Setting, target_dataset: Target = None, plot: PlotFile = None, as_json: AsJson = False) -> None:
    """Heads + episodes -> scores."""
    from cache.episodes import CLASSIFY
    from pipeline.tables import lacking_rows, score_rows

    if setting.params.split.protocol == CLASSIFY or target_dataset or plot or setting.more:
        _classify(setting, target_dataset, plot, as_json)
        return
    galleries = setting.params.evaluate.galleries
    title = SCORES_TITLE.format("target" if "target" in galleries else galleries[0])
    scores = _refresh(setting, "evaluate")
    show(score_rows(scores, lacking_rows(scores.with_name("metrics.json"))), as_json, title)


def _classify(setting: Setting, targets: list[str] | None, plot: Path | None, as_json: bool) -> None:
    """Score the heads of each dataset, and on each other test set; show it all."""
    from pipeline.several import settings_of, write_joined

    if plot:
        _require_plot(setting, plot)
    each = settings_of(setting)
    scores = [_refresh(own, "evaluate") for own in each]
    if len(each) > 1:
        reporter().say(f"scores of all: {write_joined(setting.places, scores)}")
    _show_classes(setting, scores, [path for own in each for path in _shifted(own, targets)], as_json)
    if plot:
        _plot(plot, scores)


def _require_plot(setting: Setting, plot: Path) -> None:
    """UsageError where there would be nothing to draw, or no picture to draw it as."""
    from cache.episodes import CLASSIFY
    from pipeline.class_plot import require_picture

    if setting.params.split.protocol != CLASSIFY:
        raise UsageError("--plot is for classification; pass --task classify, too")
    require_picture(plot)


def _plot(target: Path, scores: Sequence[Path]) -> None:
    """Draw the prototypes of some datasets."""
    from pipeline.class_plot import write_plot
    from pipeline.class_table import dataset_of

    write_plot(target, {dataset_of(path): path.with_name("metrics.json") for path in scores})
    reporter().say(f"plot: {target}")


def _shifted(setting: Setting, targets: list[str] | None) -> list[Path]:
    """The scores of the same heads on other test sets."""
    from pipeline.shifting import scored_on

    return [scored_on(setting, name.strip()) for target in targets or [] for name in target.split(",")]


def _show_classes(setting: Setting, scores: Sequence[Path], shifted: Sequence[Path], as_json: bool) -> None:
    """The table of classification of some files of scores, and behind it of other test sets."""
    from pipeline import class_table as tables

    cells = tables.class_cells(scores)
    for line in tables.left_out(cells, setting.params.split.shots):
        reporter().warn(line)
    whole = tables.with_mean(cells) | tables.with_mean(tables.class_cells(shifted))
    show(tables.typed_rows(whole) if as_json else tables.shown_rows(whole), as_json, CLASSES_TITLE)
    told = [
        row for path in scores for row in tables.prototype_rows(path.with_name("metrics.json"), tables.dataset_of(path))
    ]
    if told and not as_json:
        show(told, as_json, PROTOTYPES_TITLE)


def report(setting: Setting) -> None:
    """Scores -> a table, plots, and one self-contained page."""
    print(_make(setting, "report"))
