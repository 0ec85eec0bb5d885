"""import-features: what others computed becomes the same manifest and the same caches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import AsJson, takes_setting
from pipeline.commands.stages import extract
from pipeline.setting import Setting
from stages.progress import reporter

if TYPE_CHECKING:  # pydantic is slow to import, and --help does not need it
    from pipeline.places import Places

HELP = "A .mat, .npz, .h5 or .parquet file, a folder of .npy files, or the folder that clip-retrieval writes."
Source = Annotated[Path, typer.Argument(metavar="PATH", help=HELP)]
Name = Annotated[str | None, typer.Option("--name", help="What the manifest and the scores call it.")]
Aligned = Annotated[bool | None, typer.Option("--aligned/--not-aligned", help="Both kinds of vectors share a space.")]
SplitList = Annotated[
    list[Path] | None,
    typer.Option("--split-list", metavar="FILE", help="Ids of one split, its name beginning with train, val or test."),
]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("import-features", rich_help_panel="Stages")(takes_setting(import_features))


def import_features(
    setting: Setting,
    path: Source,
    name: Name = None,
    aligned: Aligned = None,
    split_list: SplitList = None,
    as_json: AsJson = False,
) -> None:
    """Features that others computed -> manifest and feature caches, as ingest and extract of --dataset features do."""
    from pipeline.params import override, validate

    lists = [_from_home(file, setting.places) for file in split_list or []]
    asked = {"path": _from_home(path, setting.places), "name": name, "aligned": aligned, "split_lists": lists or None}
    changes: list[tuple[str, Any]] = [(f"ingest.features.{k}", v) for k, v in asked.items() if v is not None]
    changes += [("dataset", "features"), ("encoder", "imported")]
    values = override(setting.params.model_dump(by_alias=True), changes, "import-features")
    here = replace(setting, params=validate(values, "import-features"), made={})
    extract(here, as_json)
    reporter().say(f"next: python -m pipeline {_next(here)}")


def _from_home(path: Path, places: Places) -> str:
    """A path given at the prompt, where it is relative to the working folder, as params.yaml would have it."""
    return places.from_home(path.expanduser().absolute())


def _next(setting: Setting) -> str:
    """The command that is of use now: `train`, or a card of the pictures' cache where there are no two classes."""
    from cache.manifest import read_manifest
    from cache.store import read_ledger
    from pipeline.wiring import require

    if len(read_manifest(require(setting, "ingest")).classes) < 2:
        return f"info {read_ledger(require(setting, 'extract')).find(rows='image').key}"
    return " ".join(["train", *_flags(setting), *_without_names(setting)])


def _flags(setting: Setting) -> list[str]:
    """The flags under which every other command works on the imported features."""
    from pipeline.wiring import changes

    return ["--dataset features --encoder imported", *changes(setting, ("ingest", "extract"))]


def _without_names(setting: Setting) -> list[str]:
    """The flags under which `train` asks for no vectors of class names, where a class has none: the methods that can do
    without, and they told to."""
    from cache.manifest import read_manifest
    from cache.store import read_ledger
    from pipeline.wiring import require
    from stages.train.methods import find

    vectors = read_ledger(require(setting, "extract")).find(rows="name").about["count"]
    section = setting.params.train
    own = {name: getattr(getattr(section, name, None), "names", None) for name in section.methods}
    able = [name for name, names in own.items() if names is not None or not find(name).uses_names]
    if vectors >= len(read_manifest(require(setting, "ingest")).classes) or not able:
        return []
    fewer = [] if able == section.methods else [f"--method {','.join(able)}"]
    return fewer + [f"-S train.{name}.names=false" for name in able if own[name]]
