from __future__ import annotations

import subprocess
import sys

import pytest

from cache.errors import UsageError
from stages.train.methods import METHODS, find
from tests.conftest import ROOT
from tests.stages.train import build


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UsageError, match=r"^no method 'gcdrp'; did you mean 'gcrdp'\?$"):
        find("gcdrp")


def test_the_registry_does_not_import_torch():
    code = "import sys, stages.train.methods, stages.train.params; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_fits_and_answers_for_both_modalities(name):
    section = getattr(build.section([name]), name, None)
    head = find(name).fit()(build.fit_on(), section, 0)
    assert head.about["method"] == name
    for modality in ("image", "text"):
        assert len(head.vectors(build.items(), modality, "target").values) == len(build.IDS)


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if method.deterministic))
def test_a_deterministic_method_ignores_the_seed(name):
    section = getattr(build.section([name]), name, None)
    heads = [find(name).fit()(build.fit_on(), section, seed) for seed in (0, 1)]
    assert heads[0].about == heads[1].about
    assert all((heads[0].tensors()[part] == heads[1].tensors()[part]).all() for part in heads[0].tensors())
