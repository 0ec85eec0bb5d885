from __future__ import annotations

import numpy as np
import pytest

from stages.items import unit
from stages.train.align import fit_cca
from stages.train.methods import cca
from tests.stages.train import build


@pytest.mark.parametrize("aligned", [True, False])
def test_vectors_are_the_mapped_features_at_unit_length(aligned):
    episode, items = build.fit_on(aligned=aligned), build.items(aligned)
    before = unit if aligned else np.asarray
    maps = fit_cca(*(before(episode.items.pooled[m]) for m in ("image", "text")), build.ALIGN)
    found = cca.fit(episode, build.ALIGN, 0).vectors(items, "image", "target")
    assert found.values[:, 0] == pytest.approx(unit(maps["image"](before(items.pooled["image"]))), abs=1e-6)


def test_pairs_that_were_fitted_on_end_up_near_each_other():
    episode = build.fit_on(aligned=False)
    head = cca.fit(episode, build.ALIGN, 0)
    image, text = (head.vectors(episode.items, m, "target").values[:, 0] for m in ("image", "text"))
    similarity = image @ text.T
    assert np.diag(similarity).mean() > similarity.mean() + 0.5
