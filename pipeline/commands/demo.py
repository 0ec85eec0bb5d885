"""The guided minute: every stage on a few pictures of the embedded default, each step told of before it runs.

What is slow to import is imported inside the command: `--help` does not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands import stages
from pipeline.commands.options import gather
from pipeline.commands.search import search
from pipeline.setting import Setting
from stages.progress import reporter

QUERY, SHOTS = "a slice of fruit", 5

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel="Use")(demo)


@dataclass(frozen=True)
class Step:
    """One step: what happens, why, what a person would type for it, and the doing."""

    what: str
    why: str
    typed: str
    do: Callable[[Setting], object]


def demo(debug: Debug = False) -> None:  # noqa: ARG001 - read from sys.argv, before a command is known
    """A minute of everything on a few OpenMoji pictures, step by step; it ends with the path of a report.

    It writes under runs/demo, and features and heads into the store. Your own results stay as they are; stopped, it
    goes on where it was."""
    begun = time.monotonic()
    setting = _setting()
    steps = _steps(setting.places.root / "runs" / setting.places.aside / "found.html")
    for number, step in enumerate(steps, 1):
        reporter().say(f"\n{number}/{len(steps)}  {step.what}\n     {step.why}\n     By yourself: {step.typed}")
        step.do(setting)
    where = f"{setting.places.store} and runs/{setting.places.aside}"
    reporter().say(f"\nThat took {time.monotonic() - begun:.0f} s; again, it takes less. All of it is in {where}.")
    reporter().say("Next: docs/quickstart.md, with all pictures and every method, and then your own.")


def _setting() -> Setting:
    """params.yaml under the overlay of the demo, its artefacts in a folder of their own."""
    from pipeline.places import DEMO

    with resources.as_file(resources.files("pipeline").joinpath("demo.yaml")) as overlay:
        setting = gather(overlay=[overlay])
    return replace(setting, places=replace(setting.places, aside=DEMO))


def _steps(page: Path) -> tuple[Step, ...]:
    return (
        Step(
            "Pictures and texts become pairs",
            "OpenMoji pictures are drawn from a font: twelve of each of 31 classes, each with its name as text.",
            "python -m pipeline ingest",
            _ingest,
        ),
        Step(
            "Stage one: pairs become features, once",
            "Two small encoders turn each picture and each name into vectors, which stay in the store.",
            "python -m pipeline extract",
            stages.extract,
        ),
        Step(
            "Stage two: heads are trained and scored",
            "With 0, 1 and 5 labelled pairs of each class that is asked for: `cca` aligns the encoders, `scm` judges.",
            "python -m pipeline train",
            stages.train,
        ),
        Step(
            f"A search: pictures for '{QUERY}'",
            f"The same answer with the pictures: {page}",
            f'python -m pipeline search "{QUERY}" --page found.html',
            lambda setting: search(setting, QUERY, method="scm", shots=SHOTS, top=5, page=page),
        ),
        Step(
            "A report: what ran, who beats whom, curves, pictures",
            "One file that needs nothing beside it; open it in a browser.",
            "python -m pipeline report",
            stages.report,
        ),
    )


def _ingest(setting: Setting) -> None:
    from pipeline.wiring import require

    print(require(setting, "ingest"))
