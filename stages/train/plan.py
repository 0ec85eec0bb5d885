"""Which heads a run needs, under which keys: pure, no path and no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.episodes import Episode
from cache.errors import UsageError
from cache.store import make_key
from stages.items import captions_read
from stages.section import Section
from stages.train.methods import Method
from stages.train.params import TrainSection

CHOSEN_ON = ("flickr8k-core20", "core20-masked")  # the photographs that params.yaml's values were tried on
CHOSEN_PROTOCOL = "parity"  # and the class split of that choice


@dataclass(frozen=True)
class Job:
    """One head that the ledger will name: who makes it, on which episode, and the content of its key."""

    method: Method
    section: Section | None
    episode: Episode
    content: dict[str, Any]

    @property
    def key(self) -> str:
        """The head's key in the store."""
        return make_key("heads", self.content)

    @property
    def about(self) -> dict[str, Any]:
        """What tells this head from the others of a ledger."""
        episode = self.episode
        named = {"method": self.method.name, "variant": "default", "access": "inductive", "names": False}
        draw = {"protocol": episode.protocol, "half": episode.half, "shots": episode.shots, "seed": episode.seed}
        return {**named, **draw}


@dataclass(frozen=True)
class Features:
    """What of the features decides a head: aligned or not, the encoder's label, the keys, how captions are read."""

    aligned: bool
    encoder: str
    keys: Mapping[str, str]
    captions: str


def plan_jobs(
    methods: Sequence[Method], episodes: Iterable[Episode], features: Features, section: TrainSection
) -> list[Job]:
    """A job a method and episode, in that order. UsageError if an encoder's towers share no space and a method
    needs one."""
    for method in methods:
        if method.needs_aligned and not features.aligned:
            raise UsageError(refusal(method.name, features.encoder))
    drawn = list(episodes)
    return [_job(method, episode, features, section) for method in methods for episode in drawn]


def refusal(method: str, encoder: str) -> str:
    """Why a method that needs one space is not trained on two."""
    return f"method '{method}' needs aligned features and {encoder} has none; use --method cca"


def _job(method: Method, episode: Episode, features: Features, section: TrainSection) -> Job:
    own: Section | None = getattr(section, method.name, None)
    aligned_by = section.align.model_dump() if method.uses_align and not features.aligned else None
    kept = ("image", "text", "mixtures") if method.uses_views else ("image", "text")
    content = {
        "method": method.name,
        "params": None if own is None else own.model_dump(by_alias=True),
        "align": aligned_by,
        "features": {name: features.keys[name] for name in kept},
        "captions": captions_read(features.captions),
        "episode": episode.key if method.needs_episode else None,
        "seed": None if method.deterministic else episode.seed,
    }
    return Job(method, own, episode, content)


def may_be_scored(method: Method, dataset: str, protocol: str) -> bool:
    """False for a trained method on other class splits of the photographs that its values were tried on: those were
    then tried on classes that it is tested on.

    Goes by the name of the dataset alone: the same photographs under another `ingest.table.name` are not noticed, and
    whoever renames them has to keep to parity."""
    return method.deterministic or dataset not in CHOSEN_ON or protocol == CHOSEN_PROTOCOL
