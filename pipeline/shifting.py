"""Heads that were trained on one dataset, scored on another test set of the same classes: no head is trained anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cache.episodes import CLASSIFY
from cache.errors import UsageError
from cache.files import digest_of
from pipeline.setting import Setting
from pipeline.wiring import STAGES, require, stamped
from stages.evaluate.params import EvaluateParams
from stages.evaluate.run import run
from stages.extract.encoders.registry import IMPORTED
from stages.ingest.datasets import find
from stages.ingest.datasets.coop_sets import as_file_name
from stages.ingest.datasets.shifts import BETWEEN, KINDS

FOLDER = "to-{}"  # of runs/: what a target's features and scores lie in


def scored_on(setting: Setting, target: str) -> Path:
    """The scores of a setting's heads on a target: a dataset, or how the pictures of the setting's own are degraded.

    UsageError where the task is not classification, or there is no such dataset; MissingError, with the command, where
    its features are not there."""
    if setting.params.split.protocol != CLASSIFY:
        raise UsageError("--target-dataset is for classification; pass --task classify, too")
    if setting.params.encoder == IMPORTED:
        raise UsageError("--target-dataset needs an encoder for the other pictures, and these features were imported")
    there = _setting_of(setting, target)
    manifest, features = require(there, "ingest"), require(there, "extract")
    stage = STAGES["evaluate"]
    own: EvaluateParams = stage.params(setting, stage.stamp(setting))
    scores, queries, metrics = map(there.places.to_write, stage.artefacts(there))
    params = replace(
        own,
        dataset=f"{own.dataset}{BETWEEN}{as_file_name(target)}",
        manifest=manifest,
        features=features,
        mixtures=None,
        shifted=True,
        made_from=digest_of(["shifted", own.made_from, stamped(manifest), stamped(features)]),
        scores=scores,
        queries=queries,
        metrics=metrics,
    )
    run(params)
    return params.scores


def _setting_of(setting: Setting, target: str) -> Setting:
    """The setting of a target, in a folder of runs/ of its own."""
    name = f"{setting.params.dataset}{BETWEEN}{target}" if target in KINDS else as_file_name(target)
    find(name)
    places = replace(setting.places, aside=f"{setting.places.aside}/{FOLDER.format(as_file_name(target))}".strip("/"))
    return Setting(setting.params.model_copy(update={"dataset": name}), places)
