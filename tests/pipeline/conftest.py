"""What several tests of the prompt share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from proof.checkout import ROOT, pipeline, set_params


@pytest.fixture(scope="session")
def openmoji_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded default at 20 pictures a class, extracted: 620 pairs of 31 classes."""
    here = tmp_path_factory.mktemp("openmoji") / "once"
    here.mkdir()
    shutil.copy(ROOT / "params.yaml", here)
    small = {"ingest__max_per_class": 20, "train__selection__draws": 1, "train__align__dims": 64}
    set_params(here, **small, split__shots=[0, 5], split__seeds=1, train__methods=["scm"], evaluate__draws=100)
    done = pipeline(here, "extract")
    assert done.returncode == 0, done.stderr
    return here


@pytest.fixture(scope="module")  # what a file trains there must not change what another one finds
def small_openmoji(openmoji_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `openmoji_once` for the tests of a file."""
    return Path(shutil.copytree(openmoji_once, tmp_path_factory.mktemp("openmoji") / "here"))
