"""What to score: each head on each gallery, once where the draw of the seed changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cache.episodes import Episode
from cache.errors import MissingError
from cache.files import canonical
from cache.store import LedgerKey
from stages.section import Gallery

GALLERY_ROLES: dict[Gallery, tuple[str, ...]] = {
    "target": ("test",),
    "rest": ("target-rest",),
    "all": ("test", "source-test"),
}
CONTENDER = ("method", "variant", "access", "names")  # what tells one row of a table from another
DRAW = ("protocol", "half", "shots", "seed")


@dataclass(frozen=True)
class Task:
    """One head on one gallery of one episode; `seed` is what its rows carry, 0 where they depend on none."""

    key: str
    contender: dict[str, Any]
    episode: Episode
    gallery: Gallery
    seed: int

    @property
    def queries(self) -> list[str]:
        """The ids that ask: the target test items, whatever the gallery."""
        return self.episode.ids["test"]

    @property
    def candidates(self) -> list[str]:
        """The ids that stand in the gallery."""
        return [name for role in GALLERY_ROLES[self.gallery] for name in self.episode.ids[role]]


def plan_tasks(keys: Sequence[LedgerKey], episodes: Iterable[Episode], galleries: Sequence[Gallery]) -> list[Task]:
    """The tasks in the order of the ledger, the galleries of a head together.

    Where all seeds of a method share head, queries and gallery, one task stands for them, as seed 0. An empty gallery
    makes no task. MissingError if a head belongs to no episode.
    """
    known = {(e.protocol, e.half, e.shots, e.seed): e for e in episodes}
    tasks: list[Task] = []
    for _, group in groupby(keys, key=lambda key: canonical({**key.about, "seed": 0})):
        heads = [(key, _episode_of(key, known)) for key in group]
        for gallery in galleries:
            tasks += _once([_task(key, episode, gallery) for key, episode in heads])
    place = {key.key: i for i, key in enumerate(keys)}
    return sorted(tasks, key=lambda task: place[task.key])


def _episode_of(key: LedgerKey, known: dict[tuple[Any, ...], Episode]) -> Episode:
    draw = tuple(key.about[name] for name in DRAW)
    if draw not in known:
        told = ", ".join(f"{name} {value}" for name, value in zip(DRAW, draw, strict=True))
        raise MissingError(f"heads ledger: no episode has {told}; run 'split' and 'train' again")
    return known[draw]


def _task(key: LedgerKey, episode: Episode, gallery: Gallery) -> Task:
    return Task(key.key, {name: key.about[name] for name in CONTENDER}, episode, gallery, episode.seed)


def _once(tasks: list[Task]) -> list[Task]:
    """The tasks with something to rank; one of them where they differ in nothing but the seed."""
    distinct = {(task.key, tuple(task.queries), tuple(task.candidates)) for task in tasks}
    if len(distinct) == 1:
        first = tasks[0]
        tasks = [Task(first.key, first.contender, first.episode, first.gallery, 0)]
    return [task for task in tasks if task.candidates]
