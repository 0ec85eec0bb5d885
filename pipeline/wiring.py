"""What each stage runs on: its inputs found, its outputs named, and the stamp that ties one to the other.

A stamp is the digest of everything that an artefact was made from. One that stands and bears the stamp of the
present parameters is used; any other counts as missing. At the prompt what is cheap is made on the way; under DVC
every stage runs alone, and what it needs was made by the stages before it.
"""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cache.episodes import CLASSIFY
from cache.errors import MissingError, UsageError, UserError
from cache.files import digest_file, digest_of, read_about, read_json
from cache.shards import is_whole, require_sound
from cache.store import KINDS_VERSION, folder_of, read_ledger
from pipeline.folder_state import folder_digest, readable_name
from pipeline.machine import processor, software
from pipeline.params import leaves, read_values
from pipeline.setting import Setting
from stages.evaluate.params import EvaluateParams
from stages.extract.encoders.registry import inputs_of, refuse_folder
from stages.extract.params import ExtractParams
from stages.imported.params import DATASET as FEATURES
from stages.imported.places import inputs_of as imported_inputs
from stages.ingest.archives import unpack_archives
from stages.ingest.datasets import find as find_dataset
from stages.ingest.datasets.coop_sets import is_coop
from stages.ingest.datasets.shifts import is_shift, parts_of
from stages.ingest.params import IngestParams
from stages.ingest.places import readable
from stages.items import captions_read
from stages.mixture.params import MixtureParams
from stages.report.params import ReportParams
from stages.split.params import SplitParams
from stages.train.params import TrainParams
from stages.train.plan import decisive, rows_of

STAGE_ONE = ("encoder", "ingest", "extract")  # the parts of params.yaml, beside the dataset, that features depend on


@dataclass(frozen=True)
class Stage:
    """One stage: its artefacts (the first carries the stamp), its stamp and its parameters.

    Asking for a stamp, or for parameters, finds or makes the artefacts that they are made from.
    """

    name: str
    artefacts: Callable[[Setting], list[str]]
    stamp: Callable[[Setting], str]
    params: Callable[[Setting, str], Any]
    costly: bool = False  # never made on the way to something else
    before: Callable[[Setting], None] = lambda _: None  # what it does before its stamp is taken

    def run(self, setting: Setting) -> None:
        """Run the stage on the setting, whatever stands."""
        setting.scanned.clear()
        self.before(setting)
        module = importlib.import_module(f"stages.{self.name}.run")
        module.run(self.params(setting, self.stamp(setting)))


def stamped(path: Path) -> str | None:
    """The stamp that an artefact bears, None where there is no readable artefact."""
    try:
        about: dict[str, Any] = read_about(path) if path.suffix == ".parquet" else read_json(path)
    except UserError:
        return None
    found = about.get("made_from")
    return found if isinstance(found, str) else None


def keys_stand(setting: Setting, path: Path) -> bool:
    """Whether the store holds, whole, every key that a ledger names; true for what is no ledger."""
    if path.suffix != ".json":
        return True
    return all(is_whole(folder_of(setting.places.store, key.kind, key.key)) for key in read_ledger(path).keys)


def locate(setting: Setting, name: str) -> Path | None:
    """The artefact of a stage that was made with the present parameters, where one stands whole."""
    stage = STAGES[name]
    wanted = stage.stamp(setting)
    places = [setting.places.to_read(artefact) for artefact in stage.artefacts(setting)]
    together: tuple[Path, ...]
    for together in zip(*places, strict=True):
        if all(stamped(path) == wanted for path in together) and keys_stand(setting, together[0]):
            return _sound(setting, together[0])
    return None


def make(setting: Setting, name: str) -> Path:
    """Run a stage, and before it what it needs; returns its first artefact."""
    stage = STAGES[name]
    stage.run(setting)
    made = setting.made[name] = setting.places.to_write(stage.artefacts(setting)[0])
    return _sound(setting, made)


def require(setting: Setting, name: str) -> Path:
    """The artefact of a stage: the one that stands or was made by this command, else made where that is cheap."""
    stage = STAGES[name]
    found = setting.made.get(name) or locate(setting, name)
    if found:
        return found
    if setting.places.under_dvc:
        raise MissingError(_gap_under_dvc(setting, stage))
    if stage.costly:
        raise MissingError(_gap_at_the_prompt(setting, stage))
    return make(setting, name)


def _sound(setting: Setting, path: Path) -> Path:
    """The same path; where verify_on_read is on, once every byte of what a ledger names was read. DamagedError where
    one is not what its record says."""
    if setting.params.verify_on_read and path.suffix == ".json":
        for key in read_ledger(path).keys:
            require_sound(folder_of(setting.places.store, key.kind, key.key))
    return path


def _gap_under_dvc(setting: Setting, stage: Stage) -> str:
    """What to say under DVC, where an earlier stage's artefact is missing, stale, or names what the store lacks."""
    path = setting.places.to_write(stage.artefacts(setting)[0])
    if not path.exists() or stamped(path) != stage.stamp(setting):
        return f"{path}: missing, or made from other inputs; run 'make repro', or 'dvc repro -f {stage.name}'"
    return f"{path}: names what the store lacks; run 'python -m pipeline verify --mend'"


def _gap_at_the_prompt(setting: Setting, stage: Stage) -> str:
    """What to say at the prompt, where a costly artefact is missing: the command that makes it, with every flag."""
    command = " ".join(
        ["python -m pipeline", stage.name, f"--dataset {setting.params.dataset}", *changes(setting, STAGE_ONE)]
    )
    return f"{setting.params.dataset}: no features of {setting.label} made with these parameters stand; run {command}"


def changes(setting: Setting, sections: tuple[str, ...]) -> list[str]:
    """The keys of some sections that differ from params.yaml, as -S flags."""
    shipped = dict(leaves(read_values(setting.places.root / "params.yaml")))
    present = leaves(setting.params.model_dump(by_alias=True))
    changed = ((key, value) for key, value in present if value != shipped.get(key))
    return [
        f"-S {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in changed if key.split(".")[0] in sections
    ]


# --- what each stage is made of -------------------------------------------------------------------------------------


def _file_digest(setting: Setting, path: str | None) -> str | None:
    """What tells one state of an input from another: a file's digest, a folder's names, sizes and times."""
    if path is None:
        return None
    found = setting.places.inside(path)
    with readable(setting.params.dataset):
        if not found.is_dir():
            return digest_file(found) if found.is_file() else readable_name(path)
    if found not in setting.scanned:  # a stamp is asked for again and again, and a folder may hold a million files
        setting.scanned[found] = folder_digest(found)
    return setting.scanned[found]


def _keys(path: Path) -> list[str]:
    """The store keys that a ledger names, in its order."""
    return [key.key for key in read_ledger(path).keys]


def _manifest(setting: Setting) -> Path:
    return require(setting, "ingest")


def _features(setting: Setting) -> Path:
    return require(setting, "extract")


def _ingest_stamp(setting: Setting) -> str:
    params, section = setting.params, setting.params.ingest
    own: list[Any]
    if is_shift(params.dataset):
        base = params.model_copy(update={"dataset": parts_of(params.dataset)[0]})
        own = [_ingest_stamp(replace(setting, params=base)), section.blur]
    elif params.dataset == "table":
        own = [section.table.model_dump(), _file_digest(setting, section.table.path)]
    elif params.dataset == "openmoji":
        own = [section.max_per_class]
    elif params.dataset == FEATURES:
        own = _imported(setting)
    else:
        own = [_file_digest(setting, f"{section.root}/{find_dataset(params.dataset).place}")]
        own += [section.class_text] if is_coop(params.dataset) else []
    return digest_of(["ingest", params.dataset, section.root, section.captions == "join", own])


def _imported(setting: Setting) -> list[Any]:
    """What tells one state of imported features from another: how they are read, and every file of theirs."""
    section = setting.params.ingest.features
    return [section.model_dump(), *(_file_digest(setting, path) for path in imported_inputs(section))]


def _extract_stamp(setting: Setting) -> str:
    section = setting.params.extract
    kept = section.model_dump(
        exclude={"workers", "backend", "batch", "rows_per_shard", "weights", "heads", "allow_pickle"}
    )
    for key, path in (("weights", section.weights), ("heads", section.heads)):
        if path is not None:
            refuse_folder(key, setting.places.inside(path))
    files = [_file_digest(setting, section.weights), _file_digest(setting, section.heads)]
    files += [digest_file(path) for path in inputs_of(setting.params.encoder, setting.places.home)]
    if setting.params.dataset == FEATURES:
        files.append(digest_of(_imported(setting)))
    manifest = read_about(_manifest(setting))["digest"]
    return digest_of(["extract", KINDS_VERSION["features"], manifest, setting.params.encoder, kept, files])


def _split_stamp(setting: Setting) -> str:
    manifest = read_about(_manifest(setting))["digest"]
    return digest_of(["split", manifest, _keys(_features(setting)), setting.params.split.model_dump()])


def _mixture_stamp(setting: Setting) -> str:
    params = setting.params
    return digest_of(
        [
            "mixture",
            KINDS_VERSION["mixtures"],
            _keys(_features(setting)),
            params.mixture.model_dump(),
            params.ingest.captions,
        ]
    )


def _train_stamp(setting: Setting) -> str:
    inputs = [_split_stamp(setting), _mixture_stamp(setting) if _uses_views(setting) else None]
    read = captions_read(setting.params.ingest.captions)
    versions = [KINDS_VERSION["heads"], KINDS_VERSION["selections"]]
    return digest_of(["train", versions, inputs, read, decisive(setting.params.train)])


def _uses_views(setting: Setting) -> bool:
    """Whether a method that is to run reads component views: only then is a mixture fitted on the way."""
    return any(row.uses_views for row in rows_of(setting.params.train))


def _mixtures(setting: Setting) -> Path | None:
    return require(setting, "mixture") if _uses_views(setting) else None


def _evaluate_stamp(setting: Setting) -> str:
    return digest_of(["evaluate", _train_stamp(setting), setting.label, setting.params.evaluate.model_dump()])


def _report_stamp(setting: Setting) -> str:
    return digest_of(["report", _evaluate_stamp(setting)])


# --- what each stage runs on ----------------------------------------------------------------------------------------


def _out(setting: Setting, name: str, index: int = 0) -> Path:
    return setting.places.to_write(STAGES[name].artefacts(setting)[index])


def beside(first: Path, setting: Setting, name: str, index: int) -> Path:
    """Another artefact of a stage, in the same of the two places as its first."""
    places = setting.places
    artefacts = STAGES[name].artefacts(setting)
    where = places.to_read(artefacts[0]).index(first)
    return places.to_read(artefacts[index])[where]


def _unpack(setting: Setting) -> None:
    """Unpack published archives that lie in the dataset's folder: the stamp is that of the files that come of them."""
    dataset = find_dataset(setting.params.dataset)
    if dataset.address:  # what was published has one
        folder = setting.places.home / setting.params.ingest.root / dataset.place
        unpack_archives(dataset.name, folder, dataset.parts)


def _ingest_params(setting: Setting, stamp: str) -> IngestParams:
    params = setting.params
    return IngestParams(
        dataset=params.dataset,
        section=params.ingest,
        home=setting.places.home,
        manifest=_out(setting, "ingest"),
        made_from=stamp,
        storage=params.extract.storage if params.dataset == FEATURES and params.extract.tokens != "none" else None,
    )


def _extract_params(setting: Setting, stamp: str) -> ExtractParams:
    places = setting.places
    return ExtractParams(
        encoder=setting.params.encoder,
        label=setting.label,
        section=setting.params.extract,
        home=places.home,
        store=places.store,
        manifest=_manifest(setting),
        ledger=_out(setting, "extract"),
        made_from=stamp,
        wait_for_lock=places.stage is not None,
        features=setting.params.ingest.features if setting.params.dataset == FEATURES else None,
    )


def _split_params(setting: Setting, stamp: str) -> SplitParams:
    return SplitParams(
        section=setting.params.split,
        store=setting.places.store,
        manifest=_manifest(setting),
        features=_features(setting),
        episodes=_out(setting, "split"),
        made_from=stamp,
    )


def _mixture_params(setting: Setting, stamp: str) -> MixtureParams:
    return MixtureParams(
        section=setting.params.mixture,
        captions=setting.params.ingest.captions,
        store=setting.places.store,
        manifest=_manifest(setting),
        features=_features(setting),
        ledger=_out(setting, "mixture"),
        made_from=stamp,
        wait_for_lock=setting.places.stage is not None,
    )


def _train_params(setting: Setting, stamp: str) -> TrainParams:
    return TrainParams(
        section=setting.params.train,
        captions=setting.params.ingest.captions,
        store=setting.places.store,
        manifest=_manifest(setting),
        features=_features(setting),
        episodes=require(setting, "split"),  # before the mixture, which is dear: split may refuse
        mixtures=_mixtures(setting),
        ledger=_out(setting, "train"),
        history=_out(setting, "train", 1),
        made_from=stamp,
        wait_for_lock=setting.places.stage is not None,
    )


def _evaluate_params(setting: Setting, stamp: str) -> EvaluateParams:
    params = setting.params
    named = {"table": params.ingest.table.name, FEATURES: params.ingest.features.name}
    return EvaluateParams(
        section=params.evaluate,
        dataset=named.get(params.dataset, params.dataset),
        label=setting.label,
        captions=params.ingest.captions,
        store=setting.places.store,
        manifest=_manifest(setting),
        features=_features(setting),
        episodes=require(setting, "split"),  # before the mixture, which is dear: split may refuse
        mixtures=_mixtures(setting),
        heads=require(setting, "train"),
        scores=_out(setting, "evaluate"),
        queries=_out(setting, "evaluate", 1),
        metrics=_out(setting, "evaluate", 2),
        made_from=stamp,
    )


def _report_params(setting: Setting, stamp: str) -> ReportParams:
    if setting.params.split.protocol == CLASSIFY:
        raise UsageError("report is about retrieval; 'evaluate --task classify' prints the table of classification")
    scores = require(setting, "evaluate")
    heads = require(setting, "train")
    return ReportParams(
        captions=setting.params.ingest.captions,
        home=setting.places.home,
        store=setting.places.store,
        manifest=_manifest(setting),
        features=_features(setting),
        episodes=require(setting, "split"),
        scores=scores,
        queries=beside(scores, setting, "evaluate", 1),
        metrics=beside(scores, setting, "evaluate", 2),
        history=beside(heads, setting, "train", 1),
        mixtures=require(setting, "mixture"),
        heads=heads,
        page=_out(setting, "report"),
        table=_out(setting, "report", 1),
        plots=_out(setting, "report", 2),
        about={**about_run(setting, stamp), "values_from": read_ledger(heads).about["values_from"]},
    )


def about_run(setting: Setting, stamp: str) -> dict[str, Any]:
    """What ran, for the report: dataset, encoder label, every parameter, the stamp, the machine and its software."""
    params = setting.params.model_dump(by_alias=True, exclude={"store"})
    told = {"dataset": setting.params.dataset, "encoder": setting.label, "params": params, "made_from": stamp}
    return {**told, "machine": processor(), "software": software()}


def _named(*templates: str) -> Callable[[Setting], list[str]]:
    """Artefact names from templates with {dataset} and {label}."""

    def names(setting: Setting) -> list[str]:
        return [t.format(dataset=setting.params.dataset, label=setting.label) for t in templates]

    return names


def _features_ledger(setting: Setting) -> list[str]:
    """The name of the ledger of features; of imported ones each path has its own, for two may end in one label."""
    path = setting.params.ingest.features.path
    apart = f"-{digest_of(path)[:8]}" if setting.params.dataset == FEATURES and path else ""
    return _named(f"features/{{dataset}}/{{label}}{apart}.json")(setting)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("ingest", _named("manifests/{dataset}.parquet"), _ingest_stamp, _ingest_params, before=_unpack),
        Stage("extract", _features_ledger, _extract_stamp, _extract_params, True),
        Stage("split", _named("episodes/{dataset}.parquet"), _split_stamp, _split_params),
        Stage("mixture", _named("mixtures/{dataset}/{label}.json"), _mixture_stamp, _mixture_params),
        Stage(
            "train",
            _named("heads/{dataset}/{label}.json", "results/history.parquet"),
            _train_stamp,
            _train_params,
        ),
        Stage(
            "evaluate",
            _named("results/scores.parquet", "results/queries.parquet", "results/metrics.json"),
            _evaluate_stamp,
            _evaluate_params,
        ),
        Stage(
            "report",
            _named("results/report.html", "results/table.md", "results/plots"),
            _report_stamp,
            _report_params,
        ),
    )
}
