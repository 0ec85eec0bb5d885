"""The sets that are read as `coop:<name>`: the benchmarks of few-shot classification in the layout of CoOp (Zhou et
al., IJCV 2022), and any other set laid out like one of them."""

from __future__ import annotations

import re

from cache.errors import UsageError
from stages.ingest.datasets.dataset import Dataset

PREFIX = "coop-"  # what stands for `coop:` in the names of files and in the scores
SPLIT_FILES = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"
LAYOUTS = ("split_*.json", "classnames.txt", "images_variant_train.txt")  # one of them says how a set is laid out
LOAD = "stages.ingest.datasets.coop:load"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def _split(
    name: str, about: str, items: int, classes: int, licence: str, address: str, download: str, file: str, *parts: str
) -> Dataset:
    """A set with a split file of its own; parts: the folders of its pictures."""
    split = f"split_zhou_{file}.json"
    return Dataset(
        name=PREFIX + name,
        about=about,
        items=items,
        classes=classes,
        licence=licence,
        source=f"{split} ({SPLIT_FILES}) and the pictures",
        address=address,
        download=download,
        layout=", ".join([split, *(f"{part}/" for part in parts)]),
        load=LOAD,
        parts=(split, *parts),
    )


def _folders(name: str, about: str, items: int, classes: int, address: str, download: str, *parts: str) -> Dataset:
    """ImageNet or a variant of it: folders of classes and classnames.txt."""
    return Dataset(
        name=PREFIX + name,
        about=about,
        items=items,
        classes=classes,
        licence="research",
        source=f"classnames.txt ({SPLIT_FILES}) and the pictures",
        address=address,
        download=download,
        layout=", ".join(["classnames.txt", *(f"{part.split('|')[0]}/<class id>/<picture>" for part in parts)]),
        load=LOAD,
        parts=("classnames.txt", *parts),
    )


_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
_RESEARCH = "research"

_KNOWN = (
    _folders(
        "imagenet",
        "ImageNet (ILSVRC 2012): photographs of 1,000 classes; its `val` is the test set (Russakovsky et al. 2015)",
        1331167,
        1000,
        "https://image-net.org/download.php",
        "about 155 GB",
        "train|images/train",
        "val|images/val",
    ),
    _split(
        "caltech101",
        "Caltech 101: objects (Fei-Fei et al. 2004)",
        8242,
        100,
        "CC BY 4.0",
        "https://data.caltech.edu/records/mzrjq-6wc02",
        "about 137 MB",
        "Caltech101",
        "101_ObjectCategories",
    ),
    _split(
        "oxford_pets",
        "Oxford-IIIT Pets: breeds of cats and dogs (Parkhi et al. 2012)",
        7349,
        37,
        "CC BY-SA 4.0",
        f"{_OXFORD}/pets/",
        "about 792 MB",
        "OxfordPets",
        "images",
    ),
    _split(
        "stanford_cars",
        "Stanford Cars: makes, models and years (Krause et al. 2013)",
        16185,
        196,
        _RESEARCH,
        "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        "about 2.0 GB",
        "StanfordCars",
        "cars_train",
        "cars_test",
    ),
    _split(
        "oxford_flowers",
        "Oxford Flowers 102 (Nilsback and Zisserman 2008)",
        8189,
        102,
        _RESEARCH,
        f"{_OXFORD}/flowers/102/",
        "about 345 MB",
        "OxfordFlowers",
        "jpg",
    ),
    _split(
        "food101",
        "Food-101: dishes (Bossard et al. 2014)",
        101000,
        101,
        _RESEARCH,
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        "about 5.0 GB",
        "Food101",
        "images",
    ),
    Dataset(
        name=PREFIX + "fgvc_aircraft",
        about="FGVC-Aircraft: variants of aircraft (Maji et al. 2013)",
        items=10000,
        classes=100,
        licence=_RESEARCH,
        source="the archive fgvc-aircraft-2013b",
        address=f"{_OXFORD}/fgvc-aircraft/",
        download="about 2.75 GB",
        layout="images/, variants.txt, images_variant_train.txt, images_variant_val.txt, images_variant_test.txt",
        load=LOAD,
        parts=("images", "variants.txt", *(f"images_variant_{split}.txt" for split in ("train", "val", "test"))),
    ),
    _split(
        "sun397",
        "SUN397: scenes (Xiao et al. 2010)",
        39700,
        397,
        _RESEARCH,
        "https://vision.princeton.edu/projects/2010/SUN/",
        "about 39 GB",
        "SUN397",
        "SUN397",
    ),
    _split(
        "dtd",
        "Describable Textures (Cimpoi et al. 2014)",
        5640,
        47,
        _RESEARCH,
        f"{_OXFORD}/dtd/",
        "about 625 MB",
        "DescribableTextures",
        "images",
    ),
    _split(
        "eurosat",
        "EuroSAT: land use from a satellite (Helber et al. 2019)",
        27000,
        10,
        "MIT",
        "https://github.com/phelber/EuroSAT",
        "about 94 MB",
        "EuroSAT",
        "2750",
    ),
    _split(
        "ucf101",
        "UCF101: the middle frames of videos of actions (Soomro et al. 2012)",
        13320,
        101,
        _RESEARCH,
        "https://www.crcv.ucf.edu/data/UCF101.php",
        "unknown",
        "UCF101",
        "UCF-101-midframes",
    ),
    _folders(
        "imagenetv2",
        "ImageNetV2, matched frequency: a second test set (Recht et al. 2019)",
        10000,
        1000,
        "https://github.com/modestyachts/ImageNetV2",
        "about 1.3 GB",
        "imagenetv2-matched-frequency-format-val",
    ),
    _folders(
        "imagenet_sketch",
        "ImageNet-Sketch: drawings (Wang et al. 2019)",
        50889,
        1000,
        "https://github.com/HaohanWang/ImageNet-Sketch",
        "about 7.6 GB",
        "sketch|images",
    ),
    _folders(
        "imagenet_a",
        "ImageNet-A: natural adversarial examples of 200 classes (Hendrycks et al. 2021)",
        7500,
        200,
        "https://github.com/hendrycks/natural-adv-examples",
        "about 688 MB",
        "imagenet-a",
    ),
    _folders(
        "imagenet_r",
        "ImageNet-R: renditions of 200 classes (Hendrycks et al. 2021)",
        30000,
        200,
        "https://github.com/hendrycks/imagenet-r",
        "about 2.2 GB",
        "imagenet-r",
    ),
)

COOP_SETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _KNOWN}


def is_coop(name: str) -> bool:
    """Whether a dataset's name is `coop:<name>`, or `coop-<name>` as files have it."""
    return name.startswith((PREFIX, "coop:"))


def as_file_name(name: str) -> str:
    """A dataset's name as files have it, where a colon is none: `coop-<name>` for `coop:<name>`, else as it is."""
    return PREFIX + name[len(PREFIX) :] if is_coop(name) else name


def as_typed(name: str) -> str:
    """A dataset's name as one types it: `coop:<name>` for `coop-<name>`, else as it is."""
    return f"coop:{name[len(PREFIX) :]}" if is_coop(name) else name


def find_coop(name: str) -> Dataset:
    """The set of `coop:<name>`: a known one, or whatever the user has laid out like one; UsageError where <name> cannot
    be that of a folder."""
    own = name[len(PREFIX) :]
    if not re.fullmatch(NAME, own):
        raise UsageError(
            f"no dataset '{name}'; write coop:<name> of letters, digits and . _ -, a letter or digit first, as in "
            "coop:oxford_pets"
        )
    return COOP_SETS.get(PREFIX + own) or Dataset(
        name=PREFIX + own,
        about="pictures in the layout of CoOp",
        items=None,
        classes=None,
        licence="yours",
        source="its split file or class names; the known ones are "
        + ", ".join(each[len(PREFIX) :] for each in COOP_SETS),
        address=SPLIT_FILES,
        download="",
        layout="split_zhou_<Name>.json, or classnames.txt and a folder of class folders, beside the pictures' folder",
        load=LOAD,
    )
