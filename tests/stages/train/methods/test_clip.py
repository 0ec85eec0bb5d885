from __future__ import annotations

import numpy as np
import pytest

from cache.errors import UsageError
from stages.items import unit
from stages.train.methods import clip
from tests.stages.train import build


def test_clip_is_the_features_at_unit_length():
    found = clip.fit(build.fit_on(), None, 0).vectors(build.items(), "text", "target")
    assert found.match == "dot"
    assert np.array_equal(found.values[:, 0], unit(build.items().pooled["text"]))


def test_clip_is_refused_where_the_towers_share_no_space():
    with pytest.raises(UsageError, match=r"^method 'clip' needs aligned features and tiny has none; use --method cca$"):
        clip.fit(build.fit_on(aligned=False), None, 0)


def test_clip_knows_nothing_of_its_episode():
    assert clip.fit(build.fit_on(0), None, 0).about == clip.fit(build.fit_on(2), None, 1).about
