"""Selections in the store: made once for a row, class split and shot count, and read back ever after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cache import shards
from cache.episodes import Episode
from cache.selections import FILES, SELECTION, read_selection, write_selection
from cache.store import LedgerKey, folder_of, lock, make_key
from stages.items import Items, require_sound
from stages.progress import reporter
from stages.section import Section
from stages.train.episode import train_episode
from stages.train.params import TrainParams
from stages.train.plan import Features, Row, selection_content
from stages.train.selection import choose, mean_ap, settled, several, source_draws

WORK = "select"
Place = tuple[str, str, str, int, int]  # method, variant, protocol, half, shots


@dataclass(frozen=True)
class Selections:
    """What was chosen at each place, and the keys of the store that say so."""

    values: dict[Place, dict[str, Any]]
    keys: tuple[LedgerKey, ...]

    def settle(self, row: Row, episode: Episode) -> Section | None:
        """The section of a row with one value for every key."""
        chosen = self.values.get(_place(row, episode))
        return row.section if chosen is None or row.section is None else settled(row.section, chosen)


def choose_all(
    params: TrainParams, rows: Sequence[Row], episodes: Sequence[Episode], items: Items, features: Features
) -> Selections:
    """Choose for every row that lists several values, once a class split and shot count; what the store has is read."""
    asked = {
        _place(row, episode): (row, episode)
        for row in rows
        if row.section is not None and several(row.section)
        for episode in reversed(episodes)  # so that the first seed stands for all
    }
    contents = {
        place: selection_content(row, episode, features, params.section)
        for place, (row, episode) in sorted(asked.items())
    }
    folders = {place: folder_of(params.store, "selections", make_key("selections", c)) for place, c in contents.items()}
    missing = [place for place, folder in folders.items() if not shards.is_whole(folder)]
    if missing:
        require_sound(params.store, items)
    reporter().start(WORK, len(missing))
    for place in missing:
        _choose_into(params, folders[place], contents[place], *asked[place], items)
        reporter().advance(WORK, 1)
    reporter().finish(WORK)
    values = {place: read_selection(folder)["values"] for place, folder in folders.items()}
    return Selections(values, tuple(_key(place, folder) for place, folder in folders.items()))


def _place(row: Row, episode: Episode) -> Place:
    return row.method.name, row.variant, episode.protocol, episode.half, episode.shots


def _key(place: Place, folder: Path) -> LedgerKey:
    about = dict(zip(("method", "variant", "protocol", "half", "shots"), place, strict=True))
    return LedgerKey("selections", folder.name, shards.folder_digest(folder), about)


def _choose_into(
    params: TrainParams, folder: Path, content: dict[str, Any], row: Row, episode: Episode, items: Items
) -> None:
    with lock(params.store, "selections", folder.name, params.wait_for_lock, reporter().say):
        shards.begin(folder, {"content": content}, FILES)
        if not shards.unfinished(folder):
            return
        assert row.section is not None
        found = choose(row.section, judges(params, row, episode, items))
        finished = shards.temporary(folder)
        write_selection(finished, vars(found))
        shards.record(folder, finished, SELECTION, len(found.tried))


def judges(params: TrainParams, row: Row, episode: Episode, items: Items) -> list[Callable[[Section], float]]:
    """For each draw of the source classes, what a settled section of the row reaches there."""
    draws = source_draws(episode, params.section.selection.draws, episode.shots)
    prepare = row.method.prepare()
    seen = [train_episode(draw, items, params.section.align, row.lets_in) for draw in draws]
    return [partial(_judge, prepare(own), draw, items) for own, draw in zip(seen, draws, strict=True)]


def _judge(fit: Callable[[Section], Any], draw: Episode, items: Items, section: Section) -> float:
    return mean_ap(fit(section), draw, items)
