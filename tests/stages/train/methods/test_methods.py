from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from cache.errors import UsageError
from stages.items import MODALITIES, unit
from stages.train.episode import TrainEpisode
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


WIDE = {
    "gap": build.gap_section(batch=128, hidden=192),
    "gcrdp": build.gcrdp_section(batch=128),
    "flexclip": build.flexclip_section(
        batch=128, hidden=192, generated=60, generator=build.generator_section(batch=128, hidden=192)
    ),
    "cmm": build.cmm_section(batch=128),
    "scm": build.scm_section(generated=60, generator=build.generator_section(batch=128, hidden=192)),
}


def wide(width: int = 256) -> TrainEpisode:
    """An episode whose products are worth more than one thread."""
    rng, episode = np.random.default_rng(0), build.fit_on()
    given = episode.items
    assert given.views is not None

    def drawn(*shape: int) -> np.ndarray:
        return unit(rng.standard_normal(shape).astype(np.float32))

    items = replace(
        given,
        pooled={m: drawn(len(given), width) for m in MODALITIES},
        views={m: drawn(*given.views[m].shape[:2], width) for m in MODALITIES},
        names={"joint": {name: drawn(width) for name in build.CLASSES}},
    )
    return replace(episode, items=items, unlabelled=items.take([]))


@pytest.mark.parametrize("name", sorted(WIDE))
def test_vectors_do_not_depend_on_how_many_threads_there_are(name):
    episode, before, found = wide(), torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        head = find(name).fit()(episode, WIDE[name], 0)
        torch.set_num_threads(1)
        found.append({m: head.vectors(episode.items, m, "target").values for m in MODALITIES})
    torch.set_num_threads(before)
    assert all(np.isfinite(values).all() for values in found[0].values())
    assert all(np.array_equal(found[0][m], found[1][m]) for m in MODALITIES)
