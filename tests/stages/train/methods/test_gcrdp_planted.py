"""GCRDP on data whose truth is known: what its parts are for, and what they do there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from stages.em import fit_mixture, views_of
from stages.items import MODALITIES, unit
from stages.retrieval import score
from stages.train.methods import gcrdp
from tests.stages.train import build

WIDTH, OWN, EACH = 32, 4, 8  # tokens of the class, and of each of two distractors
GROUPS = np.repeat([0, 1, 2], [OWN, EACH, EACH])
DIRECTIONS = np.linalg.qr(np.random.default_rng(5).standard_normal((WIDTH, len(build.CLASSES))))[0].T
CLASS_OF = np.array([build.CLASSES.index(own[0]) for own in build.LABELS])


def planted_tokens(seed: int) -> torch.Tensor:
    """(48, 20, WIDTH): four tokens show an item's class, sixteen show two things of its own that are larger."""
    rng = np.random.default_rng(seed)
    shown = 4 * unit(rng.standard_normal((len(CLASS_OF), 3, WIDTH)).astype(np.float32))
    shown[:, 0] = 2 * DIRECTIONS[CLASS_OF]
    return torch.tensor(shown[:, GROUPS] + 0.05 * rng.standard_normal((len(CLASS_OF), len(GROUPS), WIDTH)))


def mixture_of(tokens: torch.Tensor):
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
    mixture = fit_mixture(tokens, mask, 3, "spherical", 5, None, 1e-4)
    return mixture, views_of(tokens, mask, mixture.responsibilities).float().numpy()


def planted_items():
    tokens = {m: planted_tokens(seed) for seed, m in enumerate(MODALITIES)}
    mixed = {m: mixture_of(own) for m, own in tokens.items()}
    return replace(
        build.items(),
        pooled={m: own.mean(1).float().numpy() for m, own in tokens.items()},
        views={m: views for m, (_, views) in mixed.items()},
        weights={m: mixture.weights.float().numpy() for m, (mixture, _) in mixed.items()},
        live={m: mixture.live.numpy() for m, (mixture, _) in mixed.items()},
    )


def first_hits(head, items) -> float:
    """The share of pictures whose best text, their own left out, is of their class."""
    image, text = (head.vectors(items, m, "target") for m in MODALITIES)
    scores = score(image.values, text.values, image.match)
    np.fill_diagonal(scores, -np.inf)
    return float((CLASS_OF[scores.argmax(1)] == CLASS_OF).mean())


def test_the_mixture_finds_the_planted_groups_and_a_view_the_class():
    for seed, modality in enumerate(MODALITIES):
        mixture, _ = mixture_of(planted_tokens(seed))
        owners = mixture.responsibilities.argmax(2).numpy()
        assert np.mean([adjusted_rand_score(GROUPS, own) for own in owners]) > 0.95
        nearest = (unit(planted_items().views[modality]) @ DIRECTIONS.T)[np.arange(len(CLASS_OF)), :, CLASS_OF].max(1)
        assert nearest.mean() > 0.95


def test_the_mean_of_the_tokens_fails_where_it_is_built_to_fail():
    items = planted_items()
    hits = {}
    for retrieve in ("pooled", "max", "mix"):
        head = gcrdp.fit(replace(build.fit_on(), items=items), build.gcrdp_section(steps=0, retrieve=retrieve), 0)
        hits[retrieve] = first_hits(head, items)
    assert hits["pooled"] < 0.5
    assert hits["max"] > 0.95
    assert hits["mix"] > hits["pooled"] + 0.3


@pytest.mark.parametrize("hidden", [0, 16])
def test_rdp_brings_the_distances_of_the_two_modalities_together(hidden):
    ends = {}
    for weight in (0.0, 10.0):
        section = build.gcrdp_section(
            retrieve="pooled", hidden=hidden, steps=80, lr=3e-3, batch=18, alpha=1.0, **{"lambda": weight}
        )
        head = gcrdp.fit(build.fit_on(), section, 0)
        image, text = (head.vectors(build.fit_on().items, m, "target").values[:, 0] for m in MODALITIES)
        ends[weight] = float(np.abs(image @ image.T - text @ text.T).mean())
    assert ends[10.0] < 0.8 * ends[0.0]
