from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cache.errors import UsageError
from stages.items import MODALITIES
from stages.retrieval import score
from stages.train.class_mixture import fit_classes
from stages.train.episode import train_episode
from stages.train.loop import prepare
from stages.train.losses import Distance
from stages.train.methods import gcrdp
from tests.stages import with_tokens
from tests.stages.train import build

READINGS = ["mix", "pooled", "max", "mean"]


def tensors(head) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in head.tensors().items()}


def fit(episode=None, seed: int = 0, **changes):
    return gcrdp.fit(episode or build.fit_on(), build.gcrdp_section(**changes), seed)


def as_torch(head) -> dict:
    return {m: tuple(torch.tensor(part) for part in head.residual[m].tensors().values()) for m in MODALITIES}


@pytest.mark.parametrize("hidden", [0, 7])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("retrieve", READINGS)
def test_training_compares_items_as_retrieval_does(retrieve, aligned, hidden):
    episode = build.fit_on(aligned=aligned)
    head = fit(episode, retrieve=retrieve, lr=1e-2, hidden=hidden)
    data, weights = prepare(episode, dict(head.align), views=True), as_torch(head)
    pooled, views = (
        tuple(torch.tensor(head.apply(group[m], m)) for m in MODALITIES)
        for group in (episode.items.pooled, episode.items.views)
    )
    mixed = gcrdp.read_items(data, weights).mixed
    in_training = gcrdp.similarity(pooled, views, mixed, build.gcrdp_section(retrieve=retrieve))
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


def by_class(episode=None, seed: int = 0, **changes):
    return fit(episode, seed, over="class", retrieve="pooled", **changes)


def test_over_class_reads_no_view_of_an_item():
    episode = build.fit_on()
    bare = replace(episode, items=replace(episode.items, views=None, weights=None, live=None))
    assert tensors(by_class(bare)) == tensors(by_class(episode)) != tensors(fit(retrieve="pooled"))


@pytest.mark.parametrize("positives", ["out", "in"])
def test_over_class_the_components_of_a_class_attract_each_other_and_repel_those_of_others(positives):
    section = build.gcrdp_section(over="class", retrieve="pooled", positives=positives, tau=0.3)
    data = prepare(build.fit_on(), {}, views=False)
    still = {m: (torch.zeros(build.WIDTH, build.WIDTH), torch.zeros(build.WIDTH)) for m in MODALITIES}
    mixed, alike = gcrdp.class_reader(data, section)(data, still)
    assert torch.equal(alike, torch.eye(len(build.CLASSES), dtype=torch.bool))
    views = mixed["image"].views.double().numpy()
    losses = []
    for c, k in [(c, k) for c in range(views.shape[0]) for k in range(views.shape[1])]:
        if not mixed["image"].live[c, k]:
            continue
        others = [(d, j) for d in range(views.shape[0]) for j in range(views.shape[1]) if (d, j) != (c, k)]
        weight = {at: np.exp(views[c, k] @ views[at] / 0.3) for at in others if mixed["image"].live[at]}
        shares = [value / sum(weight.values()) for (d, _), value in weight.items() if d == c]
        if shares:
            losses.append(-np.mean(np.log(shares)) if positives == "out" else -np.log(np.mean(shares)))
    first = next(step for step in by_class(positives=positives, tau=0.3).history if step.name == "contrast_image")
    assert first.value == pytest.approx(np.mean(losses), abs=1e-4)


def test_over_class_one_component_contrasts_with_nothing():
    one = {**build.shipped()["gcrdp"]["class_mixture"], "components": 1}
    history = by_class(class_mixture=one).history
    assert {step.value for step in history if step.name.startswith("contrast")} == {0.0}


def test_over_class_the_classes_weights_are_recorded():
    history = by_class(steps=1).history
    assert sum(step.value for step in history if step.name.startswith("weight_text")) == pytest.approx(1, abs=1e-6)


def test_fitted_in_the_heads_space_the_components_follow_the_head():
    steps = {space: [by_class(space=space, steps=n, lr=0.1) for n in (1, 6)] for space in ("cached", "head")}
    first, last = zip(steps["cached"], steps["head"], strict=True)
    firsts = [tensors(head)["image.weight"] for head in first], [tensors(head)["image.weight"] for head in last]
    start, end = ([np.frombuffer(own, np.float32) for own in pair] for pair in firsts)
    assert start[0] == pytest.approx(start[1], abs=1e-6)  # the head starts as the identity
    assert np.abs(end[0] - end[1]).max() > 1e-4


def test_components_of_classes_are_refitted_to_what_the_head_makes_of_the_rows():
    section = build.gcrdp_section(over="class", retrieve="pooled", space="head")
    data = prepare(build.fit_on(), {}, views=False)
    width = build.WIDTH
    weights = {
        m: (torch.randn(width, width, generator=torch.Generator().manual_seed(3)), torch.zeros(width))
        for m in MODALITIES
    }
    found = gcrdp.class_reader(data, section)(data, weights).mixed["text"]
    seen = gcrdp.residual(data.pooled["text"], *weights["text"])
    fitted = fit_classes(data.pooled["text"], seen, data.classes, section.class_mixture)
    expected = fitted._replace(views=gcrdp.residual(fitted.views, *weights["text"]))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"over": "class", "retrieve": "mix"}, "over class gives no item a view to be read; pass pooled, or over"),
        ({"hidden": -1}, "greater than or equal to 0"),
    ],
)
def test_readings_that_do_not_go_together_are_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        build.gcrdp_section(**changes)


@pytest.mark.parametrize("over", ["tokens", "class"])
def test_a_hidden_layer_is_drawn_from_the_seed(over):
    heads = [tensors(fit(seed=seed, over=over, retrieve="pooled", hidden=5)) for seed in (5, 5, 6)]
    assert heads[0] == heads[1]
    assert heads[0]["text.hidden_weight"] != heads[2]["text.hidden_weight"]


@pytest.fixture(scope="module")
def tokens_at_hand(tmp_path_factory):
    tokens = with_tokens.values()
    return with_tokens.items(tmp_path_factory.mktemp("tokens"), tokens, with_tokens.owners(tokens))


def on_tokens(items, aligned: bool = True):
    return train_episode(build.episode(), replace(items, aligned=aligned), build.ALIGN)


@pytest.mark.parametrize("hidden", [0, 7])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("retrieve", READINGS)
def test_per_token_training_compares_items_as_retrieval_does(tokens_at_hand, retrieve, aligned, hidden):
    episode = on_tokens(tokens_at_hand, aligned)
    head = fit(episode, retrieve=retrieve, lr=1e-2, hidden=hidden, space="head")
    assert head.about["per_token"] is True
    data, weights = prepare(episode, dict(head.align), views=True), as_torch(head)
    mixed = gcrdp.token_reader(episode.items, head.align)(data, weights).mixed
    pooled = tuple(torch.tensor(head.apply(episode.items.pooled[m], m)) for m in MODALITIES)
    views = tuple(mixed[m].views for m in MODALITIES)
    in_training = gcrdp.similarity(pooled, views, mixed, build.gcrdp_section(retrieve=retrieve))
    image, text = (head.vectors(episode.items, m, "target") for m in MODALITIES)
    assert in_training.numpy() == pytest.approx(score(image.values, text.values, image.match), abs=1e-5)


def test_per_token_rows_of_a_batch_are_read_by_their_items(tokens_at_hand):
    episode = on_tokens(tokens_at_hand)
    data, weights = prepare(episode, {}, views=True), as_torch(fit(episode, lr=1e-2, space="head"))
    read, rows = gcrdp.token_reader(episode.items, {}), torch.tensor([7, 0, 7, 3])
    whole, part = read(data, weights), read(data.take(rows), weights)
    for m in MODALITIES:
        assert part.mixed[m].views.numpy() == pytest.approx(whole.mixed[m].views[rows].numpy(), abs=1e-6)
        assert torch.equal(part.mixed[m].weights, whole.mixed[m].weights[rows])


def test_per_token_begins_where_cached_does_and_goes_its_own_way(tokens_at_hand):
    curves = {}
    for space in ("cached", "head"):
        history = fit(on_tokens(tokens_at_hand), space=space, lr=1e-2).history
        curves[space] = [step.value for step in history if step.name == "loss"]
    assert curves["head"][0] == pytest.approx(curves["cached"][0], rel=1e-5)
    assert abs(curves["head"][-1] - curves["cached"][-1]) > 1e-3


def test_per_token_gradients_are_those_of_the_views(tokens_at_hand):
    episode = on_tokens(tokens_at_hand)
    data, read = prepare(episode, {}, views=True), gcrdp.token_reader(episode.items, {})
    rng = torch.Generator().manual_seed(1)
    width = build.WIDTH
    start = {m: (0.1 * torch.randn(width, width, generator=rng), torch.zeros(width)) for m in MODALITIES}
    direction = torch.randn(width, width, generator=rng)

    def total(by: float) -> torch.Tensor:
        weights = {**start, "text": (start["text"][0] + by * direction, start["text"][1])}
        return (read(data, weights).mixed["text"].views.double() * data.views["text"].double().cos()).sum()

    start["text"] = (start["text"][0].requires_grad_(), start["text"][1])
    total(0.0).backward()
    slope = float((start["text"][0].grad * direction).sum())
    with torch.no_grad():
        assert slope == pytest.approx(float(total(1e-2) - total(-1e-2)) / 2e-2, rel=1e-2)


def test_per_token_heads_do_not_depend_on_threads_nor_on_when(tokens_at_hand):
    found, before = [], torch.get_num_threads()
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        found.append(tensors(fit(on_tokens(tokens_at_hand, aligned=False), space="head")))
    torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_per_token_without_tokens_is_refused_before_training(tokens_at_hand):
    bare = replace(tokens_at_hand, tokens=None)
    with pytest.raises(UsageError, match=r"train.gcrdp.space is head over tokens, .* or space to cached$"):
        fit(on_tokens(bare), space="head")
