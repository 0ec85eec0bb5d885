"""A trained head and the items that it is for: found where they stand, made on the way where that is cheap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache.episodes import Episode, read_episodes
from cache.errors import DamagedError, MissingError, UsageError, counted
from cache.features import REMEDY
from cache.files import write_through
from cache.heads import HEAD
from cache.manifest import Manifest, read_manifest
from cache.shards import require_whole
from cache.store import Ledger, LedgerKey, folder_of, read_ledger
from pipeline.places import SEARCH
from pipeline.setting import Setting
from pipeline.wiring import STAGES, locate, require, stamped
from stages.heads import linear
from stages.heads.files import load_head, save_head
from stages.heads.head import Head
from stages.items import Items, load_items
from stages.search.params import Searched
from stages.section import Gallery
from stages.train.methods import METHODS
from stages.train.methods import find as find_method
from stages.train.plan import refusal


@dataclass(frozen=True)
class Trained:
    """A head with all that it is applied to. setting: the one that it was made under; source: what to call it."""

    setting: Setting
    head: Head
    source: str
    items: Items
    manifest: Manifest
    features: Ledger

    def episode(self) -> Episode:
        """The first draw of the first class split: its test items are those of every draw of that split."""
        return read_episodes(require(self.setting, "split"))[0]


def trained_for(setting: Setting, method: str, shots: int) -> Trained | None:
    """The head of a method at some shots, seed 0, first class split, under the present parameters; for pairs without
    labels one that fits on nothing.

    Where `train` was not run for it, it is trained now; None where that failed, which was told of then. MissingError
    names the costly thing that is not there."""
    features = read_ledger(require(setting, "extract"))
    if find_method(method).needs_aligned and not features.about["aligned"]:
        raise UsageError(refusal(method, setting.label))
    if not read_manifest(require(setting, "ingest")).classes:
        return _with_items(setting, _untrained(setting, method, features), f"{method}, nothing trained", features)
    name = find_method(method).name
    own, ledger = _ledger_of(setting, method, shots)
    key = key_of(ledger, name, shots)
    if key is None:
        return None
    folder = folder_of(own.places.store, "heads", key.key)
    require_whole(folder, REMEDY)
    return _with_items(own, load_head(folder / HEAD), f"{name}, {counted(shots, 'shot')}, seed 0", features)


def _untrained(setting: Setting, method: str, features: Ledger) -> Head:
    """The head of a method that fits on nothing, for pairs without labels; UsageError for one that needs some."""
    if find_method(method).needs_episode:
        clip = "pass --method clip" if features.about["aligned"] else "use an aligned encoder and --method clip"
        raise UsageError(f"{setting.params.dataset}: no pair has a label, and {method} learns from labels; {clip}")
    reads = find_method(method).reads(False)
    about = {
        **{"kind": linear.KIND, "method": method, "encoder": setting.label, "aligned": True, "retrieve": "pooled"},
        "features": {kind: features.find(rows=kind).key for kind in reads},
    }
    return linear.LinearHead(about, {}, {})


def trained_as(setting: Setting, path: Path) -> Trained:
    """The head of a file, such as `export --head` or `search --keep` writes; it must be of the present encoder."""
    if not path.is_file():
        raise MissingError(f"{path}: no such head; 'export --head' writes one")
    try:
        head = load_head(path)
    except DamagedError as error:
        raise UsageError(f"{path}: not a head of this project; 'export --head FILE.safetensors' writes one") from error
    return _with_items(setting, head, path.name, read_ledger(require(setting, "extract")))


def keep_head(target: Path, head: Head) -> None:
    """Write a head as one safetensors file, whole or not at all."""
    write_through(target, lambda part: save_head(part, head))


def gallery_of(searched: Searched) -> Gallery:
    """Among which classes a head judges: all of them where all items are searched, else the target classes."""
    return "all" if searched == "all" else "target"


def reads_views(head: Head) -> bool:
    """Whether a head compares the component views of items."""
    return bool(head.about.get("retrieve", "pooled") != "pooled")


def reads_tokens(head: Head) -> bool:
    """Whether a head must be shown tokens: for views, or because it attends to them."""
    return reads_views(head) or any("attention" in vote for vote in head.about.get("votes", []))


def _ledger_of(setting: Setting, method: str, shots: int) -> tuple[Setting, Ledger]:
    """The heads that `train` made under the present parameters, for whatever methods, shots and draws it was asked, if
    that one is among them; else that one is trained alone."""
    name = find_method(method).name
    for asked in (setting, *_as_trained(setting, method)):
        found = locate(asked, "train")
        ledger = read_ledger(found) if found else None
        if ledger and key_of(ledger, name, shots):
            return asked, ledger
    alone = _alone(setting, method, shots)
    return alone, read_ledger(require(alone, "train"))


def _as_trained(setting: Setting, method: str) -> Iterator[Setting]:
    """For each ledger of heads that stands, the present parameters with the methods, shots and draws of it in their
    place; whether it was made under these, its stamp tells. A ledger has the name alone of a method of one's own."""
    own = {find_method(one).name: one for one in (*setting.params.train.methods, method)}
    spelt = {**{name: name for name in METHODS}, **own}
    for path in setting.places.to_read(STAGES["train"].artefacts(setting)[0]):
        heads = read_ledger(path).of("heads") if stamped(path) is not None else ()
        if heads and all(key.about["method"] in spelt for key in heads):
            yield _widened(setting, heads, spelt)


def _widened(setting: Setting, heads: Sequence[LedgerKey], spelt: Mapping[str, str]) -> Setting:
    params, about = setting.params, [key.about for key in heads]
    shots = list(dict.fromkeys(own["shots"] for own in about))
    seeds = 1 + max(own["seed"] for own in about)
    split = params.split.model_copy(update={"shots": shots, "seeds": seeds})
    named = dict.fromkeys(own["method"] for own in about if own["variant"] == "default")
    methods = [spelt[name] for name in named]
    variants = params.train.variants if any(own["variant"] != "default" for own in about) else []
    train = params.train.model_copy(update={"methods": methods, "variants": variants})
    return replace(setting, params=params.model_copy(update={"split": split, "train": train}))


def _alone(setting: Setting, method: str, shots: int) -> Setting:
    params = setting.params
    split = params.split.model_copy(update={"shots": [shots], "seeds": 1, "halves": 1})
    train = params.train.model_copy(update={"methods": [method], "variants": []})
    narrow = params.model_copy(update={"split": split, "train": train})
    return Setting(narrow, replace(setting.places, aside=SEARCH))


def key_of(ledger: Ledger, method: str, shots: int) -> LedgerKey | None:
    """The head of a method at some shots that a ledger names: default values, first class split, seed 0."""
    wanted = {"method": method, "variant": "default", "half": 0, "shots": shots, "seed": 0}
    return next((key for key in ledger.of("heads") if wanted.items() <= key.about.items()), None)


def _with_items(setting: Setting, head: Head, source: str, features: Ledger) -> Trained:
    paths = require(setting, "ingest"), require(setting, "extract")
    mixtures = require(setting, "mixture") if reads_views(head) else None
    items = load_items(setting.places.store, *paths, mixtures, setting.params.ingest.captions)
    return Trained(setting, head, source, items, read_manifest(paths[0]), features)
