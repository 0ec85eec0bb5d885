"""Several datasets in one command: each in a folder of runs/ of its own, so that none overwrites another's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from cache.episodes import CLASSIFY
from cache.errors import UsageError
from cache.files import digest_of
from cache.scores import read_scores, write_scores
from pipeline.places import SEVERAL, Places
from pipeline.setting import Setting
from pipeline.wiring import stamped
from stages.ingest.datasets import find
from stages.ingest.datasets.coop_sets import as_file_name


def settings_of(setting: Setting) -> list[Setting]:
    """The setting, or one for each of its datasets; UsageError where several are not for its task, or one is none."""
    if not setting.more:
        return [setting]
    if setting.params.split.protocol != CLASSIFY:
        raise UsageError("--dataset names several, whose mean is for classification; pass --task classify, or name one")
    names = [setting.params.dataset, *map(as_file_name, setting.more)]
    return [_setting_of(setting, find(name).name) for name in dict.fromkeys(names)]


def _setting_of(setting: Setting, dataset: str) -> Setting:
    places = replace(setting.places, aside=f"{SEVERAL}/{dataset}")
    return Setting(setting.params.model_copy(update={"dataset": dataset}), places)


def write_joined(places: Places, scores: Sequence[Path]) -> Path:
    """The scores of all datasets as one table of the same columns, whose stamp is that of all; where it lies."""
    path = replace(places, aside=SEVERAL).to_write("results/scores.parquet")
    made_from = digest_of(["joined", *map(stamped, scores)])
    write_scores(path, pa.concat_tables([read_scores(own) for own in scores]), made_from)
    return path
