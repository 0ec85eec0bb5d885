"""Another test set for heads that stay as they are: the same classes, other pictures. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cache.episodes import ROLES, Episode
from cache.errors import UserError, counted


def on_target(
    episode: Episode, labels: Mapping[str, Sequence[str]], splits: Mapping[str, str | None], name: str
) -> Episode:
    """The episode with the items of another dataset to test and nothing else: who was learnt from stays with the head.

    labels and splits of the target's readable items, in manifest order. Tested is its test split where it declares one,
    else all of it; but no item that bears the id of one which the episode does not test: copies of pictures that were
    learnt from are no test of anything. Among its classes alone is chosen. UserError for a class that the episode does
    not test, and where no item is left."""
    held = {one for role, ids in episode.ids.items() if role != "test" for one in ids}
    declared = any(split is not None for split in splits.values())
    test = [one for one in labels if one not in held and (not declared or splits[one] == "test")]
    if not test:
        raise UserError(f"{name}: no item is left to test; its test split is empty, or all of it was learnt from")
    classes = sorted({label for one in test for label in labels[one]})
    if strange := [label for label in classes if label not in episode.target_classes]:
        others = f" (and {counted(len(strange) - 1, 'more class', 'more classes')})" * (len(strange) > 1)
        raise UserError(
            f"{name}: class '{strange[0]}'{others} is none that the heads judge; name a set of their classes"
        )
    ids: dict[str, list[str]] = {role: [] for role in ROLES}
    draw = episode.protocol, episode.half, episode.shots, episode.seed
    own = {one: tuple(labels[one]) for one in test}
    return Episode(*draw, {**ids, "test": test}, own, [], classes)
