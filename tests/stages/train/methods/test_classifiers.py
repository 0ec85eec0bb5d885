"""The methods of classification: each from its formula in float64, what they choose by, and what they never read."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from cache.episodes import Episode, write_episodes
from cache.errors import UserError
from cache.files import digest_file
from cache.heads import HEAD
from cache.store import folder_of, read_ledger
from stages.episodes import classify_episodes
from stages.heads.classifier import ClassHead
from stages.heads.head import to_sphere
from stages.items import MODALITIES, Items
from stages.section import Section
from stages.train import run as stage
from stages.train.episode import TrainEpisode, train_episode
from stages.train.logistic import fit_logistic
from stages.train.loop import prepare
from stages.train.methods import find
from stages.train.methods.cmm_classifier import class_logits as cmm_logits
from stages.train.methods.cmm_classifier import train
from stages.train.methods.tip_adapter_f import class_logits as tip_logits
from stages.train.shots import best_of, names_of, shots_of, top_1
from tests.stages.train import build

NAMES = [*build.CLASSIFIERS]
SMALL = {"tip_adapter_f": {"steps": 3}, "cmm_classifier": {"steps": 5, "every": 2, "lr": [1e-3, 1e-2]}}
C = len(build.CLASSES)


def drawn(shots: int = 2, seed: int = 0, validation: int = 1) -> Episode:
    own = classify_episodes(build.IDS, build.LABELS, [None] * 48, shots=[shots], seeds=seed + 1, validation=validation)
    return own[seed]


def seen(aligned: bool = True, episode: Episode | None = None, items: Items | None = None) -> TrainEpisode:
    return train_episode(episode or drawn(), items or build.items(aligned), build.ALIGN)


def section(name: str, **changes) -> Section:
    whole = getattr(build.section([name]), name)
    return type(whole)(**{**whole.model_dump(), **SMALL.get(name, {}), **changes})


def fit(name: str, episode: TrainEpisode | None = None, **changes) -> ClassHead:
    head = find(name).fit()(episode or seen(), section(name, **changes), 0)
    assert isinstance(head, ClassHead)
    return head


def dot(a, b) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def right(logits: list[list[float]], items: Items) -> float:
    """The share of items whose highest logit is of their class: a loop."""
    hits = [items.labels[i][0] == build.CLASSES[max(range(C), key=lambda c: row[c])] for i, row in enumerate(logits)]
    return sum(hits) / len(hits)


@pytest.mark.parametrize("aligned", [True, False])
def test_tip_adapter_is_its_formula_under_what_serves_the_validation_rows_best(aligned):
    episode, values = seen(aligned), section("tip_adapter", alpha=[0.5, 30.0, 200.0], beta=[1.0, 8.0])
    head = find("tip_adapter").fit()(episode, values, 0)

    def placed(items: Items) -> np.ndarray:
        return to_sphere(items.pooled["image"], aligned, head.align.get("image"))

    names = to_sphere(np.stack([build.names()[c] for c in build.CLASSES]), aligned, head.align.get("text"))
    support = placed(episode.items)

    def loop(items: Items, alpha: float, beta: float) -> list[list[float]]:
        out = []
        for f in placed(items):
            near = [math.exp(-beta * (1 - dot(f, k))) for k in support]
            own = [
                sum(a for a, told in zip(near, episode.items.labels, strict=True) if told == (c,))
                for c in build.CLASSES
            ]
            out.append([100.0 * dot(f, t) + alpha * o for t, o in zip(names, own, strict=True)])
        return out

    points = list(product([0.5, 30.0, 200.0], [1.0, 8.0]))
    figures = [right(loop(episode.validation, *point), episode.validation) for point in points]
    chosen = points[figures.index(max(figures))]
    assert len(set(figures)) > 1
    assert head.about["chosen"] == {"alpha": chosen[0], "beta": chosen[1]}
    test = build.items(aligned).take(build.items(aligned).rows_of(drawn().ids["test"]))
    assert head.logits(test, "image") == pytest.approx(np.array(loop(test, *chosen)), abs=1e-3)


def test_the_keys_of_tip_adapter_f_are_those_of_adam_on_its_formula():
    values = section("tip_adapter_f", alpha=3.0, beta=2.0, scale=1.0, steps=4, lr=0.05)
    episode = seen()
    head = find("tip_adapter_f").fit()(episode, values, 0)
    shots = shots_of(episode, shared=True)
    keys = torch.tensor(shots.pictures, dtype=torch.float64, requires_grad=True)
    f, names = torch.tensor(shots.pictures, dtype=torch.float64), torch.tensor(head.weight, dtype=torch.float64)
    own = torch.tensor(shots.members.argmax(1))
    adam = torch.optim.Adam([keys], lr=0.05)
    for _ in range(4):
        rows = []
        for i in range(len(f)):
            near = torch.stack([torch.exp(-2.0 * (1 - (f[i] * keys[s]).sum())) for s in range(len(f))])
            rows.append(torch.stack([(f[i] * names[c]).sum() + 3.0 * near[own == c].sum() for c in range(C)]))
        loss = torch.stack([-torch.log_softmax(row, 0)[own[i]] for i, row in enumerate(rows)]).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert head.keys is not None
    assert head.keys.keys == pytest.approx(keys.detach().numpy(), abs=1e-5)
    assert not np.allclose(head.keys.keys, shots.pictures, atol=1e-2)
    assert [one.value for one in head.history][-1] == pytest.approx(loss.item(), abs=1e-5)


def test_its_logits_have_the_slopes_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    f, k = (torch.randn(n, 4, generator=generator, dtype=torch.float64, requires_grad=True) for n in (3, 5))
    owners = torch.eye(5, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: tip_logits(a, torch.zeros(3, 2), b, owners, 2.0, 1.5), [f, k])


@pytest.mark.parametrize("aligned", [True, False])
def test_the_linear_probe_sees_pictures_alone_and_takes_the_penalty_that_serves_the_validation_rows_best(aligned):
    episode = seen(aligned)
    head = fit("linear_probe", episode, l2=[100.0, 1.0, 0.01])
    values = {m: episode.items.pooled[m].astype(np.float64) for m in MODALITIES}
    rows, held = (
        x / np.linalg.norm(x, axis=1, keepdims=True)
        for x in (values["image"], episode.validation.pooled["image"].astype(np.float64))
    )
    targets = np.eye(C)[[build.CLASSES.index(own[0]) for own in episode.items.labels]]
    fits = {l2: fit_logistic(rows, targets, l2) for l2 in (100.0, 1.0, 0.01)}
    figures = [right((held @ w.weight.T + w.bias).tolist(), episode.validation) for w in fits.values()]
    best = list(fits)[figures.index(max(figures))]
    assert head.about["chosen"] == {"l2": best}
    assert head.weight == pytest.approx(fits[best].weight, abs=1e-4)
    assert not head.align
    other = {"image": episode.items.pooled["image"], "text": -episode.items.pooled["text"]}
    blind = fit("linear_probe", replace(episode, items=replace(episode.items, pooled=other)), l2=[100.0, 1.0, 0.01])
    assert np.array_equal(blind.weight, head.weight)


@pytest.mark.parametrize(("texts", "extra"), [("names", C), ("captions", 2 * C), ("both", 3 * C)])
def test_texts_are_shots_of_the_cross_modal_probe(texts, extra):
    episode = seen()
    head = fit("cross_modal", episode, texts=texts, l2=0.1)
    unit = {m: to_sphere(episode.items.pooled[m], True, None) for m in MODALITIES}
    own = [build.CLASSES.index(labels[0]) for labels in episode.items.labels]
    named = to_sphere(np.stack([build.names()[c] for c in build.CLASSES]), True, None)
    parts = {"names": [(named, list(range(C)))], "captions": [(unit["text"], own)]}
    rows, numbers = [unit["image"]], list(own)
    for vectors, classes in [*parts["names"], *parts["captions"]] if texts == "both" else parts[texts]:
        rows.append(vectors)
        numbers += classes
    assert len(numbers) - len(own) == extra
    known = fit_logistic(np.concatenate(rows), np.eye(C)[numbers], 0.1)
    assert head.weight == pytest.approx(known.weight, abs=1e-4)


def test_cmm_judges_by_its_formula_at_the_step_and_rate_that_serve_the_validation_rows_best():
    episode = seen()
    head = fit("cmm_classifier", episode, alpha=0.7, steps=6, every=3)
    assert head.mapped is not None
    assert head.about["chosen"]["step"] in (0, 3, 6)
    test = build.items().take(range(5))
    f = to_sphere(test.pooled["image"], True, None).astype(np.float64)
    moved = f + f @ head.mapped.weight.astype(np.float64)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    expected = [[dot(a, t) + 0.7 * dot(b, t) for t in head.weight] for a, b in zip(f, moved, strict=True)]
    assert head.logits(test, "image") == pytest.approx(np.array(expected), abs=1e-5)
    judged = shots_of(episode, shared=True)
    own = cmm_logits(judged.judged, head.mapped.weight, head.weight, 0.7)
    assert top_1(own, judged.judged_members) >= top_1(judged.judged @ head.weight.T, judged.judged_members)


def test_a_map_that_was_kept_is_that_of_a_training_which_ends_there():
    episode = seen()
    shots = shots_of(episode, shared=True)
    data, names = prepare(episode, {}, views=False), names_of(episode, shots, "cmm_classifier")
    long, short = (train(data, names, section("cmm_classifier", steps=n, every=3), 1e-2) for n in (7, 3))
    assert [point.step for point in long] == [0, 3, 6, 7]
    assert not long[0].weight.any()
    assert np.array_equal(long[1].weight, short[-1].weight)
    assert np.abs(long[2].weight - long[1].weight).max() > 1e-2


def test_of_values_that_serve_alike_the_first_is_taken_and_without_a_row_to_judge_by_the_first_of_all():
    shots = shots_of(seen(), shared=True)
    flat = np.zeros((len(shots.judged), C), np.float32)
    assert best_of([3, 1, 2], shots, lambda _: flat) == 3
    ones = {place: (shots.judged_members * place).astype(np.float32) for place in (0, 1, 2)}
    assert best_of([0, 1, 2], shots, ones.__getitem__) == 1
    bare = replace(shots, judged=shots.judged[:0], judged_members=shots.judged_members[:0])
    assert best_of([3, 1, 2], bare, lambda _: flat) == 3
    for name in NAMES:
        assert fit(name, seen(episode=drawn(4))).about["classes"]["target"] == build.CLASSES  # all of the train half


@pytest.mark.parametrize("name", [name for name in NAMES if name != "linear_probe"])
def test_a_class_whose_name_has_no_vector_is_refused(name):
    poor = replace(build.items(), names={"joint": {c: v for c, v in build.names().items() if c != "eel"}})
    with pytest.raises(UserError, match=f"^class 'eel': its name has no vector.* leave {name} out of train.methods$"):
        fit(name, seen(items=poor))


def test_labels_of_test_items_change_no_bit_of_any_head_and_those_that_choose_may(tmp_path):
    made = {}
    for what in ("clean", "test", "validation"):
        params = build.params(tmp_path / what, NAMES, aligned=False)
        parts = {name: section(name) for name in NAMES}
        params = replace(params, section=params.section.model_copy(update=parts))
        episode = drawn()
        hidden = {"test": ("test", "target-rest"), "validation": ("validation",), "clean": ()}[what]
        turned = dict(zip(build.CLASSES, build.CLASSES[1:] + build.CLASSES[:1], strict=True))
        poisoned = {i: (turned[episode.labels[i][0]],) for role in hidden for i in episode.ids[role]}
        write_episodes(params.episodes, [replace(episode, labels={**episode.labels, **poisoned})], "test")
        stage.run(params)
        keys = read_ledger(params.ledger).of("heads")
        assert [key.about["method"] for key in keys] == NAMES
        made[what] = [digest_file(folder_of(params.store, "heads", key.key) / HEAD) for key in keys]
    assert made["clean"] == made["test"]
    assert made["clean"] != made["validation"]


def wide() -> TrainEpisode:
    rng, width = np.random.default_rng(0), 300
    items = build.items()
    pooled = {m: rng.standard_normal((48, width)).astype(np.float32) for m in MODALITIES}
    named = {name: rng.standard_normal(width).astype(np.float32) for name in build.CLASSES}
    return seen(items=replace(items, pooled=pooled, names={"joint": named}), episode=drawn(3))


@pytest.mark.parametrize("name", NAMES)
def test_neither_threads_nor_seeds_change_a_bit(name):
    episode, before, found = wide(), torch.get_num_threads(), []
    for threads, seed in ((1, 0), (2, 5)):
        torch.set_num_threads(threads)
        found.append(find(name).fit()(episode, section(name), seed).tensors())
    torch.set_num_threads(before)
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(found[0][part], found[1][part]) for part in found[0])
