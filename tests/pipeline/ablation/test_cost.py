"""The cost of EM: products by formula against torch's own count, convergence against a plain loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cache.mixtures import MixtureRows
from pipeline.ablation import cost_words
from pipeline.ablation.cost import COLUMNS, diagonal, settled_after, spherical
from pipeline.ablation.experiment import CostSection, ExperimentSection, RunSection
from pipeline.ablation.files import as_csv, read_rows
from pipeline.ablation.method_cost import of_components, of_pooled
from stages import em
from stages.covariance import Covariance
from stages.train.methods import gap, gcrdp
from tests.stages.train import build

SECTION = ExperimentSection(
    question="?",
    paper="?",
    axis="fit",
    kind="cost",
    reference=["K=3"],
    cost=CostSection(repeats=1, items=8, iterations=9, tolerance=1e-3),
    runs=[RunSection(name="K=3")],
)


@pytest.mark.parametrize(("covariance", "formula"), [("spherical", spherical), ("diag", diagonal)])
@pytest.mark.parametrize("components", [1, 3])
def test_the_formula_counts_what_torch_counts(
    covariance: Covariance, formula: Any, components: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(em, "product", lambda left, right: left @ right)  # by numpy, torch would not see it
    tokens = torch.randn(4, 25, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(4, 25, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        mixture = em.fit_mixture(tokens, mask, components, covariance, 5, None, 1e-4)
        em.views_of(tokens, mask, mixture.responsibilities)
    assert 4 * formula(25, 64, components, 5) == pytest.approx(counter.get_total_flops(), rel=0.02)


def mixtures(objective: list[list[float]], tokens: int) -> MixtureRows:
    n = len(objective)
    offsets = np.arange(n + 1) * tokens
    empty = np.zeros((n, 1))
    return MixtureRows(empty, empty, empty, offsets, np.array(objective), empty > 0)


def test_an_item_is_settled_once_an_iteration_gains_little_a_token() -> None:
    objective = [[0.0, 8.0, 8.4, 8.4004], [0.0, 8.0, 16.0, 24.0], [5.0, 5.0, 9.0, 9.0]]
    wanted = []
    for own in objective:
        after = [i + 1 for i in range(1, 4) if (own[i] - own[i - 1]) / 4 < 1e-3]
        wanted.append(min(after, default=5))
    assert settled_after(mixtures(objective, 4), 1e-3).tolist() == wanted == [4, 5, 2]


def row(name: str, **more: Any) -> dict[str, Any]:
    known = {"run": name, "row": name, "value": name, "modality": "pictures", "items": 1042, "tokens": 49.0}
    took = {"width": 64, "seconds": 0.5, "times": 1.0, "gflop": 0.07, "megabytes": 12.0, "note": ""}
    return {**dict.fromkeys(COLUMNS), **known, **took, **more}


def test_three_sentences_of_the_fit_that_is_asked_about(tmp_path: Path) -> None:
    ends = {"iterations": 4.0, "open": 0.25, "open_long": 0.0, "collapsed": 0.01}
    rows = [row("pooling"), row("K=3", seconds=2.0, times=4.0, gflop=7.0, megabytes=40.0, **ends)]
    (tmp_path / "t.csv").write_text(as_csv(rows))
    took, settled, fallen = cost_words.answer(SECTION, read_rows(tmp_path / "t.csv"))
    assert took == (
        "K=3 of 1,042 pictures takes 2.00 s, 4.0 times as long as pooling, 7 GFLOP against 0.07, and 40 MB at its peak"
        " against 12."
    )
    assert settled == (
        "Half of the pictures gain next to nothing after 4 iterations of K=3, 25.0 per cent still gain more when"
        " the stage ends, 0.0 after 9."
    )
    assert fallen.startswith("Collapsed onto one component: K=3 of pictures 1.0 per cent; most often")
    fit = row("gap", modality="fit", items=291, seconds=0.8, gflop=2.43, gflop_counted=2.43)
    scoring = row("gap", modality="scoring", items=312, seconds=0.054, gflop=0.05)
    assert cost_words.answer(SECTION, [*rows, fit, scoring])[3] == (
        "On one episode gap is fitted to 291 pairs in 0.80 s (2.43 GFLOP) and ranks for 312 queries both ways in 0.054"
        " s."
    )
    none = cost_words.answer(SECTION, [rows[0], {**rows[1], "collapsed": 0.0}])
    assert none[2] == "No fit of the table collapsed onto one component."
    assert not math.isnan(rows[1]["times"])


@pytest.mark.parametrize("name", ["gap", "gcrdp"])
def test_the_formula_of_a_training_counts_what_torch_counts(name: str) -> None:
    episode, fit = build.fit_on(), {"gap": gap.fit, "gcrdp": gcrdp.fit}[name]
    section = {"gap": build.gap_section, "gcrdp": build.gcrdp_section}[name](steps=3, batch=40)
    with FlopCounterMode(display=False) as counter:
        fit(episode, section, 0)
    items = episode.items
    width, classes = items.pooled["image"].shape[1], len({name for own in items.labels for name in own})
    views = items.views["image"].shape[1]
    a_step = of_pooled(40, width, classes) if name == "gap" else of_components(40, width, classes, views)
    assert 3 * a_step == pytest.approx(counter.get_total_flops(), rel=0.02)
