"""The first draw of a run, looked at closely: some of its test items, and the heads that were trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.episodes import Episode
from cache.features import REMEDY
from cache.heads import HEAD
from cache.shards import require_whole
from cache.store import Ledger, folder_of
from stages.heads.files import load_head
from stages.heads.head import Head
from stages.items import Items
from stages.naming import row_label

MOST = 120  # items that are looked at


@dataclass(frozen=True)
class FirstDraw:
    """The first draw at the largest shot count: items, some of its test items, class by class; classes (N,), the target
    class that each stands for; heads, by what their rows are called."""

    items: Items
    classes: list[str]
    heads: dict[str, Head]


def first_episode(episodes: Sequence[Episode]) -> Episode:
    """The first class split and seed at the largest shot count."""
    most = max(episode.shots for episode in episodes)
    return min((e for e in episodes if e.shots == most), key=lambda e: (e.half, e.seed))


def look(store: Path, items: Items, episode: Episode, ledger: Ledger) -> FirstDraw:
    """Read the heads of an episode, and choose its items."""
    pairs = by_class(episode)
    chosen = [pairs[row] for row in few_of_each([name for _, name in pairs], MOST)]
    some = items.take(items.rows_of([name for name, _ in chosen]))
    return FirstDraw(some, [own for _, own in chosen], heads_of(store, episode, ledger))


def by_class(episode: Episode) -> list[tuple[str, str]]:
    """The test items, each with the first target class that it has: class by class, in manifest order within one."""
    place = {name: number for number, name in enumerate(episode.target_classes)}
    owners = [next(name for name in place if name in episode.labels[item]) for item in episode.ids["test"]]
    return sorted(zip(episode.ids["test"], owners, strict=True), key=lambda pair: place[pair[1]])


def heads_of(store: Path, episode: Episode, ledger: Ledger) -> dict[str, Head]:
    """The heads of an episode by label, in the order of the ledger; MissingError or DamagedError for one not whole."""
    draw = {"half": episode.half, "shots": episode.shots, "seed": episode.seed}
    found: dict[str, Head] = {}
    for key in ledger.of("heads"):
        if draw.items() <= key.about.items():
            about, folder = key.about, folder_of(store, "heads", key.key)
            require_whole(folder, REMEDY)
            label = row_label(about["method"], about["variant"], about["access"], about["names"])
            found[label] = load_head(folder / HEAD)
    return found


def few_of_each(classes: Sequence[str], most: int) -> list[int]:
    """The places of at most so many items, the first ones of every class, as many of each as there are."""
    share = max(1, most // max(1, len(set(classes))))
    seen: Counter[str] = Counter()
    places = []
    for place, name in enumerate(classes):
        seen[name] += 1
        places += [place] * (seen[name] <= share)
    return places[:most]
