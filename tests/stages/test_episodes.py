"""The protocol of DESIGN section 5, rule by rule."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations
from typing import TypedDict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cache.episodes import ROLES, Episode
from cache.errors import ParamsError, UserError
from stages.episodes import class_split, classify_episodes, draw_episodes, halves_of


class Asked(TypedDict):
    """What is to be drawn."""

    protocol: str
    halves: int
    shots: list[int]
    seeds: int


def section(shots: list[int], protocol: str = "parity", seeds: int = 2, halves: int = 1) -> Asked:
    return Asked(protocol=protocol, halves=halves, shots=shots, seeds=seeds)


def items(per_class: int, classes: str = "abcd") -> tuple[list[str], list[list[str]], list[str | None]]:
    """Items of each class in turn: a0 b0 c0 d0 a1 ..."""
    ids = [f"{name}{i}" for i in range(per_class) for name in classes]
    return ids, [[name[0]] for name in ids], [None] * len(ids)


def train_half(ids: list[str]) -> list[str]:
    return sorted(ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[: len(ids) // 2]


@st.composite
def datasets(draw: st.DrawFn) -> tuple[list[str], list[list[str]], list[str | None]]:
    """Single- and multi-label items, with and without official splits."""
    n = draw(st.integers(4, 40))
    ids = [f"i{number}" for number in draw(st.permutations(range(n)))]
    names = st.lists(st.sampled_from("vwxyz"), min_size=1, max_size=draw(st.integers(1, 3)), unique=True)
    labels = draw(st.lists(names, min_size=n, max_size=n))
    kinds = draw(st.sampled_from([[None], ["train", "test"], ["train", "val", "test"], ["train", "test", None]]))
    return ids, labels, draw(st.lists(st.sampled_from(kinds), min_size=n, max_size=n))


Protocols = st.sampled_from(["parity", "random"])


def drawn(data: tuple[list[str], list[list[str]], list[str | None]], section: Asked) -> list[Episode]:
    try:
        return draw_episodes(*data, **section)
    except UserError:
        assume(False)
        raise


@given(datasets(), Protocols, st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_roles_never_overlap_and_hold_every_item_but_val(data, protocol, shots) -> None:
    for episode in drawn(data, section([0, shots], protocol, halves=2)):
        assert set(episode.ids) == set(ROLES)
        rows = [name for role in ROLES for name in episode.ids[role]]
        assert len(rows) == len(set(rows))
        assert set(rows) == {name for name, split in zip(data[0], data[2], strict=True) if split != "val"}
        assert set(episode.labels) == set(rows)


@given(datasets(), Protocols)
@settings(max_examples=60, deadline=None)
def test_source_and_target_classes_share_nothing_and_no_training_row_has_both(data, protocol) -> None:
    for episode in drawn(data, section([0, 1], protocol, halves=2)):
        source, target = set(episode.source_classes), set(episode.target_classes)
        assert not source & target
        assert source | target == {label for own in data[1] for label in own}
        assert all(set(episode.labels[name]) <= source for name in episode.ids["source-train"])
        assert all(set(episode.labels[name]) <= target for name in episode.ids["support"])
        assert all(set(episode.labels[name]) <= source for name in episode.ids["source-test"])
        assert all(set(episode.labels[name]) & target for name in episode.ids["test"] + episode.ids["target-rest"])


@given(datasets(), Protocols)
@settings(max_examples=60, deadline=None)
def test_supports_are_nested_over_shots_and_empty_at_zero(data, protocol) -> None:
    episodes = drawn(data, section([0, 1, 2], protocol))
    support = {(e.half, e.shots, e.seed): set(e.ids["support"]) for e in episodes}
    for half, seed in {(e.half, e.seed) for e in episodes}:
        assert support[half, 0, seed] == set()
        assert support[half, 1, seed] <= support[half, 2, seed]


@given(datasets(), Protocols)
@settings(max_examples=40, deadline=None)
def test_drawing_twice_gives_the_same_episodes(data, protocol) -> None:
    asked = section([0, 1], protocol, halves=2)
    assert drawn(data, asked) == drawn(data, asked)


@given(datasets(), Protocols, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_halves_and_classes_do_not_depend_on_the_order_of_the_manifest(data, protocol, random) -> None:
    order = list(range(len(data[0])))
    random.shuffle(order)
    shuffled = tuple([column[i] for i in order] for column in data)
    for one, other in zip(
        drawn(data, section([0], protocol)), draw_episodes(*shuffled, **section([0], protocol)), strict=True
    ):
        assert one.target_classes == other.target_classes
        assert {role: set(ids) for role, ids in one.ids.items()} == {role: set(ids) for role, ids in other.ids.items()}


@pytest.mark.parametrize("shots", [0, 1, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_draw_is_the_protocol_written_out(shots: int, seed: int) -> None:
    ids, labels, splits = items(9, "abcde")
    episode = next(
        e for e in draw_episodes(ids, labels, splits, **section([0, 1, 3])) if (e.shots, e.seed) == (shots, seed)
    )
    rng, support = np.random.default_rng(seed), []
    for name in "ace":
        train = train_half([i for i in ids if i[0] == name])
        in_order = [i for i in ids if i in train]
        support += [str(i) for i in rng.permutation(in_order)[:shots]]
    assert episode.target_classes == ["a", "c", "e"]
    assert episode.source_classes == ["b", "d"]
    assert sorted(episode.ids["support"]) == sorted(support)
    assert len(support) == 3 * shots
    for role, names, want_train in (("source-train", "bd", True), ("source-test", "bd", False), ("test", "ace", False)):
        expected = [
            i for i in ids if i[0] in names and (i in train_half([j for j in ids if j[0] == i[0]])) == want_train
        ]
        assert episode.ids[role] == expected


def test_ids_of_a_role_stand_in_manifest_order() -> None:
    ids, labels, splits = items(8)
    for episode in draw_episodes(ids, labels, splits, **section([3])):
        assert all(own == sorted(own, key=ids.index) for own in episode.ids.values())


def test_there_is_an_episode_for_each_half_shot_count_and_seed_each_once() -> None:
    ids, labels, splits = items(8)
    random = draw_episodes(ids, labels, splits, **section([0, 1, 3, 1], "random", seeds=3, halves=2))
    assert [(e.half, e.shots, e.seed) for e in random] == [
        (half, shots, seed) for half in range(2) for shots in (0, 1, 3) for seed in range(3)
    ]
    parity = draw_episodes(ids, labels, splits, **section([0, 1], seeds=1, halves=5))
    assert [(e.protocol, e.half, e.shots) for e in parity] == [("parity", 0, 0), ("parity", 0, 1)]


def test_seeds_draw_other_supports_and_leave_all_else_alone() -> None:
    ids, labels, splits = items(30)
    one, other = draw_episodes(ids, labels, splits, **section([3]))
    assert one.ids["support"] != other.ids["support"]
    for role in ("source-train", "source-test", "test"):
        assert one.ids[role] == other.ids[role]


def test_random_halves_differ_and_are_as_large_as_paritys() -> None:
    labels = [[name] for name in "abcdefghijk"]
    targets = [class_split(labels, "random", half)[1] for half in range(8)]
    assert {len(target) for target in targets} == {len(class_split(labels, "parity", 0)[1])}
    assert any(one != other for one, other in combinations(targets, 2))
    assert targets == [class_split(labels, "random", half)[1] for half in range(8)]


def test_the_official_split_stands_and_val_is_nobodys() -> None:
    ids = ["p", "q", "r", "s", "t"]
    assert halves_of(ids, [["a"]] * 5, ["test", "train", "val", "train", "test"]) == [
        "test", "train", None, "train", "test",
    ]  # fmt: skip


def test_without_an_official_split_the_first_half_by_sha256_is_train() -> None:
    ids = [f"x{i}" for i in range(7)]
    train = train_half(ids)
    assert len(train) == 3
    assert halves_of(ids, [["a"]] * 7, [None] * 7) == ["train" if i in train else "test" for i in ids]


def test_an_item_with_a_source_and_a_target_label_stays_in_the_galleries_alone() -> None:
    ids, labels, _ = items(4, "ab")
    ids, labels = [*ids, "both-train", "both-test"], [*labels, ["a", "b"], ["b", "a"]]
    splits = ["train", "train", "test", "test"] * 2 + ["train", "test"]
    for episode in draw_episodes(ids, labels, splits, **section([0, 2])):
        assert "both-train" in episode.ids["target-rest"]
        assert "both-test" in episode.ids["test"]


def test_a_pair_of_two_target_classes_may_support_both_and_stands_once() -> None:
    ids, labels = ["b1", "b2", "d1", "d2", "two", "a"], [["b"], ["b"], ["c"], ["c"], ["a", "c"], ["a"]]
    splits: list[str | None] = ["train", "test", "train", "test", "train", "test"]
    (episode,) = draw_episodes(ids, labels, splits, **section([1], seeds=1))
    assert episode.target_classes == ["a", "c"]
    assert "two" in episode.ids["support"]
    assert len(episode.ids["support"]) == len(set(episode.ids["support"])) <= 2


def test_more_shots_than_a_class_has_names_the_class_its_count_and_the_key() -> None:
    ids, labels, splits = items(8)
    ids, labels, splits = ids[:-2], labels[:-2], splits[:-2]  # c and d have 7: 3 of them are train
    with pytest.raises(ParamsError) as caught:
        draw_episodes(ids, labels, splits, **section([0, 4]))
    assert str(caught.value) == (
        "split.shots asks for 4 pairs of each target class, 'c' has 3 in its train half; set split.shots to 3 or fewer"
    )
    with pytest.raises(ParamsError, match=r"'c' has 3 in its train half \(1 more class has too few\)"):
        draw_episodes(ids, labels, splits, **section([5]))


@pytest.mark.parametrize(
    ("labels", "splits", "text"),
    [
        ([["a"], ["a"]], [None, None], "split: 1 class is left; two or more are needed, look at failed.parquet"),
        ([["a"], ["b"]], ["test", "test"], "no item of a source class is left to train on"),
        ([["a"], ["b"]], ["train", "train"], "no item of a target class is left to test"),
    ],
)
def test_what_cannot_be_split_is_refused_in_one_line(labels, splits, text: str) -> None:
    with pytest.raises(UserError, match=text):
        draw_episodes(["x", "y"], labels, splits, **section([0]))


def test_classic_is_the_official_split_of_all_classes_whatever_else_is_asked_for() -> None:
    ids, labels, _ = items(4)
    splits: list[str | None] = (["train", "test", "val", "test", "train"] * 4)[: len(ids)]
    labels[0] = ["a", "b"]
    [episode] = draw_episodes(ids, labels, splits, **section([1, 5], "classic", seeds=3, halves=7))
    assert (episode.protocol, episode.half, episode.shots, episode.seed) == ("classic", 0, 0, 0)
    wanted = {"source-train": "train", "test": "test"}
    for role in ROLES:
        assert episode.ids[role] == [i for i, own in zip(ids, splits, strict=True) if own == wanted.get(role, "none")]
    assert (episode.source_classes, episode.target_classes) == ([], list("abcd"))
    assert episode.labels[ids[0]] == ("a", "b")


def test_classic_needs_the_official_split_whole() -> None:
    ids, labels, _ = items(2)
    splits: list[str | None] = ["train"] * 7 + [None]
    with pytest.raises(UserError) as error:
        draw_episodes(ids, labels, splits, **section([0], "classic"))
    assert str(error.value) == (
        "split: protocol classic is the dataset's own split, and 1 of 8 items has none, the first is 'd1'; set "
        "split.protocol to parity or random"
    )
    for split, lacking in (("train", "test"), ("test", "train")):
        with pytest.raises(
            UserError, match=f"no item of the dataset's own split is {lacking}; set split.protocol to par"
        ):
            draw_episodes(ids, labels, [split] * 8, **section([0], "classic"))


def classified(data, shots: list[int], seeds: int = 2, validation: int = 2) -> list[Episode]:
    return classify_episodes(*data, shots=shots, seeds=seeds, validation=validation)


def test_in_classification_every_class_is_a_target_class_and_nothing_is_source() -> None:
    ids, labels, splits = items(12)
    for episode in classified((ids, labels, splits), [1, 2, 4]):
        assert (episode.source_classes, episode.target_classes) == ([], list("abcd"))
        assert not episode.ids["source-train"]
        assert not episode.ids["source-test"]
        halves = {name: train_half([one for one in ids if one[0] == name]) for name in "abcd"}
        used = {role: episode.ids[role] for role in ("support", "validation", "target-rest")}
        assert sorted(name for own in used.values() for name in own) == sorted(
            name for own in halves.values() for name in own
        )
        assert sorted(episode.ids["test"]) == sorted(set(ids) - {name for own in halves.values() for name in own})
        for name in "abcd":
            assert len([one for one in used["support"] if one[0] == name]) == episode.shots
            assert len([one for one in used["validation"] if one[0] == name]) == min(episode.shots, 2)


def test_supports_and_the_rows_that_values_are_chosen_by_follow_one_another_in_one_permutation() -> None:
    ids, labels, splits = items(12)
    (episode,) = classified((ids, labels, splits), [3], seeds=1)
    draw = np.random.default_rng(0)
    for name in "abcd":
        rows = [one for one in ids if one in train_half([i for i in ids if i[0] == name])]
        order = [rows[place] for place in draw.permutation(len(rows))]
        assert {one for one in episode.ids["support"] if one[0] == name} == set(order[:3])
        assert {one for one in episode.ids["validation"] if one[0] == name} == set(order[3:5])


def test_the_val_split_is_what_values_are_chosen_by_where_there_is_one() -> None:
    ids, labels, _ = items(9)
    splits: list[str | None] = [("train", "val", "test")[int(name[1:]) % 3] for name in ids]
    for episode in classified((ids, labels, splits), [1, 3]):
        assert episode.ids["validation"] == [name for name, own in zip(ids, splits, strict=True) if own == "val"]
        assert len(episode.ids["support"]) == 4 * episode.shots
        assert len(episode.ids["target-rest"]) == 4 * (3 - episode.shots)


def test_shot_counts_that_the_smallest_class_has_no_pairs_for_are_left_out() -> None:
    ids, labels, splits = items(8)
    assert [e.shots for e in classified((ids[:-1], labels[:-1], splits[:-1]), [1, 3, 4, 8], seeds=1)] == [1, 3]
    with pytest.raises(ParamsError, match=r"set split\.shots to 4 or fewer"):
        classified((ids, labels, splits), [5, 8])
    with pytest.raises(ParamsError, match="classify learns from 1 or more; leave 0 out"):
        classified((ids, labels, splits), [0, 1])


def test_a_row_that_values_are_chosen_by_enters_the_key_with_its_label_and_a_test_row_does_not() -> None:
    episode = classified(items(12), [2], seeds=1)[0]
    keys = set()
    for role in ("support", "validation", "target-rest", "test"):
        other = {**episode.labels, episode.ids[role][0]: ("poison",)}
        keys.add((role, replace(episode, labels=other).key == episode.key))
    assert keys == {("support", False), ("validation", False), ("target-rest", True), ("test", True)}
