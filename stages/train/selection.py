"""Choosing values on the source classes of a class split: no item of a target class is looked at (DESIGN section 5).

Half of the source classes play target, several times over. Of a section's keys that list several values, one after the
other is set to its best, until a whole round changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from cache.episodes import Episode
from cache.errors import ParamsError, UserError
from stages import retrieval
from stages.episodes import draw_episodes
from stages.heads.head import Head
from stages.items import MODALITIES, Items
from stages.section import Section

ROUNDS = 3  # over all keys; a third round seldom changes anything
S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Selection:
    """What was chosen: `values` of the keys that list several, and `tried`, each with its mAP in every draw."""

    values: dict[str, Any]
    tried: list[dict[str, Any]]


def several(section: Section) -> dict[str, list[Any]]:
    """The keys of a section that list several values, as its model calls them."""
    return {name: value for name, value in vars(section).items() if isinstance(value, list)}


def settled(section: S, values: Mapping[str, Any]) -> S:
    """The section with one value for every key."""
    return section.model_copy(update=dict(values))


def source_draws(episode: Episode, draws: int, shots: int) -> list[Episode]:
    """Episodes within the source classes of an episode's class split, `draws` of them, one support draw each.

    Random halves of these classes play target; supports come from their train halves, queries from their test
    halves. Where a class has fewer train pairs than `shots` that are of it alone, and so on one side of every draw, all
    draws take as many as the smallest has, but one at least (ours): what serves shots is never judged without any.
    ParamsError where the source classes are too few, or have too few pairs, to draw from."""
    halves = {"train": episode.ids["source-train"], "test": episode.ids["source-test"]}
    ids = [name for own in halves.values() for name in own]
    splits = [split for split, own in halves.items() for _ in own]
    labels = [episode.labels[name] for name in ids]
    alone = Counter(episode.labels[name] for name in halves["train"])
    shots = min([shots, *[max(1, alone[name,]) for name in {name for own in labels for name in own}]])
    try:
        return draw_episodes(ids, labels, splits, protocol="random", halves=draws, shots=[shots], seeds=1)
    except UserError as error:
        raise ParamsError(
            f"the source classes cannot choose between values ({error}); give every key of the method one value"
        ) from error


def mean_ap(head: Head, episode: Episode, items: Items) -> float:
    """mAP of a head on the gallery `target` of an episode, mean of both directions."""
    ids = episode.ids["test"]
    chosen = items.take(items.rows_of(ids))
    relevant = retrieval.share_label(*[[episode.labels[name] for name in ids]] * 2)
    image, text = (head.vectors(chosen, m, "target") for m in MODALITIES)
    scores = retrieval.score(image.values, text.values, image.match)
    found = [retrieval.in_rank_order(relevant, retrieval.rank(values)) for values in (scores, scores.T)]
    return float(np.mean([retrieval.average_precision(hits).mean() for hits in found]))


def choose(section: S, judges: Sequence[Callable[[S], float]]) -> Selection:
    """Set one key after the other to its best value, the first listed where several are as good.

    judges: for each draw, the figure of a settled section. A point is judged once."""
    keys = several(section)
    found: dict[str, tuple[dict[str, Any], list[float]]] = {}

    def score(values: dict[str, Any]) -> float:
        at = settled(section, values)
        name = at.model_dump_json()
        if name not in found:
            found[name] = (values, [round(judge(at), 6) for judge in judges])
        return float(np.mean(found[name][1]))

    values = {key: listed[0] for key, listed in keys.items()}
    for _ in range(ROUNDS):
        before = dict(values)
        for key, listed in keys.items():
            values[key] = _best(listed, lambda value, key=key: score({**values, key: value}))  # type: ignore[misc]
        if values == before:
            break
    return Selection(values, [{"values": at, "mAP": own} for at, own in found.values()])


def _best(listed: Iterable[Any], score: Callable[[Any], float]) -> Any:
    return max(listed, key=score)
