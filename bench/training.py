"""What one episode of stage two takes, against the seconds that were promised for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from bench.pairs import episode_of, make_pairs
from bench.row import Row, median_seconds, within
from cache.episodes import Episode
from stages.evaluate.plan import Task
from stages.evaluate.ranking import Result, evaluate_task, look
from stages.heads.head import Head
from stages.items import Items
from stages.train.episode import train_episode
from stages.train.methods import METHODS, find
from stages.train.params import TrainSection
from stages.train.selection import settled, several

PAIRS, CLASSES, COMPONENTS = 1500, 20, 3
SECONDS = {"gcrdp": 5.0, "scm": 0.5, "flexclip": 10.0}
SCORED = ("scm",)  # trained in no time, so that its scores count as well
ROOT = Path(__file__).resolve().parent.parent


def rows() -> list[Row]:
    """A row a method that there is, on as many pairs as core20 has, features and views in memory."""
    for name in SECONDS:
        if name not in METHODS:
            print(f"bench training: no row of {name}, which is no method yet", file=sys.stderr)
    items = make_pairs(PAIRS, CLASSES, COMPONENTS)
    episode = episode_of(items)
    return [_row(name, items, episode) for name in SECONDS if name in METHODS]


def _row(name: str, items: Items, episode: Episode) -> Row:
    fit = fitting(name, items, episode)
    run = (lambda: scored(fit(), items, episode)) if name in SCORED else fit
    took = median_seconds(run, repeats=3)
    fitted_on, asked = len(episode.ids["source-train"]) + len(episode.ids["support"]), len(episode.ids["test"])
    work = f"fitted on {fitted_on}" + f", {asked} ranked for {asked} in both directions" * (name in SCORED)
    what = f"{PAIRS:,} pairs of {CLASSES} classes, K = {COMPONENTS}, values of params.yaml"
    note = f"{what}; {work}"
    return within(f"{name}, an episode", took, SECONDS[name], note)


def section_of(name: str) -> Any:
    """A method's section of params.yaml; of values to choose from the last, which leaves no step out."""
    section = getattr(_shipped(), name)
    return settled(section, {key: listed[-1] for key, listed in several(section).items()})


def _shipped() -> TrainSection:
    return TrainSection(**yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"])


def fitting(name: str, items: Items, episode: Episode) -> Callable[[], Head]:
    """What fits a method's head to an episode, its rows not yet gathered."""
    fit, section, align = find(name).fit(), section_of(name), _shipped().align

    def run() -> Head:
        head: Head = fit(train_episode(episode, items, align), section, 0)
        return head

    return run


def scored(head: Head, items: Items, episode: Episode) -> Result:
    """All metrics of a head on the gallery `target`."""
    contender = {"method": "bench", "variant": "default", "access": "inductive", "names": False}
    task = Task("0" * 32, contender, episode, "target", 0)
    return evaluate_task(task, look([task], head, items))
