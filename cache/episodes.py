"""Episodes: who is source, support, target and test, for each class split, shot count and seed, as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from cache.errors import DamagedError
from cache.files import canonical, digest_of, read_about, read_table, write_table
from cache.store import shown

FORMAT = "1"
CLASSIC, CLASSIFY = "classic", "classify"  # protocols in which every class is one of training, or of the target
ROLES = ("source-train", "source-test", "support", "validation", "target-rest", "test")
FITTED_ON = ("source-train", "support")  # the only rows that a method without access to more ever sees
SCHEMA = pa.schema(
    [
        ("protocol", pa.string()),
        ("half", pa.int32()),
        ("shots", pa.int32()),
        ("seed", pa.int32()),
        ("id", pa.string()),
        ("label", pa.list_(pa.string())),
        ("role", pa.string()),
    ]
)


@dataclass(frozen=True)
class Episode:
    """One draw: the ids of each role in manifest order, the classes of each id, and the class split (both sorted)."""

    protocol: str
    half: int
    shots: int
    seed: int
    ids: dict[str, list[str]]
    labels: dict[str, tuple[str, ...]]
    source_classes: list[str]
    target_classes: list[str]

    @cached_property
    def key(self) -> str:
        """The digest of the source-train and support rows with their labels, and of the validation rows where there
        are any, alone: no test label enters."""
        read = [*FITTED_ON, *["validation"] * bool(self.ids.get("validation"))]
        return digest_of([[[i, list(self.labels[i])] for i in self.ids.get(role, [])] for role in read])


def write_episodes(path: Path, episodes: Sequence[Episode], made_from: str) -> None:
    """Write episodes whole, in their order; ValueError for an unknown role."""
    rows = [row for episode in episodes for row in _rows(episode)]
    columns = zip(*rows, strict=True) if rows else [[] for _ in SCHEMA.names]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
    classes = {f"{e.protocol}/{e.half}": [e.source_classes, e.target_classes] for e in episodes}
    about = {"made_from": made_from, "format": FORMAT, "classes": canonical(classes).decode()}
    write_table(path, table, about)


def _rows(episode: Episode) -> Iterator[tuple[object, ...]]:
    if unknown := set(episode.ids) - set(ROLES):
        raise ValueError(f"no role {min(unknown)}")
    draw = (episode.protocol, episode.half, episode.shots, episode.seed)
    for role in ROLES:
        for item in episode.ids.get(role, []):
            yield (*draw, item, list(episode.labels[item]), role)


def read_episodes(path: Path) -> list[Episode]:
    """Read the episodes in the order written, every role present; MissingError, or DamagedError with what to do."""
    about = read_about(path)
    if about.get("format") != FORMAT or "classes" not in about:
        raise DamagedError(f"{shown(path)}: not episodes of format {FORMAT}; delete it and run 'split'")
    classes = json.loads(about["classes"])
    columns = [column.to_pylist() for column in read_table(path).columns]
    groups = groupby(zip(*columns, strict=True), key=lambda row: row[:4])
    return [_episode(draw, list(rows), *classes[f"{draw[0]}/{draw[1]}"]) for draw, rows in groups]


def _episode(
    draw: tuple[str, int, int, int], rows: list[tuple[object, ...]], source: list[str], target: list[str]
) -> Episode:
    ids: dict[str, list[str]] = {role: [] for role in ROLES}
    labels: dict[str, tuple[str, ...]] = {}
    for *_, item, label, role in rows:
        assert isinstance(item, str)
        assert isinstance(label, list)
        ids[str(role)].append(item)
        labels[item] = tuple(label)
    return Episode(*draw, ids, labels, source, target)
