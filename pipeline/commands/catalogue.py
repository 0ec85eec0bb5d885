"""What there is: datasets, encoders, methods."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.commands.options import AsJson, takes_setting
from pipeline.console import show
from pipeline.setting import Setting
from stages.extract.encoders.registry import ENCODERS
from stages.train.methods import METHODS, find


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (datasets, encoders, methods):
        app.command(rich_help_panel="What there is")(takes_setting(command))


def datasets(
    setting: Setting,
    names: Annotated[list[str] | None, typer.Argument(help="Some of them, and all that there is to know.")] = None,
    as_json: AsJson = False,
) -> None:
    """The datasets: how large, on what terms, whether on disk, and what to do next: where to get it, what to run."""
    from pipeline.on_disk import about, dataset_rows, in_table, steps

    rows = dataset_rows(names or [], setting)
    show(rows if as_json else in_table(rows), as_json)
    if not as_json:
        root = setting.params.ingest.root
        for line in (line for row in rows for line in about(row)) if names else steps(rows, root):
            print(line)


def encoders(setting: Setting, as_json: AsJson = False) -> None:  # noqa: ARG001
    """The forms of encoder names."""
    show([{"name": e.form, "about": e.about, "weights": e.weights} for e in ENCODERS], as_json)


def methods(setting: Setting, as_json: AsJson = False) -> None:
    """The methods: where each is from, what it is trained on, its parameters in params.yaml, what an episode costs."""
    from pipeline.own_methods import own_among

    section, own = setting.params.train, [find(name) for name in own_among(setting.params)]
    rows = [
        {
            "name": m.name,
            "on": "yes" if m.name in section.methods or m in own else "no",
            "trained on": m.trained_on,
            "source": m.source,
            "cost": m.cost,
            "about": m.about,
            "parameters": ", ".join(section.model_dump(by_alias=True).get(m.name, {})),
        }
        for m in (*METHODS.values(), *own)
    ]
    show(rows, as_json)
