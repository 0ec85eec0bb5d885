"""Selections in the store: made once for a row, class split and shot count, and read back ever after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cache import shards
from cache.episodes import Episode
from cache.selections import FILES, SELECTION, read_selection, write_selection
from cache.store import LedgerKey, folder_of, make_key
from stages.items import Items, has_tower_vectors
from stages.section import Section
from stages.train.episode import train_episode
from stages.train.params import TrainParams, TrainSection
from stages.train.plan import Features, Row, choosing, selection_content
from stages.train.selection import Selection, choose, mean_ap, settled, several, source_draws
from stages.train.work import Craft, Failure, Task, World, draw_of, work_off

WORK = "select"
Place = tuple[str, str, str, int, int]  # method, variant, protocol, half, shots


@dataclass(frozen=True)
class Selections:
    """What was chosen at each place, the keys of the store that say so, and the rows for which nothing could be."""

    values: dict[Place, dict[str, Any]]
    keys: tuple[LedgerKey, ...]
    failures: list[Failure]

    def settle(self, row: Row, episode: Episode) -> Section | None:
        """The section of a row with one value for every key."""
        chosen = self.values.get(_place(row, episode))
        return row.section if chosen is None or row.section is None else settled(row.section, chosen)

    def lacks(self, row: Row, episode: Episode) -> bool:
        """Whether the values of a row could not be chosen here."""
        return _asks(row) and _place(row, episode) not in self.values


def choose_all(params: TrainParams, rows: Sequence[Row], world: World, features: Features) -> Selections:
    """Choose for every row that lists several values, once a class split and shot count; what the store has is read."""
    asked = {
        _place(row, episode): (choosing(row, has_tower_vectors(world.items)), episode)
        for row in rows
        if _asks(row)
        for episode in reversed(list(world.episodes.values()))  # so that the first seed stands for all
    }
    tasks = {place: _task(params, index, features, *asked[place]) for index, place in enumerate(sorted(asked))}
    failures = _work_off(params, world, list(tasks.values()))
    folders = {place: task.folder for place, task in tasks.items() if shards.is_whole(task.folder)}
    values = {place: read_selection(folder)["values"] for place, folder in folders.items()}
    keys = tuple(_key(place, folder, values[place]) for place, folder in folders.items())
    return Selections(values, keys, failures)


def _work_off(params: TrainParams, world: World, tasks: Sequence[Task]) -> list[Failure]:
    """Make each selection once, for rows that differ only in what no choice sees share one; one that fails has failed
    for all of them."""
    distinct = {task.folder: task for task in reversed(tasks)}
    failures = work_off(params, world, list(distinct.values()), WORK)
    failed = [
        (task.folder, f) for f in failures for task in distinct.values() if task.row is f.row and task.draw == f.draw
    ]
    return [replace(failure, row=task.row) for folder, failure in failed for task in tasks if task.folder == folder]


def _asks(row: Row) -> bool:
    return row.method.selects and row.section is not None and bool(several(row.section))


def _task(params: TrainParams, index: int, features: Features, row: Row, episode: Episode) -> Task:
    content = selection_content(row, episode, features, params.section)
    folder = folder_of(params.store, "selections", make_key("selections", content))
    return Task(index, CRAFT, row, draw_of(episode), params.section, content, folder)


def _place(row: Row, episode: Episode) -> Place:
    return row.method.name, row.variant, episode.protocol, episode.half, episode.shots


def _key(place: Place, folder: Path, values: dict[str, Any]) -> LedgerKey:
    about = dict(zip(("method", "variant", "protocol", "half", "shots"), place, strict=True))
    return LedgerKey("selections", folder.name, shards.folder_digest(folder), {**about, "values": values})


def _choose(task: Task, world: World) -> Selection:
    assert task.row.section is not None
    return choose(task.row.section, judges(task.section, task.row, world.episodes[task.draw], world.items))


def _write(found: Selection, paths: Mapping[str, Path]) -> dict[str, int]:
    write_selection(paths[SELECTION], vars(found))
    return {SELECTION: len(found.tried)}


CRAFT = Craft("selections", "selection", FILES, _choose, _write)


def judges(section: TrainSection, row: Row, episode: Episode, items: Items) -> list[Callable[[Section], float]]:
    """For each draw of the source classes, what a settled section of the row reaches there."""
    draws = source_draws(episode, section.selection.draws, episode.shots)
    prepare = row.method.prepare()
    seen = [train_episode(draw, items, section.align, row.lets_in) for draw in draws]
    return [partial(_judge, prepare(own, draw.seed), draw, items) for own, draw in zip(seen, draws, strict=True)]


def _judge(fit: Callable[[Section], Any], draw: Episode, items: Items, section: Section) -> float:
    return mean_ap(fit(section), draw, items)
