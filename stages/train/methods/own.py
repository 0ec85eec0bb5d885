"""A method of the user's own, `FILE.py:CLASS`, as one of the methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cache.errors import UserError
from stages.heads.head import Head
from stages.heads.own import KIND, SWITCHES, Own, OwnHead, in_space, numbers, own_class
from stages.train.episode import TrainEpisode, fitted, inductive, space
from stages.train.methods import Method
from stages.train.params import OwnSection, TrainSection


@dataclass(frozen=True, kw_only=True)
class OwnMethod(Method):
    """A method whose `fit` is that of a user's class. It has no section of params.yaml: its file is what decides."""

    own: Own

    def fit(self) -> Callable[..., Head]:
        """`fit(episode, section, seed) -> Head`, as of every method."""
        return partial(_fit, self)

    def section_in(self, section: TrainSection) -> OwnSection:  # noqa: ARG002 - as of every method
        """What of its file enters a key."""
        return OwnSection(code=self.own.digest)


def own_method(file: Path, name: str) -> OwnMethod:
    """The method that a class of a file is; the file is run. Errors as of stages.heads.own."""
    own = own_class(file, name)
    said = {switch: own.switch(switch) for switch in SWITCHES}
    return OwnMethod(
        name=name,
        module=__name__,
        about=own.about,
        source=own.file.name,
        trained_on="source-train and support pairs, with labels" + "; class names" * said["uses_names"],
        cost="not known",
        needs_episode=True,
        uses_align=True,
        own=own,
        **said,
    )


def _fit(method: OwnMethod, episode: TrainEpisode, section: OwnSection, seed: int) -> Head:
    align, own = space(episode), method.own
    names = episode.items.names if method.uses_names else {}
    shown = replace(inductive(episode), items=in_space(replace(episode.items, names=names), align), align=None)
    made: Any = own.call("fit", shown, seed)
    if not isinstance(made, dict) or not all(isinstance(name, str) for name in made):
        raise UserError(f"{own.file}: fit returned {type(made).__name__}; return a dict of names and arrays")
    learnt = {name: numbers(own, f"fit, '{name}',", value) for name, value in made.items()}
    return OwnHead(_about(method, episode, section, seed), own, learnt, align)


def _about(method: OwnMethod, episode: TrainEpisode, section: OwnSection, seed: int) -> dict[str, Any]:
    items = episode.items
    return {
        **{"kind": KIND, "method": method.name, "encoder": items.encoder, "aligned": items.aligned},
        **{"features": {name: items.keys[name] for name in method.reads(items.views is not None)}},
        **{"retrieve": method.own.match if method.uses_views else "pooled", "names": method.uses_names},
        **fitted(episode, section),
        "seed": seed,
    }
