"""Where the files of methods of the user's own lie: made absolute, so that every stage and process finds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.params import Params
from stages.train.methods import OWN


def from_folder(name: str, folder: Path) -> str:
    """The name of a method; `FILE.py:CLASS` with a file relative to a folder as one that is relative to none."""
    found = OWN.fullmatch(name)
    if found is None:
        return name
    return f"{(folder / Path(found['file']).expanduser()).resolve()}:{found['name']}"


def placed(params: Params, home: Path) -> Params:
    """The parameters with the files of methods found from home on, as all paths of params.yaml are."""
    methods = [from_folder(name, home) for name in params.train.methods]
    train = params.train.model_copy(update={"methods": methods})
    search = params.search.model_copy(update={"method": from_folder(params.search.method, home)})
    return params.model_copy(update={"train": train, "search": search})


def own_among(params: Params) -> Iterator[str]:
    """The methods of params.yaml that are of the user's own."""
    return (name for name in params.train.methods if OWN.fullmatch(name))
