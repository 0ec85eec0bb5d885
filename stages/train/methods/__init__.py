"""The methods by name. Light: a method's module, and torch with it, is imported when it is fitted."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import UsageError, nearest

if TYPE_CHECKING:  # pydantic is slow to import, and --help does not need it
    from stages.section import Section
    from stages.train.params import TrainSection


@dataclass(frozen=True)
class Method:
    """What the house knows of a method. cost: of one episode of some 800 pairs on one core (bench `training` measures).
    deterministic: its head does not depend on the seed (see plan.Row, too). needs_aligned: refused where two towers
    share no space. needs_episode: fits on rows. uses_align: CCA first, where the towers share no space. uses_views:
    reads component views. uses_names: reads class names. selects: values of its section may be lists, of which one is
    chosen on source classes; such a method has `prepare(episode, seed)` too."""

    name: str
    module: str
    about: str
    source: str
    trained_on: str
    cost: str
    deterministic: bool
    needs_aligned: bool
    needs_episode: bool
    uses_align: bool
    uses_views: bool
    uses_names: bool = False
    selects: bool = False

    def reads(self, views: bool) -> tuple[str, ...]:
        """The features that its head is made of and applied to, as Items.keys calls them; views: whether there are any
        for it."""
        return ("image", "text", *["name"] * self.uses_names, *["mixtures"] * (self.uses_views and views))

    def section_in(self, section: TrainSection) -> Section | None:
        """Its own part of the section `train`; None for a method without values."""
        found: Section | None = getattr(section, self.name, None)
        return found

    def fit(self) -> Callable[..., Any]:
        """The method's `fit(episode, section, seed) -> Head`."""
        found: Callable[..., Any] = importlib.import_module(self.module).fit
        return found

    def prepare(self) -> Callable[..., Callable[..., Any]]:
        """The `prepare(episode, seed) -> section -> Head` of a method that selects."""
        found: Callable[..., Callable[..., Any]] = importlib.import_module(self.module).prepare
        return found


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="clip",
            module="stages.train.methods.clip",
            about="the aligned features as they are",
            source="Radford et al. 2021",
            trained_on="nothing",
            cost="nothing",
            deterministic=True,
            needs_aligned=True,
            needs_episode=False,
            uses_align=False,
            uses_views=False,
        ),
        Method(
            name="cca",
            module="stages.train.methods.cca",
            about="regularised canonical correlation analysis, closed form",
            source="Hotelling 1936; Rasiwasia et al. 2010",
            trained_on="source-train and support pairs, without labels",
            cost="closed form, a tenth of a second",
            deterministic=True,
            needs_aligned=False,
            needs_episode=True,
            uses_align=False,
            uses_views=False,
        ),
        Method(
            name="gap",
            module="stages.train.methods.gap",
            about="a linear residual head on pooled vectors, InfoNCE: GCRDP's base",
            source="ours",
            trained_on="source-train and support pairs, with labels",
            cost="80 steps, 1 to 2 s",
            deterministic=False,
            needs_aligned=False,
            needs_episode=True,
            uses_align=True,
            uses_views=False,
        ),
        Method(
            name="gcrdp",
            module="stages.train.methods.gcrdp",
            about="component views of the tokens, contrasted, and relative distances preserved",
            source="arXiv 2505.13306",
            trained_on="source-train and support pairs, with labels",
            cost="80 steps, 3 to 5 s, and the mixtures once",
            deterministic=False,
            needs_aligned=False,
            needs_episode=True,
            uses_align=True,
            uses_views=True,
        ),
        Method(
            name="flexclip",
            module="stages.train.methods.flexclip",
            about="features made up for the target classes, and a projection that a gate blends into the features",
            source="arXiv 2411.17454",
            trained_on="source-train and support pairs, with labels; class names",
            cost="40 steps of a generator and 80 of a head, 5 to 10 s",
            deterministic=False,
            needs_aligned=False,
            needs_episode=True,
            uses_align=True,
            uses_views=False,
            uses_names=True,
        ),
        Method(
            name="cmm",
            module="stages.train.methods.cmm",
            about="pictures mapped towards the names of their classes, texts as they are",
            source="arXiv 2412.20110",
            trained_on="source-train and support pictures, with labels; class names",
            cost="80 steps, 1 to 2 s",
            deterministic=False,
            needs_aligned=False,
            needs_episode=True,
            uses_align=True,
            uses_views=False,
            uses_names=True,
        ),
        Method(
            name="scm",
            module="stages.train.methods.scm",
            about="few-shot semantic correlation matching: the posterior over the target classes, closed form",
            source="ours, after Rasiwasia et al. 2010",
            trained_on="source-train and support pairs, with labels; class names",
            cost="closed form, under half a second, and selections once",
            deterministic=True,
            needs_aligned=False,
            needs_episode=True,
            uses_align=True,
            uses_views=False,
            uses_names=True,
            selects=True,
        ),
        Method(
            name="linear_probe",
            module="stages.train.methods.linear_probe",
            about="logistic regression on pictures, for classification",
            source="Radford et al. 2021",
            trained_on="support pictures, with labels",
            cost="five convex fits, a second",
            deterministic=True,
            needs_aligned=False,
            needs_episode=True,
            uses_align=False,
            uses_views=False,
        ),
        Method(
            name="cross_modal",
            module="stages.train.methods.cross_modal",
            about="logistic regression in which texts are shots beside the pictures, for classification",
            source="Lin et al. 2023",
            trained_on="support pictures, with labels; class names",
            cost="five convex fits, a second",
            deterministic=True,
            needs_aligned=False,
            needs_episode=True,
            uses_align=True,
            uses_views=False,
            uses_names=True,
        ),
        Method(
            name="tip_adapter",
            module="stages.train.methods.tip_adapter",
            about="a cache of the supports' pictures beside the names, nothing trained, for classification",
            source="arXiv 2207.09519",
            trained_on="support pictures, with labels; class names",
            cost="closed form, a tenth of a second",
            deterministic=True,
            needs_aligned=False,
            needs_episode=True,
            uses_align=True,
            uses_views=False,
            uses_names=True,
        ),
        Method(
            name="tip_adapter_f",
            module="stages.train.methods.tip_adapter_f",
            about="the same with its keys trained, for classification",
            source="arXiv 2207.09519",
            trained_on="support pictures, with labels; class names",
            cost="100 steps, a second",
            deterministic=True,
            needs_aligned=False,
            needs_episode=True,
            uses_align=True,
            uses_views=False,
            uses_names=True,
        ),
        Method(
            name="cmm_classifier",
            module="stages.train.methods.cmm_classifier",
            about="pictures mapped towards the names of their classes, which judge them, for classification",
            source="arXiv 2412.20110",
            trained_on="support pictures, with labels; class names",
            cost="80 steps at each of three rates, 1 to 3 s",
            deterministic=True,
            needs_aligned=False,
            needs_episode=True,
            uses_align=True,
            uses_views=False,
            uses_names=True,
        ),
    )
}


OWN = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)")
"""A method of the user's own: a file, and a class in it."""


def find(name: str) -> Method:
    """A method by its name, or one of the user's own, whose file is then run; UsageError with the nearest one."""
    if found := OWN.fullmatch(name):
        return _own(Path(found["file"]), found["name"])
    if name not in METHODS:
        own = name.endswith(".py") or ".py:" in name
        raise UsageError(f"no method '{name}'{'; one of your own is FILE.py:CLASS' if own else nearest(name, METHODS)}")
    return METHODS[name]


def _own(file: Path, name: str) -> Method:
    if name in (*METHODS, "chance"):
        raise UsageError(f"{file}: '{name}' is what a row is called here already; call the class something else")
    from stages.train.methods.own import own_method

    return own_method(file, name)
