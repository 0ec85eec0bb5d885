from __future__ import annotations

import numpy as np
import pytest

from stages.train.methods import clip, gap
from tests.stages.train import build


def tensors(head) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in head.tensors().items()}


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    heads = [tensors(gap.fit(build.fit_on(), build.gap_section(), seed)) for seed in (5, 5, 6)]
    assert heads[0] == heads[1]
    assert heads[0] != heads[2]


def test_an_untrained_head_is_clip():
    head = gap.fit(build.fit_on(), build.gap_section(steps=0), 0)
    raw = clip.fit(build.fit_on(), None, 0)
    found, expected = (h.vectors(build.items(), "image", "target").values for h in (head, raw))
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("aligned", [True, False])
def test_the_loss_falls(aligned):
    section = build.gap_section(steps=60, lr=3e-3, batch=18)
    losses = [step.value for step in gap.fit(build.fit_on(aligned=aligned), section, 0).history]
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.1


def test_both_modalities_learn_a_map_and_a_shift():
    head = gap.fit(build.fit_on(), build.gap_section(), 0)
    assert sorted(head.tensors()) == ["image.bias", "image.weight", "text.bias", "text.weight"]
    assert all(np.abs(values).max() > 0 for values in head.tensors().values())


def test_views_are_not_read():
    kept = gap.fit(build.fit_on(), build.gap_section(), 0).about["features"]
    assert sorted(kept) == ["image", "text"]
