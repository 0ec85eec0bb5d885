"""Drawing episodes: who is source, support, target and test, for each class split, shot count and seed. Pure.

The protocol is this project's own, declared (DESIGN section 5); "(ours)" marks what even that leaves open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from cache.episodes import CLASSIC, CLASSIFY, ROLES, Episode
from cache.errors import ParamsError, UserError, counted

_CLASSIC_ROLES = {"source-train": "train", "test": "test"}


@dataclass(frozen=True)
class Halved:
    """The items of one class split, as row numbers in manifest order.

    train: target class -> its train rows that may be fitted on. `fixed` holds the rows of every role that no draw
    changes; `pool` the target rows of the train half."""

    source: list[str]
    target: list[str]
    train: dict[str, list[int]]
    fixed: dict[str, list[int]]
    pool: list[int]


def draw_episodes(
    ids: Sequence[str],
    labels: Sequence[Sequence[str]],
    splits: Sequence[str | None],
    *,
    protocol: str,
    halves: int,
    shots: Sequence[int],
    seeds: int,
) -> list[Episode]:
    """Draw every episode: class splits x shot counts x seeds, in this order.

    ids, labels and splits (train, val, test or None) of N items in manifest order; protocol: `parity`, which has one
    class split, `random`, which has as many as `halves`, or `classic`, see `classic_episode`, which reads neither
    halves, shots nor seeds; shots: pairs of each target class; seeds: how many, from 0.
    The same input gives the same episodes on every machine. Supports of one seed are nested over shot counts; 0 shots
    have none. Raises UserError where fewer than two classes, no source item to train on or no target item to test is
    left; ParamsError where a class has fewer train pairs than the most shots asked for.
    """
    known = [tuple(sorted(set(own))) for own in labels]
    if protocol == CLASSIC:
        return [classic_episode(ids, known, splits)]
    half_of = halves_of(ids, known, splits)
    episodes = []
    for half in range(halves if protocol == "random" else 1):
        halved = halve(known, half_of, *class_split(known, protocol, half))
        _check_shots(halved, max(shots))
        for count, seed in product(dict.fromkeys(shots), range(seeds)):
            roles = {**halved.fixed, **_target_train(halved, count, seed)}
            episodes.append(_episode(ids, known, halved, roles, (protocol, half, count, seed)))
    return episodes


def classic_episode(ids: Sequence[str], labels: Sequence[tuple[str, ...]], splits: Sequence[str | None]) -> Episode:
    """All classes under the official split, to stand beside published figures: one episode, of 0 shots and seed 0.

    Train rows are `source-train` and test rows `test`, with no support; `val` is left out. Every class is a target
    class, none a source class (ours): what is asked for is known by examples. UserError where an item has no split, or
    one half is empty."""
    bare = [name for name, split in zip(ids, splits, strict=True) if split is None]
    if bare:
        many = f"{len(bare)} of {len(ids)} items {'has' if len(bare) == 1 else 'have'} none"
        raise UserError(
            f"split: protocol classic is the dataset's own split, and {many}, the first is '{bare[0]}'; set "
            "split.protocol to parity or random"
        )
    rows = {role: [i for i, own in enumerate(splits) if own == split] for role, split in _CLASSIC_ROLES.items()}
    for role, split in _CLASSIC_ROLES.items():
        if not rows[role]:
            raise UserError(f"split: no item of the dataset's own split is {split}; set split.protocol to parity")
    classes = sorted({label for own in labels for label in own})
    roles: dict[str, list[int]] = {role: rows.get(role, []) for role in ROLES}
    return _episode(ids, labels, Halved([], classes, {}, {}, []), roles, (CLASSIC, 0, 0, 0))


def classify_episodes(
    ids: Sequence[str],
    labels: Sequence[Sequence[str]],
    splits: Sequence[str | None],
    *,
    shots: Sequence[int],
    seeds: int,
    validation: int,
) -> list[Episode]:
    """The draws of few-shot classification: every class is a target class, none a source class.

    Supports as of `draw_episodes`. `validation` rows are those that the dataset's own split calls val; where it has
    none, (ours) the next min(shots, validation) train rows of each class behind its supports, as far as there are so
    many. Shot counts above the train half of the smallest class are left out. ParamsError for a count of 0, and where
    no count is left; UserError where there is no test item."""
    known = [tuple(sorted(set(own))) for own in labels]
    halved, own = all_classes(ids, known, splits), [row for row, split in enumerate(splits) if split == "val"]
    if min(shots) < 1:
        raise ParamsError("split.shots asks for 0 of each class, and classify learns from 1 or more; leave 0 out")
    kept = [count for count in dict.fromkeys(shots) if count <= len(halved.train[smallest(halved)])]
    if not kept:
        _check_shots(halved, min(shots))
    episodes = []
    for count, seed in product(kept, range(seeds)):
        roles = {**halved.fixed, **_target_train(halved, count, seed, 0 if own else min(count, validation))}
        roles["validation"] = own or roles["validation"]
        episodes.append(_episode(ids, known, halved, roles, (CLASSIFY, 0, count, seed)))
    return episodes


def all_classes(ids: Sequence[str], labels: Sequence[Sequence[str]], splits: Sequence[str | None]) -> Halved:
    """Every class as a target class. An item of several classes may support each of them."""
    half_of = halves_of(ids, labels, splits)
    train, test = ([row for row, half in enumerate(half_of) if half == name] for name in ("train", "test"))
    if not test:
        raise UserError("split: no item is left to test; look at failed.parquet and at the manifest's splits")
    classes = sorted({label for own in labels for label in own})
    return Halved([], classes, {c: [row for row in train if c in labels[row]] for c in classes}, {"test": test}, train)


def smallest(halved: Halved) -> str:
    """The target class with the fewest train pairs, the first of those that have as few."""
    return min(halved.target, key=lambda name: len(halved.train[name]))


def class_split(labels: Sequence[Sequence[str]], protocol: str, half: int) -> tuple[list[str], list[str]]:
    """The source and the target classes, both sorted.

    `parity`: target = even positions, from 0, of the sorted class list (DADN's rule). `random`: target = as many
    classes, the first of a permutation seeded by the number of the half. UserError for fewer than two classes.
    """
    classes = sorted({label for own in labels for label in own})
    if len(classes) < 2:
        raise UserError(f"split: {len(classes)} class is left; two or more are needed, look at failed.parquet")
    count = (len(classes) + 1) // 2
    if protocol == "random":
        order = np.random.default_rng(half).permutation(len(classes))
        target = sorted(classes[place] for place in order[:count])
    else:
        target = classes[::2]
    return [name for name in classes if name not in set(target)], target


def halves_of(ids: Sequence[str], labels: Sequence[Sequence[str]], splits: Sequence[str | None]) -> list[str | None]:
    """Whether each item is `train` or `test`; None for `val`, which serves probes only.

    The official split where there is one. Items without are halved within their class: sorted by hex sha256(id), the
    first n // 2 are train. An item of several classes counts in its first, by name (ours).
    """
    found = [None if split == "val" else split for split in splits]
    groups: dict[str, list[int]] = {}
    for row, split in enumerate(splits):
        if split is None:
            groups.setdefault(min(labels[row]), []).append(row)
    for rows in groups.values():
        rows.sort(key=lambda row: hashlib.sha256(ids[row].encode()).hexdigest())
        for place, row in enumerate(rows):
            found[row] = "train" if place < len(rows) // 2 else "test"
    return found


def halve(
    labels: Sequence[Sequence[str]], half_of: Sequence[str | None], source: list[str], target: list[str]
) -> Halved:
    """Sort the rows of one class split. A row that bears a source and a target label may not be fitted on, but
    stays in the galleries: as `test` in the test half, as `target-rest` in the train half."""
    aimed, origin = set(target), set(source)
    is_target = [not aimed.isdisjoint(own) for own in labels]
    is_mixed = [hit and not origin.isdisjoint(own) for hit, own in zip(is_target, labels, strict=True)]
    train = [row for row, half in enumerate(half_of) if half == "train"]
    test = [row for row, half in enumerate(half_of) if half == "test"]
    fixed = {
        "source-train": [row for row in train if not is_target[row]],
        "source-test": [row for row in test if not is_target[row]],
        "test": [row for row in test if is_target[row]],
    }
    for role, what in (("source-train", "source class is left to train on"), ("test", "target class is left to test")):
        if not fixed[role]:
            raise UserError(f"split: no item of a {what}; look at failed.parquet and at the manifest's splits")
    pool = [row for row in train if is_target[row]]
    of_class = {name: [row for row in pool if name in labels[row] and not is_mixed[row]] for name in target}
    return Halved(source, target, of_class, fixed, pool)


def _check_shots(halved: Halved, shots: int) -> None:
    short = [name for name in halved.target if len(halved.train[name]) < shots]
    if short:
        least = smallest(halved)
        count, others = len(halved.train[least]), len(short) - 1
        asked, more = counted(shots, "pair"), counted(others, "more class has", "more classes have")
        also = f" ({more} too few)" if others else ""
        raise ParamsError(
            f"split.shots asks for {asked} of each target class, '{least}' has {count} in its train half{also};"
            f" set split.shots to {count} or fewer"
        )


def _target_train(halved: Halved, shots: int, seed: int, validation: int = 0) -> dict[str, list[int]]:
    """The supports of one draw, so many rows of each class behind them by which values are chosen, and the rest of the
    target rows in the train half, which nobody may train on.

    The whole permutation is drawn whatever the shot count: so the supports of more shots hold those of fewer."""
    draw = np.random.default_rng(seed)
    orders = [draw.permutation(np.array(halved.train[name], dtype=np.int64)) for name in halved.target]
    support = {int(row) for order in orders for row in order[:shots]}
    judged = {int(row) for order in orders for row in order[shots : shots + validation]} - support
    return {
        "support": [row for row in halved.pool if row in support],
        "validation": [row for row in halved.pool if row in judged],
        "target-rest": [row for row in halved.pool if row not in support | judged],
    }


def _episode(
    ids: Sequence[str],
    labels: Sequence[tuple[str, ...]],
    halved: Halved,
    roles: dict[str, list[int]],
    draw: tuple[str, int, int, int],
) -> Episode:
    named = {role: [ids[row] for row in roles.get(role, [])] for role in ROLES}
    known = {ids[row]: labels[row] for own in roles.values() for row in own}
    return Episode(*draw, named, known, halved.source, halved.target)
