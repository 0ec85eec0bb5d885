"""NUS-WIDE (Chua et al. 2009) in its published text layout: pictures with tags, made single-label.

`nuswide`: the ten largest of the 81 concepts, counted over all pictures in AllLabels; a picture belongs to it when it
bears exactly one of these ten, whatever else of the other 71 it bears. The split is the published one, of
TrainImagelist.txt and TestImagelist.txt.

`nuswide-10k`: the ten concepts of Feng et al. 2014, 1,000 pictures each. Their list was not published. Ours: of the
pictures that bear exactly one of the ten, in each concept the first 1,000 by hex sha256 of the id; of these the first
800 are train, the next 100 val, the last 100 test (their proportions). Who has a list lays it beside ImageList/ as
nuswide-10k.csv (image, label and, if there is one, split).

In both the text is the tags with blanks between them, and a picture without any tag is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError, counted, meant, nearest
from cache.manifest import Manifest
from stages.columns import read_columns
from stages.ingest.pairs import Pair, unmeasured
from stages.ingest.params import IngestParams
from stages.ingest.places import from_home, whole_folder
from stages.ingest.words import decoded
from stages.progress import reporter

LARGEST = 10  # concepts of nuswide
IN_10K = ("animal", "clouds", "flowers", "food", "grass", "person", "sky", "toy", "water", "window")
A_CONCEPT = 1000  # pictures of nuswide-10k
PARTS_OF_10K = {"train": 800, "val": 100, "test": 100}  # of a concept
SPLITS = {"train": "ImageList/TrainImagelist.txt", "test": "ImageList/TestImagelist.txt"}
OWN_LIST = "nuswide-10k.csv"


@dataclass(frozen=True)
class Picture:
    """A picture with tags: its id is its path below Flickr/ without suffix, `<folder>/<name>`."""

    id: str
    tags: str
    concept: str

    def pair(self, split: str | None) -> Pair:
        """The picture as a row of the manifest."""
        return Pair(self.id, f"Flickr/{self.id}.jpg", [self.tags], [self.concept], split)


def load(params: IngestParams) -> Manifest:
    """The manifest of `nuswide`, bytes and digests not yet read, in the order of Imagelist.txt."""
    root = whole_folder(params)
    ids = _ids(root, "ImageList/Imagelist.txt")
    borne = _labels(root, _named_concepts(root), len(ids))
    largest = sorted(borne, key=lambda concept: -int(borne[concept].sum()))[:LARGEST]  # the first of equals
    splits = _splits(root, ids)
    pairs = [picture.pair(splits[picture.id]) for picture in _single(root, ids, {c: borne[c] for c in largest})]
    return unmeasured("nuswide", from_home(root, params.home), pairs)


def load_10k(params: IngestParams) -> Manifest:
    """The manifest of `nuswide-10k`, bytes and digests not yet read, sorted by id; or of OWN_LIST, in its order."""
    root = whole_folder(params)
    ids = _ids(root, "ImageList/Imagelist.txt")
    if (root / OWN_LIST).is_file():
        pairs = list(_listed(root, ids))
    else:
        _require_concepts(root)
        pictures = list(_single(root, ids, _labels(root, IN_10K, len(ids))))
        pairs = sorted((pair for c in IN_10K for pair in _first(pictures, c)), key=lambda pair: pair.id)
    return unmeasured("nuswide-10k", from_home(root, params.home), pairs)


def _ids(root: Path, name: str) -> list[str]:
    """The pictures of a list, in its order: `actor\\0001_2124494179.jpg` is `actor/0001_2124494179`."""
    lines = decoded((root / name).read_bytes()).splitlines()
    return [_id(line) for line in lines if line.strip()]


def _id(written: str) -> str:
    return PureWindowsPath(written.strip()).as_posix().removesuffix(".jpg")


def _concepts(root: Path) -> list[str]:
    return decoded((root / "ConceptsList/Concepts81.txt").read_bytes()).split()


def _named_concepts(root: Path) -> list[str]:
    """The concepts; UserError where AllLabels has a file of one that Concepts81.txt does not name."""
    concepts, files = _concepts(root), (root / "Groundtruth" / "AllLabels").glob("Labels_*.txt")
    odd = sorted({path.stem.removeprefix("Labels_") for path in files} - set(concepts))
    if odd:
        raise UserError(
            f"nuswide: Concepts81.txt does not name {counted(len(odd), 'concept')} that AllLabels has a file of, the "
            f"first is '{odd[0]}'; get both anew"
        )
    return concepts


def _require_concepts(root: Path) -> None:
    strange = sorted(set(IN_10K) - set(_concepts(root)))
    if strange:
        raise UserError(f"nuswide-10k: Concepts81.txt has no concept '{strange[0]}'; get the file whole")


def _labels(root: Path, concepts: Sequence[str], pictures: int) -> dict[str, NDArray[np.bool_]]:
    """Which pictures bear each concept (pictures,); UserError where a file is missing, of another length, or not of
    0 and 1, a line each."""
    found = {}
    for concept in concepts:
        path = root / "Groundtruth" / "AllLabels" / f"Labels_{concept}.txt"
        if not path.is_file():
            there = [file.stem.removeprefix("Labels_") for file in path.parent.glob("Labels_*.txt")]
            raise UserError(
                f"nuswide: Concepts81.txt names '{concept}', AllLabels has no {path.name}{meant(concept, there)}; get "
                "both anew"
            )
        marks = np.frombuffer(b"".join(path.read_bytes().split()), np.uint8) - ord("0")
        if len(marks) != pictures or marks.max(initial=0) > 1:
            raise UserError(
                f"nuswide: {path.name} must hold 0 or 1 a line for each of the {pictures} pictures of Imagelist.txt, "
                f"it holds {len(marks)} marks; get the file whole"
            )
        found[concept] = marks.astype(bool)
    return found


def _splits(root: Path, ids: list[str]) -> dict[str, str]:
    """The published split of each picture; UserError where its lists name others than Imagelist.txt does."""
    known, found = set(ids), {}
    for split, name in SPLITS.items():
        for one in _ids(root, name):
            if one not in known:
                raise UserError(f"nuswide: {name} names '{one}', which Imagelist.txt does not; get both files anew")
            found[one] = split
    without = [one for one in ids if one not in found]
    if without:
        raise UserError(
            f"nuswide: {counted(len(without), 'picture')} of Imagelist.txt, in neither TrainImagelist.txt nor "
            f"TestImagelist.txt, the first is '{without[0]}'; get the files anew"
        )
    return found


def _tags(root: Path) -> dict[str, str]:
    """The tags of each photograph, by its number, which is the last part of a picture's name."""
    found = {}
    for line in decoded((root / "NUS_WID_Tags/All_Tags.txt").read_bytes()).splitlines():
        number, *tags = line.split() or [""]
        found[number] = " ".join(tags)
    return found


def _single(root: Path, ids: list[str], borne: dict[str, NDArray[np.bool_]]) -> Iterator[Picture]:
    """The pictures that bear exactly one of these concepts and have tags, in the order of the list."""
    marks = np.stack(list(borne.values()))  # (concepts, pictures)
    rows = np.flatnonzero(marks.sum(axis=0) == 1)
    concepts, tags, without = list(borne), _tags(root), 0
    for row, concept in zip(rows.tolist(), marks[:, rows].argmax(axis=0).tolist(), strict=True):
        words = tags.get(_number(ids[row]), "")
        without += not words
        if words:
            yield Picture(ids[row], words, concepts[concept])
    if without:
        reporter().say(
            f"nuswide: left out for want of tags: {without} of {counted(len(rows), 'picture')} of one concept"
        )


def _number(one: str) -> str:
    return one.rpartition("_")[2]


def _first(pictures: list[Picture], concept: str) -> Iterator[Pair]:
    """The 1,000 pictures of a concept that are the first by sha256 of the id, with their split."""
    own = [picture for picture in pictures if picture.concept == concept]
    if len(own) < A_CONCEPT:
        raise UserError(
            f"nuswide-10k: {len(own)} pictures bear '{concept}' alone and have tags, {A_CONCEPT} are needed; "
            "get the files whole"
        )
    own.sort(key=lambda picture: hashlib.sha256(picture.id.encode()).hexdigest())
    splits = (split for split, count in PARTS_OF_10K.items() for _ in range(count))
    yield from (picture.pair(split) for picture, split in zip(own[:A_CONCEPT], splits, strict=True))


def _listed(root: Path, ids: list[str]) -> Iterator[Pair]:
    """The pictures of OWN_LIST; UserError for one that Imagelist.txt lacks, of a class that is no concept, or without
    tags."""
    columns = read_columns(root / OWN_LIST, f"nuswide-10k: {OWN_LIST}")
    lost = [name for name in ("image", "label") if name not in columns]
    if lost:
        raise UserError(f"nuswide-10k: {OWN_LIST}: no column '{lost[0]}'; its first line must name image and label")
    known, concepts, tags = set(ids), set(_concepts(root)), _tags(root)
    splits = columns.get("split", [""] * len(columns["image"]))
    for image, label, split in zip(columns["image"], columns["label"], splits, strict=True):
        one = _id(image)
        if one not in known:
            raise UserError(f"nuswide-10k: {OWN_LIST} names '{image[:100]}', which Imagelist.txt does not; mend it")
        if label not in concepts:
            raise UserError(f"nuswide-10k: {OWN_LIST}: no concept '{label}'{nearest(label, concepts)}")
        yield Picture(one, tags.get(_number(one), ""), label).pair(split.strip() or None)
