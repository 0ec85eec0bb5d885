from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stages.items import MODALITIES
from stages.retrieval import score
from stages.train.loop import prepare
from stages.train.losses import Distance
from stages.train.methods import gcrdp
from tests.stages.train import build

READINGS = ["mix", "pooled", "max", "mean"]


def tensors(head) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in head.tensors().items()}


def fit(episode=None, seed: int = 0, **changes):
    return gcrdp.fit(episode or build.fit_on(), build.gcrdp_section(**changes), seed)


def as_torch(head) -> dict:
    return {m: tuple(torch.tensor(part) for part in vars(head.residual[m]).values()) for m in MODALITIES}


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("retrieve", READINGS)
def test_training_compares_items_as_retrieval_does(retrieve, aligned):
    episode = build.fit_on(aligned=aligned)
    head = fit(episode, retrieve=retrieve, lr=1e-2)
    data, weights = prepare(episode, dict(head.align), views=True), as_torch(head)
    pooled, views = (
        tuple(torch.tensor(head.apply(group[m], m)) for m in MODALITIES)
        for group in (episode.items.pooled, episode.items.views)
    )
    in_training = gcrdp.similarity(pooled, views, data, build.gcrdp_section(retrieve=retrieve))
    image, text = (head.vectors(episode.items, m, "target") for m in MODALITIES)
    assert in_training.numpy() == pytest.approx(score(image.values, text.values, image.match), abs=1e-5)
    from_the_loop = gcrdp.residual(data.pooled["image"], *weights["image"])
    assert from_the_loop.numpy() == pytest.approx(pooled[0].numpy(), abs=1e-5)


def test_lambda_0_is_training_without_rdp_bit_for_bit(monkeypatch):
    expected = tensors(fit(**{"lambda": 0.0}))
    broken = Distance(*(torch.tensor(torch.nan) for _ in range(3)))
    monkeypatch.setattr(gcrdp, "relative_distance", lambda *_: broken)
    assert tensors(fit(**{"lambda": 0.0})) == expected


@pytest.mark.parametrize("change", [{"lambda": 0.0}, {"contrast": 0.0}, {"alpha": 0.0}, {"theta": 0.2}, {"tau": 0.5}])
def test_every_part_of_the_loss_moves_the_head(change):
    assert tensors(fit(**change)) != tensors(fit())


@pytest.mark.parametrize("positives", ["out", "in"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(positives):
    heads = [tensors(fit(seed=seed, positives=positives)) for seed in (5, 5, 6)]
    assert heads[0] == heads[1]
    assert heads[0] != heads[2]


def test_one_component_is_the_mean_of_the_tokens_and_reads_as_pooled():
    episode = build.fit_on(components=1)
    heads = [fit(episode, retrieve=retrieve, lr=1e-2) for retrieve in ("mix", "pooled")]
    items = build.items(components=1)
    mixed = [heads[0].vectors(items, m, "target").values for m in MODALITIES]
    plain = [heads[1].vectors(items, m, "target").values for m in MODALITIES]
    assert mixed[0][:, 0] == pytest.approx(mixed[0][:, 1], abs=1e-5)
    assert score(*mixed, "mix") == pytest.approx(score(*plain, "dot"), abs=1e-4)


def test_one_component_contrasts_with_nothing():
    found = {step.value for step in fit(build.fit_on(components=1)).history if step.name.startswith("contrast")}
    assert found == {0.0}


def test_a_dead_component_changes_no_bit():
    episode = build.fit_on()
    dead = {m: ~episode.items.live[m] for m in MODALITIES}
    assert dead["image"].any()
    shifted = {m: np.where(dead[m][..., None], v[:, :1], v) for m, v in episode.items.views.items()}
    again = replace(episode, items=replace(episode.items, views=shifted))
    assert tensors(fit(again, retrieve="mean")) == tensors(fit(retrieve="mean"))


def test_every_figure_is_recorded_at_every_step():
    history = fit(steps=3).history
    names = {step.name for step in history}
    assert {"loss", "contrast_image", "contrast_text", "regularisation", "distance", "mask_density", "drift"} < names
    assert {f"weight_{m}_{k}" for m in MODALITIES for k in (1, 2, 3)} < names
    assert [step.step for step in history if step.name == "loss"] == [0, 1, 2]


def test_the_loss_is_the_weighted_sum_of_its_terms():
    figures = {step.name: step.value for step in fit(steps=1).history}
    expected = figures["contrast_image"] + figures["contrast_text"]
    expected += 10 * figures["regularisation"] + 10 * figures["distance"]
    assert figures["loss"] == pytest.approx(expected, rel=1e-6)


def test_recorded_weights_are_those_of_the_mixture():
    figures = [step.value for step in fit(steps=1).history if step.name.startswith("weight_image")]
    assert sum(figures) == pytest.approx(1, abs=1e-6)
    assert figures == sorted(figures, reverse=True)


def test_no_weight_at_all_is_refused():
    with pytest.raises(ValidationError, match="contrast, alpha and lambda are all 0, which leaves no loss"):
        build.gcrdp_section(contrast=0.0, alpha=0.0, **{"lambda": 0.0})
