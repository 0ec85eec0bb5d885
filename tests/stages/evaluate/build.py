"""A small world to evaluate in: items of six classes, episodes, and heads that need no training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cache.episodes import Episode
from cache.heads import read_head
from cache.store import LedgerKey
from stages.evaluate.plan import Task
from stages.evaluate.ranking import Result, evaluate_task, look
from stages.heads.head import Head, Vectors
from stages.items import Items, Modality, unit
from stages.section import Gallery

CLASSES = ["ant", "bee", "cat", "dog", "eel", "fox"]
TARGET, SOURCE = CLASSES[::2], CLASSES[1::2]
EACH, WIDTH, SHOTS, SEEDS = 8, 12, (0, 1, 2), 3
TRAIN = EACH // 2


def items(seed: int = 0) -> Items:
    """48 pairs whose two modalities share their class and a little of themselves."""
    rng = np.random.default_rng(seed)
    ids = [f"{name}-{i}" for name in CLASSES for i in range(EACH)]
    middle = np.repeat(rng.standard_normal((len(CLASSES), WIDTH)), EACH, axis=0)
    own = rng.standard_normal((len(ids), WIDTH))
    noise = rng.standard_normal((2, len(ids), WIDTH))
    pooled = [(middle + own + 1.5 * part).astype(np.float32) for part in noise]
    return Items(
        ids=ids,
        labels=[(name.split("-")[0],) for name in ids],
        aligned=True,
        encoder="toy",
        pooled={"image": pooled[0], "text": pooled[1]},
        pooled_raw=None,
        views=None,
        weights=None,
        live=None,
        names={},
        keys={"image": "1" * 32, "text": "2" * 32, "name": "3" * 32},
    )


def episode(shots: int, seed: int, half: int = 0, target: list[str] = TARGET) -> Episode:
    """One draw, supports nested over shots."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.permutation(TRAIN)[:shots].tolist() for name in target}
    ids: dict[str, list[str]] = {role: [] for role in ("source-train", "source-test", "support", "target-rest", "test")}
    for name in CLASSES:
        for i in range(EACH):
            role = "test" if i >= TRAIN else "support" if i in drawn.get(name, ()) else "target-rest"
            if name not in target:
                role = "source-test" if i >= TRAIN else "source-train"
            ids[role].append(f"{name}-{i}")
    labels = {f"{name}-{i}": (name,) for name in CLASSES for i in range(EACH)}
    return Episode("parity", half, shots, seed, ids, labels, sorted(set(CLASSES) - set(target)), target)


def episodes(half: int = 0, target: list[str] = TARGET) -> list[Episode]:
    """All draws of one class split."""
    return [episode(shots, seed, half, target) for shots in SHOTS for seed in range(SEEDS)]


@dataclass(frozen=True)
class ToyHead:
    """Turns pictures by a matrix and leaves texts alone: a head as the stage sees it, and no more."""

    turn: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)
    history: tuple[Any, ...] = ()

    def vectors(self, items: Items, modality: Modality, gallery: Gallery) -> Vectors:  # noqa: ARG002
        values = items.pooled[modality]
        return Vectors(unit(values @ self.turn if modality == "image" else values)[:, None], "dot")

    def tensors(self) -> dict[str, np.ndarray]:
        return {"turn": self.turn}


def head(method: str, seed: int) -> ToyHead:
    """`raw` is the identity; any other method spoils the space a little, differently for each seed."""
    noise = 0.2 * np.random.default_rng(seed).standard_normal((WIDTH, WIDTH))
    return ToyHead((np.eye(WIDTH) + (0 if method == "raw" else noise)).astype(np.float32))


def load_head(path: Path) -> ToyHead:
    """What stages.heads.load_head does, for toys."""
    tensors, about = read_head(path)
    return ToyHead(tensors["turn"], about)


def key_of(method: str, one: Episode) -> str:
    """raw depends on nothing, spoilt on the seed."""
    return f"{method}-{0 if method == 'raw' else one.seed}-{one.half}".ljust(32, "0")


def ledger_keys(methods: list[str], drawn: list[Episode]) -> Iterator[LedgerKey]:
    """The heads ledger's keys: every method on every episode."""
    for method in methods:
        for one in drawn:
            draw = {"protocol": one.protocol, "half": one.half, "shots": one.shots, "seed": one.seed}
            about = {"method": method, "variant": "default", "access": "inductive", "names": False, **draw}
            yield LedgerKey("heads", key_of(method, one), "0" * 32, about)


def ranked(task: Task, one: Head, pairs: Items) -> Result:
    """A task done alone, with a head of its own."""
    return evaluate_task(task, look([task], one, pairs))


def result(task: Task) -> Result:
    """What a task of ledger_keys finds."""
    return ranked(task, head(task.contender["method"], task.episode.seed), items())
