"""The runs of an experiment: each made aside, of what stands in the store and what it lacks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cache.errors import UsageError
from cache.manifest import read_manifest
from cache.store import read_ledger
from pipeline.ablation.experiment import Experiment, RunSection
from pipeline.ablation.frames import shuffled_file
from pipeline.ablation.sequences import planted_file
from pipeline.params import leaves, override, validate
from pipeline.setting import Setting
from pipeline.wiring import beside, locate, make, require
from stages.episodes import class_split, halve, halves_of
from stages.items import MODALITIES, common_ids, open_features
from stages.progress import reporter
from stages.report.words import listed
from stages.train.methods import find

PROTOCOLS = ("parity", "random")
ASIDE = "ablations"  # the folder of runs/ for all that experiments make


@dataclass(frozen=True)
class Run:
    """One run of an experiment, with the setting that it is made under."""

    section: RunSection
    setting: Setting


@dataclass(frozen=True)
class Made:
    """The artefacts of a finished run: its scores, with metrics and queries beside them, its episodes and curves."""

    run: Run
    scores: Path
    queries: Path
    episodes: Path
    history: Path


def run_of(setting: Setting, experiment: Experiment, dataset: str, section: RunSection) -> Run:
    """A run under the experiment's setting with the changes of its own, its artefacts in a folder of its own."""
    split = setting.params.split
    if split.halves > 1 or split.protocol not in PROTOCOLS:
        raise UsageError(
            f"{experiment.name}: compares retrieval on one class split; set split.protocol to parity or random (now"
            f" {split.protocol}) and split.halves to 1 (now {split.halves})"
        )
    source = f"{experiment.name}.yaml: {section.name}"
    changes = [*_planted(setting, section), *leaves(section.params)]
    values = override(setting.params.model_dump(by_alias=True), changes, source)
    folder = "/".join([ASIDE, experiment.name, dataset, _as_folder(section.name)])
    return Run(section, Setting(validate(values, source), replace(setting.places, aside=folder)))


def _planted(setting: Setting, section: RunSection) -> list[tuple[str, Any]]:
    """What makes planted sequences, or imported ones in an order of chance, the dataset of a run; nothing where it is
    of neither."""
    folder = setting.places.root / "runs" / ASIDE / "planted"
    if section.frames == "shuffled":
        path = shuffled_file(folder, setting.params.ingest.features, setting.places.home)
        return [("ingest.features.path", str(path))]
    if section.plant is None:
        return []
    path = planted_file(folder, section.plant)
    source = {"path": str(path), "name": path.stem, "aligned": True}
    named = [(f"ingest.features.{key}", value) for key, value in source.items()]
    return [("dataset", "features"), ("encoder", "imported"), *named]


def _as_folder(name: str) -> str:
    """A run's name as a folder's."""
    return "".join(letter if letter.isalnum() or letter in "=.-" else "_" for letter in name) or "run"


def make_run(run: Run, extracts: bool) -> Made:
    """Make what a run lacks, scores last. MissingError names the command that makes features, unless `extracts`."""
    setting = run.setting
    if extracts and locate(setting, "extract") is None:
        make(setting, "extract")
    setting = fitting(setting)
    scores, heads = require(setting, "evaluate"), require(setting, "train")
    others = beside(scores, setting, "evaluate", 1), beside(heads, setting, "train", 1)
    return Made(replace(run, setting=setting), scores, others[0], require(setting, "split"), others[1])


def fitting(setting: Setting) -> Setting:
    """The setting without what these features do not allow: methods that need one space where there are two, shot
    counts above the train half of the smallest target class. Both are said."""
    features = read_ledger(require(setting, "extract"))
    params, most = setting.params, most_shots(setting)
    refused = [] if features.about["aligned"] else [n for n in params.train.methods if find(n).needs_aligned]
    if refused:
        reporter().say(f"{listed(refused)}: left out, {setting.label} has no space of both modalities")
    many = [count for count in params.split.shots if count > most]
    if many:
        reporter().say(f"{listed(many)} shots: left out, the smallest target class has {most} train pairs")
    methods = [name for name in params.train.methods if name not in refused]
    shots = [count for count in params.split.shots if count <= most]
    if not methods or not shots:
        raise UsageError(f"{setting.params.dataset}: nothing of this experiment can run on {setting.label}")
    split = params.split.model_copy(update={"shots": shots})
    train = params.train.model_copy(update={"methods": methods})
    return replace(setting, params=params.model_copy(update={"split": split, "train": train}))


def most_shots(setting: Setting) -> int:
    """The train pairs of the smallest target class."""
    manifest, ledger = read_manifest(require(setting, "ingest")), read_ledger(require(setting, "extract"))
    image, text = (open_features(setting.places.store, ledger, rows) for rows in MODALITIES)
    ids = common_ids(manifest, image, text)
    place = {name: row for row, name in enumerate(manifest.ids)}
    labels = [tuple(manifest.labels[place[name]]) for name in ids]
    half_of = halves_of(ids, labels, [manifest.splits[place[name]] for name in ids])
    halved = halve(labels, half_of, *class_split(labels, setting.params.split.protocol, 0))
    return min(len(rows) for rows in halved.train.values())
