"""Where things lie: inputs and the store under one home, ledgers and results under the working folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cache.errors import MissingError

# Folders of runs/ for what these commands make: what `train` made for all stays.
SEARCH, DEMO, SEVERAL = "search", "demo", "classify"


@dataclass(frozen=True)
class Places:
    """The folders of one run.

    `root` holds params.yaml; `home` is what relative inputs and the store resolve against: it differs from `root`
    in a temporary DVC experiment, whose copy sees tracked files only. Under DVC artefacts go to the paths that
    dvc.yaml names, at the prompt to runs/, so that a command never dirties the pipeline.
    """

    root: Path
    home: Path
    store: Path
    stage: str | None  # the DVC stage that is running
    aside: str = ""  # a folder of runs/ for what a command makes for itself alone; it reads what stands elsewhere, too

    @property
    def under_dvc(self) -> bool:
        """Whether artefacts are those of dvc.yaml: not what a command makes aside, even where DVC runs it."""
        return self.stage is not None and not self.aside

    def inside(self, path: str) -> Path:
        """An input path of params.yaml, resolved against home."""
        return (self.home / Path(path).expanduser()).resolve()

    def from_home(self, path: str | Path) -> str:
        """An input path as params.yaml would have it: from home on where it lies there, else absolute."""
        home = self.home.absolute()
        full = home / Path(path).expanduser()
        return full.relative_to(home).as_posix() if full.is_relative_to(home) else full.as_posix()

    def to_write(self, artefact: str) -> Path:
        """Where this run writes an artefact, named as in `manifests/openmoji.parquet` or `results/scores.parquet`."""
        return self._tracked(artefact) if self.under_dvc else self.root / "runs" / self.aside / artefact

    def to_read(self, artefact: str) -> list[Path]:
        """Where an artefact may stand, best first."""
        tracked = self._tracked(artefact)
        if self.under_dvc:
            return [tracked]
        aside = [self.root / "runs" / self.aside / artefact] if self.aside else []
        return [*aside, self.root / "runs" / artefact, tracked]

    def _tracked(self, artefact: str) -> Path:
        results = artefact.startswith("results/")
        return self.root / artefact if results else self.root / "data" / artefact


def find_root(start: Path) -> Path:
    """The nearest folder, from `start` upwards, that has a params.yaml."""
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file():
            return folder
    raise MissingError(f"{start}: no params.yaml here or above; run the command inside a checkout of this project")


def find_home(root: Path, environ: Mapping[str, str]) -> Path:
    """$PIPELINE_HOME, else $DVC_ROOT (the main checkout, also in temporary experiments), else the checkout."""
    named = environ.get("PIPELINE_HOME") or environ.get("DVC_ROOT")
    return Path(named).expanduser().resolve() if named else root


def find_places(root: Path, store: str, environ: Mapping[str, str] | None = None) -> Places:
    """The places of this process, from the folder of params.yaml and the environment."""
    environ = os.environ if environ is None else environ
    home = find_home(root, environ)
    return Places(root, home, (home / Path(store).expanduser()).resolve(), environ.get("DVC_STAGE"))
