"""ImageNet and its variants: folders called by class ids, and the file that says what the classes are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from cache.errors import UserError, counted
from stages.ingest.class_folders import named, pictures_in, visible
from stages.ingest.datasets.dataset import Dataset
from stages.ingest.pairs import Pair
from stages.progress import reporter

CLASS_NAMES = "classnames.txt"
SPLITS = {"train": "train", "val": "test"}  # ImageNet's test labels are not published: all test on its val


def named_pairs(root: Path, dataset: Dataset) -> Callable[[], Iterator[Pair]]:
    """What gives the pairs of class folders, in the order of their names, the class name as their text: the folders are
    looked at now, the pictures at each call, a folder at a time, for ImageNet has over a million.

    They lie below train/ and val/, the split then being train and test, or in one folder, without a split. A folder is
    called by a class id of classnames.txt, or by its place there, from 0 on. UserError where folders and names
    disagree: a folder without a name; a class in one of train and val alone; a class without a folder where the
    registry says that the set has as many classes as there are names.
    """
    names = _names(root / CLASS_NAMES, dataset.name)
    found = {split: _class_folders(top, names, dataset.name) for split, top in _tops(root, names, dataset.name)}
    _check_alike(found, dataset.name)
    if dataset.classes == len(names):
        _check_all(set.union(*map(set, found.values())), names, dataset.name)
    labels = _labels(names, dataset.name)
    return lambda: (
        Pair(path, path, [names[own]], [labels[own]], split)
        for split, folders in found.items()
        for own, folder in folders.items()
        for path in _paths(root, folder, dataset.name)
    )


def _names(path: Path, name: str) -> dict[str, str]:
    """Class id -> class name, in the file's order; a line is `n01440764 tench`."""
    names: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        own, _, words = line.strip().partition(" ")
        if own and not words.strip():
            raise UserError(
                f"{name}: {CLASS_NAMES} line {number} is '{own[:100]}'; it must be a class id, a blank, and a name"
            )
        if own in names:
            raise UserError(f"{name}: {CLASS_NAMES} line {number} names '{own[:100]}' again; a class has one name")
        if own:
            names[own] = words.strip()
    return names


def _labels(names: dict[str, str], name: str) -> dict[str, str]:
    """What each class is called as a class: its name, with the id behind it where another one has that name, too."""
    count = Counter(names.values())
    if twice := [words for words, times in count.items() if times > 1]:
        reporter().warn(
            f"{name}: {counted(len(twice), 'class name stands', 'class names stand')} more than once in {CLASS_NAMES}, "
            f"the first is '{twice[0]}'; such classes have their ids behind their names, their texts are the same"
        )
    return {own: words if count[words] == 1 else f"{words} ({own})" for own, words in names.items()}


def _tops(root: Path, names: dict[str, str], name: str) -> list[tuple[str | None, Path]]:
    """The folders of class folders, each with its split: None where there is but one."""
    places = [root, *(path for path in visible(root) if path.is_dir())]
    for place in places:
        there = [folder for folder in SPLITS if (place / folder).is_dir()]
        if len(there) == len(SPLITS):
            return [(SPLITS[folder], place / folder) for folder in there]
        if there:
            return [(None, place / there[0])]
    for place in places:
        if any(path.is_dir() and _class_of(path.name, names) for path in visible(place)):
            return [(None, place)]
    raise UserError(f"{name}: no folder of a class of {CLASS_NAMES} in {root}; put <class id>/<picture> below it")


def _class_of(folder: str, names: dict[str, str]) -> str | None:
    """The class id of a folder, None where it is none."""
    if folder in names:
        return folder
    place = int(folder) if folder.isascii() and folder.isdigit() else len(names)
    return list(names)[place] if place < len(names) else None


def _class_folders(top: Path, names: dict[str, str], name: str) -> dict[str, Path]:
    """Class id -> folder, by the folders' names."""
    folders = {path: _class_of(path.name, names) for path in visible(top) if path.is_dir() and path.name != "__MACOSX"}
    unknown = [path.name for path, own in folders.items() if own is None]
    if unknown:
        raise UserError(
            f"{name}: {CLASS_NAMES} names {len(unknown)} of the {len(folders)} folders in {top} no class, the first is "
            f"'{unknown[0]}'; take out what is none, give what is one a line"
        )
    return {own: path for path, own in folders.items() if own is not None}


def _check_alike(found: dict[str | None, dict[str, Path]], name: str) -> None:
    """UserError where train and val have not the same classes."""
    if len(found) == len(SPLITS):
        odd = sorted(set(found["train"]) ^ set(found["test"]))
        if odd:
            raise UserError(
                f"{name}: {counted(len(odd), 'class has', 'classes have')} a folder in one of train and val alone, the "
                f"first is '{odd[0]}'; unpack the archives again"
            )


def _check_all(there: set[str], names: dict[str, str], name: str) -> None:
    """UserError where a class of a set that has all of them has no folder."""
    lost = [own for own in names if own not in there]
    if lost:
        raise UserError(
            f"{name}: no folder for {len(lost)} of the {len(names)} classes of {CLASS_NAMES}, the first is '{lost[0]} "
            f"{names[lost[0]]}'; unpack the archive again"
        )


def _paths(root: Path, folder: Path, name: str) -> Iterator[str]:
    """The pictures of a class folder as paths from root."""
    return (named(picture.relative_to(root), name) for picture in pictures_in(folder))
