"""Which heads a run needs, under which keys: pure, no path and no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from cache.episodes import Episode
from cache.errors import ParamsError, UsageError, nearest
from cache.files import digest_of
from cache.store import make_key
from stages.items import captions_read
from stages.section import Section, said, twice, with_values
from stages.train.methods import Method, find
from stages.train.params import (
    LETS_IN,
    Access,
    CcaSection,
    GcrdpSection,
    ScmSection,
    TrainSection,
    UnlabelledSection,
    VariantSection,
)

CHOSEN_ON = ("flickr8k-core20", "core20-masked")  # the photographs that params.yaml's values were tried on
CHOSEN_PROTOCOL = "parity"  # and the class split of that choice
VOTES = ("vote_image", "vote_text", "vote_neighbours")  # of scm: what judges in the towers' own spaces


@dataclass(frozen=True)
class Row:
    """One row of the tables to come: a method, what is special about it, and its values."""

    method: Method
    variant: str
    section: Section | None

    @property
    def access(self) -> Access:
        """What the row may see beside source-train and support rows."""
        return self.section.access if isinstance(self.section, UnlabelledSection) else "inductive"

    @property
    def lets_in(self) -> str | None:
        """The role whose items it sees without their labels, None for none."""
        return LETS_IN[self.access]

    @property
    def deterministic(self) -> bool:
        """Whether its heads do not depend on the seed: nothing in them is trained."""
        made_up = isinstance(self.section, ScmSection) and self.section.generated > 0
        return self.method.deterministic and not made_up

    @property
    def uses_views(self) -> bool:
        """Whether it reads the component views of items, which the stage `mixture` makes: not with mixtures of classes,
        which its method makes for itself."""
        of_classes = isinstance(self.section, GcrdpSection) and self.section.over == "class"
        return self.method.uses_views and not of_classes


def rows_of(section: TrainSection) -> list[Row]:
    """The rows that a section asks for: its methods, then its variants. UsageError for an unknown method or a row of
    more access than is admitted, ParamsError for a variant of wrong values or one that stands twice."""
    methods = [find(name) for name in section.methods]
    rows = [Row(method, "default", method.section_in(section)) for method in methods]
    rows += [_varied(section, asked) for asked in section.variants]
    rows = [replace(row, section=_at_work(row.section)) for row in rows]
    _require_admitted(rows, section)
    if again := twice([f"{row.method.name} ({row.variant})" for row in rows]):
        raise ParamsError(f"train.variants: '{again}' stands twice, name each variant of a method once")
    return rows


def decisive(section: TrainSection) -> dict[str, Any]:
    """What of a section decides what `train` makes: the values of the rows that run, and what they share. What it says
    of other methods does not count; errors as of rows_of."""
    rows = rows_of(section)
    aligned, chosen = any(row.method.uses_align for row in rows), any(row.method.selects for row in rows)
    return {
        "rows": [[row.method.name, row.variant, _values(row.section)] for row in rows],
        "align": _values(section.align) if aligned else None,
        "selection": _values(section.selection) if chosen else None,
    }


def _values(section: Section | None) -> dict[str, Any] | None:
    return None if section is None else section.model_dump(by_alias=True)


def _at_work(section: Section | None) -> Section | None:
    return section.at_work() if isinstance(section, UnlabelledSection) else section


def _require_admitted(rows: Sequence[Row], section: TrainSection) -> None:
    """Refuse to see more than source-train and support rows unless that was asked for."""
    for row in rows:
        if row.access not in ("inductive", *section.admit):
            what = f"row '{row.variant}' of {row.method.name}" if row.variant != "default" else row.method.name
            raise UsageError(
                f"{what} is {row.access}: it learns from target items without labels and is ranked apart;"
                f" pass -S train.admit=[{row.access}] to let it, or set its access to inductive"
            )


def _varied(section: TrainSection, asked: VariantSection) -> Row:
    """A method's row under its own section with the values of a variant."""
    method, own = find(asked.method), getattr(section, asked.method, None)
    if not isinstance(own, Section):
        raise ParamsError(f"train.variants: '{asked.method}' has no values that a variant could change")
    where, known = f"train.variants: '{asked.variant}' of {method.name}", own.model_dump(by_alias=True)
    if unknown := sorted(set(asked.values) - set(known)):
        raise ParamsError(f"{where}: no key '{unknown[0]}'{nearest(unknown[0], known)}")
    try:
        return Row(method, asked.variant, with_values(own, asked.values))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = f"{fault['loc'][0]} is {fault['input']!r}; " if fault["loc"] else ""
        raise ParamsError(f"{where}: {place}{said(fault['msg'])}") from error


@dataclass(frozen=True)
class Job:
    """One head that the ledger will name: its row, with one value for every key, its episode and its key's content."""

    row: Row
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
        names = self.row.method.uses_names and bool(getattr(self.row.section, "names", True))
        named = {"method": self.row.method.name, "variant": self.row.variant, "access": self.row.access, "names": names}
        draw = {"protocol": episode.protocol, "half": episode.half, "shots": episode.shots, "seed": episode.seed}
        return {**named, **draw}


@dataclass(frozen=True)
class Features:
    """What of the features decides a head: aligned or not, the encoder's label, the keys, how captions are read."""

    aligned: bool
    encoder: str
    keys: Mapping[str, str]
    captions: str


Choose = Callable[[Row, Episode], Section | None]  # the section of a row with one value for every key


def plan_jobs(
    rows: Sequence[Row], episodes: Iterable[Episode], features: Features, align: CcaSection, choose: Choose
) -> list[Job]:
    """A job a row and episode, in that order."""
    drawn = list(episodes)
    chosen = ((replace(row, section=choose(row, episode)), episode) for row in rows for episode in drawn)
    return [_job(row, episode, features, align) for row, episode in chosen]


def lacking(jobs: Sequence[Job], stand: Sequence[Job]) -> list[dict[str, Any]]:
    """What a run lacks, an entry a row and shot count: the row, `shots`, how many of its draws (seeds of class splits)
    have a head, `draws`, and `of` how many. Nothing where all jobs stand."""
    made = {job.key for job in stand}
    counts: dict[tuple[tuple[str, Any], ...], list[bool]] = {}
    for job in jobs:
        cell = tuple((name, value) for name, value in job.about.items() if name not in ("protocol", "half", "seed"))
        counts.setdefault(cell, []).append(job.key in made)
    return [{**dict(cell), "draws": sum(own), "of": len(own)} for cell, own in counts.items() if not all(own)]


def require_space(rows: Iterable[Row], features: Features) -> None:
    """UsageError if an encoder's towers share no space and a method needs one: before anything is chosen or trained."""
    for row in rows:
        if row.method.needs_aligned and not features.aligned:
            raise UsageError(refusal(row.method.name, features.encoder))


def refusal(method: str, encoder: str) -> str:
    """Why a method that needs one space is not trained on two."""
    return f"method '{method}' needs aligned features and {encoder} has none; use --method cca"


def _job(row: Row, episode: Episode, features: Features, align: CcaSection) -> Job:
    content = {
        **_common(row, features, align),
        "episode": episode.key if row.method.needs_episode else None,
        "seed": None if row.deterministic else episode.seed,
    }
    if getattr(row.section, "hidden", 0):
        content["streams"] = "apart"  # weights and batches; heads of an older key drew both from the seed itself
    if row.lets_in:
        content["unlabelled"] = digest_of(episode.ids[row.lets_in])  # the ids, never the labels
    if row.method.uses_names:
        content["classes"] = [episode.source_classes, episode.target_classes]
    return Job(row, episode, content)


def _common(row: Row, features: Features, align: CcaSection) -> dict[str, Any]:
    """What decides a head or a selection beside the items: the method with its values, and the features."""
    return {
        "method": row.method.name,
        "params": _values(row.section),
        "align": align.model_dump() if row.method.uses_align and not features.aligned else None,
        "features": {name: features.keys[name] for name in row.method.reads(row.uses_views)},
        "captions": captions_read(features.captions),
    }


def choosing(row: Row, towers: bool) -> Row:
    """The row as its values are chosen: on the gallery `target`, where what only `all` shows is set to nothing; and of
    votes in the towers' own spaces, where the features hold none (`towers`), only the one that is none."""
    if not isinstance(row.section, ScmSection):
        return row
    tried = {} if towers else {name: [0.0] for name in VOTES if _may_be_none(getattr(row.section, name))}
    return replace(row, section=row.section.model_copy(update={"all_classes": False, **tried}))


def _may_be_none(tried: Any) -> bool:
    return isinstance(tried, list) and 0.0 in tried


def selection_content(row: Row, episode: Episode, features: Features, section: TrainSection) -> dict[str, Any]:
    """What decides a selection: never a target item, nor a seed; of the episode its class split and shot count."""
    own = [(role, name, episode.labels[name]) for role in ("source-train", "source-test") for name in episode.ids[role]]
    return {
        **_common(row, features, section.align),
        "source": digest_of(own),
        "shots": episode.shots,
        "draws": section.selection.draws,
    }


def may_be_scored(row: Row, dataset: str, protocol: str) -> bool:
    """False for a row that trains on other class splits of the photographs that its values were tried on: those were
    then tried on classes that it is tested on.

    Goes by the name of the dataset alone: the same photographs under another `ingest.table.name` are not noticed, and
    whoever renames them has to keep to parity."""
    return row.deterministic or dataset not in CHOSEN_ON or protocol == CHOSEN_PROTOCOL
