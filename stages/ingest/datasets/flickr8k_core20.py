"""Flickr8k's photographs (Hodosh, Young, Hockenmaier 2013) whose captions agree on one of 20 classes.

The project ships which they are: flickr8k_core20.csv, beside this file, with id, class and Flickr8k's own split. A
photograph has a class when at least four of its five captions name the class and at most one names any other."""

from __future__ import annotations

import csv
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from cache.errors import UserError
from cache.manifest import Manifest
from stages.columns import read_columns
from stages.ingest.datasets import find
from stages.ingest.pairs import Pair, unmeasured
from stages.ingest.params import IngestParams
from stages.ingest.places import from_home, standing, whole_folder
from stages.ingest.words import decoded

IN_COLUMNS = [f"caption_{number}" for number in range(5)]

Captions = dict[str, list[str]]  # by id


def load(params: IngestParams) -> Manifest:
    """The manifest, bytes and digests not yet read, in the order of the shipped list; five captions an item.

    The registry says where photographs and captions may lie; the first folder and the first file that are there are
    read. No split is declared: Flickr8k's own would leave classes without training rows. UserError where the captions
    lack one of the photographs."""
    root = whole_folder(params)
    pictures, captions = (standing(root, part) or root for part in find("flickr8k-core20").parts)
    texts = READERS[captions.name](captions)
    labels = {row["id"]: row["label"] for row in shipped()}
    _require_all(labels, texts, captions.name)
    pairs = [Pair(one, f"{pictures.name}/{one}.jpg", texts[one], [label], None) for one, label in labels.items()]
    return unmeasured("flickr8k-core20", from_home(root, params.home), pairs)


def shipped() -> list[dict[str, str]]:
    """The shipped list, in its order: id, label and split (train, val, test or empty)."""
    text = resources.files("stages.ingest.datasets").joinpath("flickr8k_core20.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _require_all(labels: dict[str, str], texts: Captions, name: str) -> None:
    lost = [one for one in labels if not texts.get(one)]
    if lost:
        raise UserError(
            f"flickr8k-core20: {name} has no caption of {len(lost)} of {len(labels)} photographs, the first is "
            f"'{lost[0]}'; get the file whole"
        )


def _tokens(path: Path) -> Captions:
    """Flickr8k.token.txt, `<image>#<number>`, a tab and the caption a line: the captions by number."""
    numbered: dict[str, dict[int, str]] = {}
    for where, line in _lines(path):
        name, tab, caption = line.partition("\t")
        image, _, number = name.rpartition("#")
        if not tab or not number.isdecimal():
            raise UserError(f"{where} is '{line[:100]}'; it must be <image>#<number>, a tab and the caption")
        numbered.setdefault(_stem(image), {})[int(number)] = caption.strip()
    return {one: [caption for _, caption in sorted(captions.items()) if caption] for one, captions in numbered.items()}


def _commas(path: Path) -> Captions:
    """captions.txt, `<image>,<caption>` a line behind the line `image,caption`; a caption may be quoted, or hold commas
    as it is: the first comma of a line ends the name."""
    found: Captions = {}
    for where, line in _lines(path):
        image, comma, caption = line.partition(",")
        if not comma:
            raise UserError(f"{where} is '{line[:100]}'; it must be the image, a comma and the caption")
        caption = caption.strip()
        if len(caption) > 1 and caption.startswith('"') and caption.endswith('"'):
            caption = caption[1:-1].replace('""', '"').strip()
        found.setdefault(_stem(image), []).extend([caption] if caption else [])
    return found


def _columns(path: Path) -> Captions:
    """pairs.csv: id, label and caption_0 to caption_4; UserError where a label is not the shipped one."""
    columns = read_columns(path, "flickr8k-core20: pairs.csv")
    lost = [name for name in ("id", "label", *IN_COLUMNS) if name not in columns]
    if lost:
        raise UserError(f"flickr8k-core20: pairs.csv: no column '{lost[0]}'; get the file whole")
    shipped_labels = {row["id"]: row["label"] for row in shipped()}
    for one, label in zip(columns["id"], columns["label"], strict=True):
        if label != shipped_labels.get(one, label):
            raise UserError(
                f"flickr8k-core20: pairs.csv gives '{one}' the class '{label}', the shipped list "
                f"'{shipped_labels[one]}'; read a table of your own by --dataset table"
            )
    captions = zip(*(columns[name] for name in IN_COLUMNS), strict=True)
    return {one: [text for text in texts if text.strip()] for one, texts in zip(columns["id"], captions, strict=True)}


def _lines(path: Path) -> list[tuple[str, str]]:
    """The lines that are not blank, nor the header of captions.txt, each with its place for a person."""
    lines = enumerate(decoded(path.read_bytes()).splitlines(), start=1)
    wanted = [(number, line) for number, line in lines if line.strip() and line.strip() != "image,caption"]
    return [(f"flickr8k-core20: {path.name} line {number}", line) for number, line in wanted]


def _stem(image: str) -> str:
    return image.strip().removesuffix(".jpg")


READERS: dict[str, Callable[[Path], Captions]] = {
    "Flickr8k.token.txt": _tokens,
    "captions.txt": _commas,
    "pairs.csv": _columns,
}
