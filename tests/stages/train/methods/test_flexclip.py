from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cache.errors import UserError
from stages.heads.files import load_head, save_head
from stages.items import MODALITIES, unit
from stages.train import generator
from stages.train.loop import prepare
from stages.train.methods import clip, flexclip
from tests.stages.train import build

COUNT = 18  # rows that an episode of two shots may be fitted on: 12 of the source classes, 6 supports


def tensors(head) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in head.tensors().items()}


def fit(episode=None, seed: int = 0, **changes):
    return flexclip.fit(episode or build.fit_on(), build.flexclip_section(**changes), seed)


def with_pairs(**changes):
    """An episode's items with made-up pairs behind them, the names, and the section."""
    episode, section = build.fit_on(), build.flexclip_section(**changes)
    data, names, made, _ = generator.make_pairs(episode, {}, section.generator, section.generated, 0, "give up")
    return flexclip.with_generated(data, made), names, section


@pytest.mark.parametrize("change", [{"steps": 0}, {"gate": -200.0}])
def test_a_head_that_learned_nothing_or_whose_gate_is_shut_is_clip(change):
    head, raw = fit(lr=1e-2, **change), clip.fit(build.fit_on(), None, 0)
    for m in MODALITIES:
        found, expected = (h.vectors(build.items(), m, "target").values for h in (head, raw))
        assert found == pytest.approx(expected, abs=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    heads = [tensors(fit(seed=seed)) for seed in (5, 5, 6)]
    assert heads[0] == heads[1]
    assert heads[0] != heads[2]


@pytest.mark.parametrize("aligned", [True, False])
def test_retrieval_blends_as_training_does(aligned, tmp_path):
    episode = build.fit_on(aligned=aligned)
    head = fit(episode, steps=30, lr=1e-2)
    save_head(tmp_path / "head", head)
    read = load_head(tmp_path / "head")
    data = prepare(episode, dict(head.align), views=False)
    for m in MODALITIES:
        gate = head.gates[m]
        hidden = torch.tensor(gate.projector.hidden_weight), torch.tensor(gate.projector.hidden_bias)
        outer = torch.tensor(gate.projector.weight), torch.tensor(gate.projector.bias)
        blend = flexclip.Blend(*hidden, *outer, torch.tensor(gate.weight), torch.tensor(gate.bias))
        trained, share = flexclip.blended(data.pooled[m], blend)
        assert 0 < float(share) < 1
        found = read.vectors(episode.items, m, "target").values[:, 0]
        assert found == pytest.approx(trained.numpy(), abs=1e-5)
        assert np.abs(found - data.pooled[m].numpy()).max() > 0.05


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("shots", [0, 2])
def test_the_loss_falls(aligned, shots):
    history = fit(build.fit_on(shots, aligned), steps=60, lr=1e-2, batch=18).history
    for name in ("loss", "contrast", "classification"):
        values = [step.value for step in history if step.name == name]
        assert len(values) == 60
        assert np.mean(values[-10:]) < np.mean(values[:10]) - 0.05


def test_the_loss_is_the_contrast_and_the_weighted_classification_written_out():
    data, names, section = with_pairs(classification=0.5)
    blends = {m: flexclip.start(build.WIDTH, section, torch.Generator().manual_seed(0)) for m in MODALITIES}
    found = flexclip.terms(data, blends, names, section)
    x = {m: data.pooled[m].double().numpy() for m in MODALITIES}  # nothing is projected yet
    labels, classification, contrast = data.classes.numpy(), [], []
    for m in MODALITIES:
        for row, own in zip(x[m], labels, strict=True):
            logits = [float(row @ name) / section.tau for name in names.double().numpy()]
            classification.append(math.log(sum(map(math.exp, logits))) - logits[int(own.argmax())])
    for one, other in (("image", "text"), ("text", "image")):
        for i, row in enumerate(x[one]):
            logits = [float(row @ column) / section.tau for column in x[other]]
            near = [j for j in range(len(labels)) if (labels[i] & labels[j]).any()]
            contrast.append(math.log(sum(map(math.exp, logits))) - np.mean([logits[j] for j in near]))
    assert float(found["classification"].detach()) == pytest.approx(np.mean(classification), rel=1e-4)
    assert float(found["contrast"].detach()) == pytest.approx(np.mean(contrast), rel=1e-4)
    expected = np.mean(contrast) + 0.5 * np.mean(classification)
    assert float(found["loss"].detach()) == pytest.approx(expected, rel=1e-4)
    assert float(found["gate_image"].detach()) == pytest.approx(1 / (1 + math.exp(-section.gate)), rel=1e-5)


def test_made_up_pairs_stand_behind_the_real_ones_as_items_of_target_classes():
    data, _, section = with_pairs(generated=3)
    assert (COUNT, len(data.item)) == (len(build.fit_on().items), COUNT + 3 * len(build.TARGET))
    assert data.classes[COUNT:].int().argmax(1).tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert not data.support[COUNT:].any()
    assert len(set(data.item.tolist())) == len(data.item)
    assert {len(values) for values in data.pooled.values()} == {len(data.item)}
    assert section.generated == 3


def test_pairs_are_made_for_the_target_classes_from_networks_of_all_rows(monkeypatch):
    seen = {}

    train, make = generator.train_generators, generator.generate

    def watched_training(data, conditions, *given):
        seen["trained"] = data.pooled["image"], conditions
        return train(data, conditions, *given)

    def watched_making(nets, names, *given):
        seen["made"] = names
        return make(nets, names, *given)

    monkeypatch.setattr(generator, "train_generators", watched_training)
    monkeypatch.setattr(generator, "generate", watched_making)
    fit(generated=3)
    items, held = build.fit_on().items, build.names()
    assert seen["trained"][0].numpy() == pytest.approx(unit(items.pooled["image"]), abs=1e-6)
    assert seen["trained"][1].numpy() == pytest.approx(unit(np.stack([held[own[0]] for own in items.labels])), abs=1e-6)
    assert seen["made"].numpy() == pytest.approx(unit(np.stack([held[name] for name in build.TARGET])), abs=1e-6)


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 0), (0.5, 8), (0.2, 2)])
def test_a_batch_has_its_share_of_made_up_pairs(share, wanted):
    data, _, section = with_pairs(generated_share=share)
    drawn = [rows.numpy() for rows in flexclip.batches(data, COUNT, section, 0)]
    assert len(drawn) == section.steps
    for rows in drawn:
        assert (rows < COUNT).sum() == section.batch
        assert (rows >= COUNT).sum() == wanted
        assert rows.max() < len(data.item)


def test_no_made_up_pair_leaves_the_real_ones():
    data, _, section = with_pairs(generated=0, generated_share=0.5)
    assert len(data.item) == COUNT
    assert {len(rows) for rows in flexclip.batches(data, COUNT, section, 0)} == {section.batch}


@pytest.mark.parametrize(
    "change",
    [
        {"generator": build.generator_section(steps=1)},
        {"generator": build.generator_section(lr=1e-2)},
        {"generator": build.generator_section(latent=2)},
        {"generated": 1},
        {"generated_share": 0.0},
        {"classification": 0.0},
        {"gate": -1.0},
        {"hidden": 6},
        {"tau": 0.5},
        {"positives": "in"},
    ],
)
def test_every_value_moves_the_head(change):
    assert tensors(fit(**change)) != tensors(fit())


def test_what_is_made_up_moves_the_head_also_without_a_support():
    found = [tensors(fit(build.fit_on(0), generated_share=share)) for share in (0.0, 0.5)]
    assert found[0] != found[1]


def test_a_class_whose_name_has_no_vector_is_refused():
    episode = build.fit_on()
    held = {name: vector for name, vector in build.names().items() if name != build.TARGET[1]}
    with pytest.raises(UserError, match=f"^class '{build.TARGET[1]}': .* or leave flexclip out of train.methods$"):
        fit(replace(episode, items=replace(episode.items, names={"joint": held})))


def test_every_figure_of_both_stages_is_recorded():
    history = fit(steps=3, generator=build.generator_section(steps=2)).history
    steps = {name: [step.step for step in history if step.name == name] for name in {step.name for step in history}}
    head = {"loss", "contrast", "classification", "gate_image", "gate_text"}
    of_generator = {
        f"generator_{m}_{name}"
        for m in MODALITIES
        for name in ("gap", "penalty", "divergence", "reconstruction", "doubt")
    }
    assert {name for name, own in steps.items() if own == [0, 1, 2]} == head
    assert {name for name, own in steps.items() if own == [0, 1]} == of_generator
    assert len(steps) == len(head) + len(of_generator)


def test_a_batch_of_nothing_but_made_up_pairs_is_refused():
    with pytest.raises(ValidationError, match="less than 1"):
        build.flexclip_section(generated_share=1.0)


def test_a_training_that_blows_up_in_its_last_step_is_refused():
    with pytest.raises(UserError, match=r"^train: the weights are no usable numbers after the last step; lower lr"):
        fit(steps=1, lr=1e36)
