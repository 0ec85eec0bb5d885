"""Choosing on source classes: the search, what it may look at, and what the store keeps of it."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import shards
from cache.episodes import Episode, read_episodes, write_episodes
from cache.errors import ParamsError
from cache.selections import read_selection
from cache.store import folder_of, read_ledger
from stages.heads.head import Vectors
from stages.items import Items, unit
from stages.train import chosen
from stages.train import run as stage
from stages.train.generator import make_pairs
from stages.train.methods import find, scm
from stages.train.params import ScmSection, TrainParams
from stages.train.plan import Features, Row, selection_content
from stages.train.selection import choose, mean_ap, settled, several, source_draws
from tests.stages.train import build

LISTED = {"shrinkage": [0.9, 0.5, 0.1], "tau": [0.05, 0.1, 0.5], "cosine": [0.0, 0.3]}


def listing(**changes: Any) -> ScmSection:
    return build.scm_section(**{**LISTED, **changes})


def grid(section: ScmSection) -> list[ScmSection]:
    keys = several(section)
    return [settled(section, dict(zip(keys, point, strict=True))) for point in itertools.product(*keys.values())]


# the search


@given(figures=st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=3, max_size=3))
def test_what_is_a_sum_over_keys_is_brought_to_its_maximum(figures):
    section = listing()
    worth = [dict(zip(LISTED[key], own, strict=False)) for key, own in zip(LISTED, figures, strict=True)]

    def judge(at: ScmSection) -> float:
        return float(sum(own[getattr(at, key)] for own, key in zip(worth, LISTED, strict=True)))

    found = choose(section, [judge, lambda at: 2 * judge(at)])
    assert judge(settled(section, found.values)) == max(map(judge, grid(section)))


def test_among_equals_the_first_listed_is_taken():
    assert choose(listing(), [lambda _: 0.5]).values == {key: own[0] for key, own in LISTED.items()}


def test_of_two_best_values_the_first_listed_is_taken():
    found = choose(listing(), [lambda at: float(at.tau > 0.06)])
    assert found.values["tau"] == 0.1


def test_no_point_is_judged_twice():
    asked: Counter[str] = Counter()

    def judge(at: ScmSection) -> float:
        asked[at.model_dump_json()] += 1
        return at.shrinkage * at.tau - at.cosine

    found = choose(listing(), [judge])
    assert set(asked.values()) == {1}
    assert len(found.tried) == len(asked) <= 18


def test_a_key_is_set_again_when_another_has_changed():
    def judge(at: ScmSection) -> float:
        return 2.0 * (at.tau == 0.5 and at.shrinkage == 0.1) + (at.tau == 0.5) + 0.5 * (at.shrinkage == 0.9)

    assert choose(listing(), [judge]).values == {"shrinkage": 0.1, "tau": 0.5, "cosine": 0.0}


def test_the_mean_over_draws_decides():
    judges = [lambda at: at.tau, lambda at: -3 * at.tau]
    found = choose(listing(), judges)
    assert found.values["tau"] == 0.05
    assert {"values": found.values, "mAP": [0.05, -0.15]} in found.tried


def test_a_section_of_single_values_lists_nothing():
    assert several(build.scm_section()) == {}
    assert several(listing()) == LISTED


# the draws


def test_draws_hold_source_items_alone_each_on_the_side_of_its_half():
    episode = build.episode(2)
    draws = source_draws(episode, 5, 2)
    assert len(draws) == 5
    for draw in draws:
        used = {role: set(own) for role, own in draw.ids.items()}
        train, test = (set(episode.ids[role]) for role in ("source-train", "source-test"))
        assert used["source-train"] | used["support"] | used["target-rest"] == train
        assert used["source-test"] | used["test"] == test
        assert set(draw.target_classes) | set(draw.source_classes) == set(build.SOURCE)
        assert Counter(draw.labels[name] for name in draw.ids["support"]) == {(c,): 2 for c in draw.target_classes}
    assert len({tuple(draw.target_classes) for draw in draws}) > 1


def without(episode: Episode, lost: set[str]) -> Episode:
    return replace(episode, ids={role: [name for name in own if name not in lost] for role, own in episode.ids.items()})


def test_a_class_smaller_than_the_shots_lowers_them_for_all():
    episode = without(build.episode(3), {"dog-0", "dog-1"})
    for draw in source_draws(episode, 4, 3):
        assert draw.shots == 2
        assert len(draw.ids["support"]) == 2 * len(draw.target_classes)


def test_items_of_several_classes_are_no_promise_of_supports():
    episode = build.episode(3)
    labels = {**episode.labels, "bee-0": ("bee", "dog"), "bee-1": ("bee", "fox")}
    assert {draw.shots for draw in source_draws(replace(episode, labels=labels), 4, 3)} == {2}


def test_a_choice_for_shots_is_never_made_without_any():
    episode = build.episode(3)
    labels = {**episode.labels, **{f"bee-{i}": ("bee", "dog") for i in range(build.TRAIN)}}
    with pytest.raises(ParamsError, match=r"give every key of the method one value$"):
        source_draws(replace(episode, labels=labels), 4, 3)


def test_a_source_class_that_no_item_bears_changes_nothing():
    episode = build.episode(2)
    assert source_draws(replace(episode, source_classes=[*build.SOURCE, "gnu"]), 3, 2) == source_draws(episode, 3, 2)


def test_too_few_source_classes_are_said_in_one_line():
    lost = {name for name in build.IDS if name.split("-")[0] in ("dog", "fox")}
    with pytest.raises(ParamsError) as caught:
        source_draws(without(build.episode(2), lost), 3, 2)
    assert str(caught.value) == (
        "the source classes cannot choose between values (split: 1 class is left; two or more are needed, look at"
        " failed.parquet); give every key of the method one value"
    )


# the figure


class Plain:
    """A head that turns nothing."""

    about: dict[str, Any] = {}  # noqa: RUF012
    history = ()

    def vectors(self, items: Items, modality: str, gallery: str) -> Vectors:
        assert gallery == "target"
        return Vectors(unit(items.pooled[modality])[:, None], "dot")


def test_the_figure_is_the_map_of_both_directions_by_loop():
    episode, items = build.episode(2), build.items()
    ids = episode.ids["test"]
    at = items.take(items.rows_of(ids))
    cosines = unit(at.pooled["image"]).astype(np.float64) @ unit(at.pooled["text"]).astype(np.float64).T
    found = []
    for scores in (cosines, cosines.T):
        for i, row in enumerate(scores):
            hits = [at.labels[j] == at.labels[i] for j in np.argsort(-row, kind="stable")]
            found.append(np.mean([sum(hits[: r + 1]) / (r + 1) for r, hit in enumerate(hits) if hit]))
    assert mean_ap(Plain(), episode, items) == pytest.approx(np.mean(found), abs=1e-9)


def test_relevance_is_that_of_the_episodes_labels():
    episode = build.episode(2)
    alike = dict.fromkeys(episode.labels, ("ant",))
    assert mean_ap(Plain(), replace(episode, labels=alike), build.items()) == 1


# what it may look at, and the store


def world(folder: Path, aligned: bool = True, **changes: Any) -> TrainParams:
    params = build.params(folder, ["scm"], aligned)
    changes = {"scm": listing(**changes), "selection": params.section.selection.model_copy(update={"draws": 3})}
    return replace(params, section=params.section.model_copy(update=changes))


def selections(params: TrainParams) -> dict[int, dict[str, Any]]:
    """What was chosen, by shots."""
    keys = read_ledger(params.ledger).of("selections")
    return {key.about["shots"]: read_selection(folder_of(params.store, "selections", key.key)) for key in keys}


def store(params: TrainParams, kind: str) -> dict[str, bytes]:
    folder = params.store / kind
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ROW = Row(find("scm"), "default", listing())
FEATURES = Features(True, "tiny", {name: name[0] * 32 for name in ("image", "text", "name")}, "first")


@pytest.mark.parametrize("generated", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_no_target_item_moves_a_selection_by_a_bit(aligned, generated):
    section = listing(generated=generated, generated_weight=[0.5, 4.0])
    params = build.section(["scm"]).model_copy(update={"scm": section})
    row, features = replace(ROW, section=params.scm), replace(FEATURES, aligned=aligned)
    clean, items = build.episode(2), build.items(aligned)
    hidden = {name for role in ("support", "target-rest", "test") for name in clean.ids[role]}
    labels = {name: ("poison",) if name in hidden else own for name, own in clean.labels.items()}
    wrong = items.take(range(len(items)))
    wrong.labels[:] = [labels[name] for name in wrong.ids]
    for values in wrong.pooled.values():
        values[wrong.rows_of(sorted(hidden))] = np.nan
    given = [(clean, items), (replace(clean, labels=labels, seed=5), wrong)]
    first, second = (choose(row.section, chosen.judges(params, row, *one)) for one in given)
    assert first == second
    assert len({str(entry["mAP"]) for entry in first.tried}) > 1  # something was to be chosen
    contents = [selection_content(row, episode, features, params) for episode, _ in given]
    assert contents[0] == contents[1]


def test_a_generator_is_trained_once_a_draw_however_much_is_tried(monkeypatch):
    trained = []

    def watched(episode, *given):
        trained.append(episode.key)
        return make_pairs(episode, *given)

    monkeypatch.setattr(scm, "make_pairs", watched)
    params, row = build.section(["scm"]), replace(ROW, section=listing(generated=2, generated_weight=[0.5, 4.0]))
    found = choose(row.section, chosen.judges(params, row, build.episode(2), build.items()))
    assert len(found.tried) > 2
    assert len(trained) == params.selection.draws


@pytest.mark.parametrize("role", ["source-train", "source-test"])
def test_labels_that_choose_enter_the_key(role):
    clean, section = build.episode(2), build.section(["scm"])
    other = replace(clean, labels={**clean.labels, clean.ids[role][0]: ("gnu",)})
    assert selection_content(ROW, clean, FEATURES, section) != selection_content(ROW, other, FEATURES, section)


@pytest.mark.parametrize("aligned", [True, False])
def test_poisoned_labels_of_target_tests_and_rests_change_no_bit_where_values_are_chosen(tmp_path, aligned):
    clean, poisoned = (world(tmp_path / name, aligned) for name in ("clean", "poisoned"))
    turned = dict(zip(build.TARGET, build.TARGET[1:] + build.TARGET[:1], strict=True))
    wrong = []
    for episode in read_episodes(poisoned.episodes):
        hidden = {name for role in ("test", "target-rest") for name in episode.ids[role]}
        labels = {i: (turned[own[0]],) if i in hidden else own for i, own in episode.labels.items()}
        wrong.append(replace(episode, labels=labels))
    write_episodes(poisoned.episodes, wrong, "test")
    for params in (clean, poisoned):
        stage.run(params)
    assert clean.ledger.read_bytes() == poisoned.ledger.read_bytes()
    for kind in ("selections", "heads"):
        assert store(clean, kind) == store(poisoned, kind)


def test_one_selection_stands_for_all_seeds_of_a_shot_count(tmp_path):
    params = world(tmp_path)
    stage.run(params)
    ledger = read_ledger(params.ledger)
    place = {"method": "scm", "variant": "default", "protocol": "parity", "half": 0}
    told = [key.about for key in ledger.of("selections")]
    assert [{**about, "values": None} for about in told] == [{**place, "shots": k, "values": None} for k in (0, 2)]
    assert {about["shots"]: about["values"] for about in told} == {
        k: v["values"] for k, v in selections(params).items()
    }
    assert ledger.about["values_from"].endswith("; of scm chosen on the source classes of each class split")
    assert len(ledger.of("heads")) == len(build.DRAWN)
    assert all(shards.folder_digest(folder_of(params.store, k.kind, k.key)) == k.digest for k in ledger.keys)


def test_a_stored_selection_is_read_back_and_judged_no_more(tmp_path, monkeypatch):
    params = world(tmp_path)
    stage.run(params)
    first = params.ledger.read_bytes(), selections(params)
    monkeypatch.setattr(chosen, "judges", lambda *_: pytest.fail("a stored selection was made again"))
    stage.run(params)
    assert (params.ledger.read_bytes(), selections(params)) == first


def test_a_selection_made_again_has_the_same_winner_and_the_same_bytes(tmp_path):
    params = world(tmp_path)
    stage.run(params)
    before, found = store(params, "selections"), selections(params)[2]
    for key in read_ledger(params.ledger).of("selections"):
        folder = folder_of(params.store, "selections", key.key)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert store(params, "selections") == {}
    stage.run(params)
    assert store(params, "selections") == before
    means = {str(entry["values"]): np.mean(entry["mAP"]) for entry in found["tried"]}
    assert means[str(found["values"])] == max(means.values())


def test_heads_are_made_with_what_was_chosen(tmp_path):
    params = world(tmp_path)
    stage.run(params)
    values = selections(params)
    for key in read_ledger(params.ledger).of("heads"):
        told = shards.about_of(folder_of(params.store, "heads", key.key))["content"]["params"]
        assert {name: told[name] for name in LISTED} == values[key.about["shots"]]["values"]


def test_rows_of_one_value_select_nothing(tmp_path):
    params = build.params(tmp_path, ["scm", "cca"])
    stage.run(params)
    assert read_ledger(params.ledger).of("selections") == ()
    assert not (params.store / "selections").exists()


def test_a_variant_with_lists_is_chosen_for_on_its_own(tmp_path):
    params = build.params(tmp_path, ["scm"])
    varied = [{"method": "scm", "variant": "warm", "values": {"tau": [0.5, 0.7]}}]
    section = type(params.section).model_validate({**params.section.model_dump(by_alias=True), "variants": varied})
    stage.run(replace(params, section=section))
    ledger = read_ledger(params.ledger)
    assert {key.about["variant"] for key in ledger.of("selections")} == {"warm"}
    assert {key.about["variant"] for key in ledger.of("heads")} == {"default", "warm"}
