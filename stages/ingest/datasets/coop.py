"""Sets of few-shot classification in the layout of CoOp: a split file, the lists of FGVC-Aircraft, or class folders.

They have no captions. The text of a pair (ours) is its class name, `_` as blanks, in the words of ingest.class_text: so
all pairs of a class have one text, and retrieval is classification asked in two directions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cache.errors import UserError, shortened
from stages.ingest.blocks import Listed, in_blocks
from stages.ingest.class_folders import visible
from stages.ingest.datasets import find, missing
from stages.ingest.named_folders import CLASS_NAMES, named_pairs
from stages.ingest.pairs import Pair
from stages.ingest.params import IngestParams
from stages.ingest.places import from_home, is_file, whole_folder

SPLITS = ("train", "val", "test")
AIRCRAFT = {split: f"images_variant_{split}.txt" for split in SPLITS}
_UNSAYABLE = re.compile(r"[\0\ud800-\udfff]")  # no file is called so, and Parquet cannot say it
LOOKED_AT = 20  # pictures of a split file that tell in which folder all are


def load(params: IngestParams) -> Listed:
    """The pairs, bytes and digests not yet read: the class is the class name, the id the picture's path; in the order
    of the lists, or of the folders' names."""
    root, dataset = whole_folder(params), find(params.dataset)
    where = from_home(root, params.home)
    split_files = sorted(root.glob("split_*.json"))
    if len(split_files) > 1:
        names = " and ".join(f"'{path.name}'" for path in split_files[:2])
        raise UserError(f"{dataset.name}: {names} lie in {where}; leave one split file there")
    if split_files:
        pairs = _listed(root, split_files[0], dataset.name)
    elif (root / CLASS_NAMES).is_file():
        pairs = named_pairs(root, dataset)
    elif (root / AIRCRAFT["train"]).is_file():
        pairs = partial(_aircraft, root, dataset.name)
    else:
        raise missing(dataset, f"{where}/split_zhou_<Name>.json, or {CLASS_NAMES}, is missing", where)
    words = params.section.class_text
    return in_blocks(dataset.name, where, lambda: (_worded(pair, words) for pair in pairs()))


def _worded(pair: Pair, words: str) -> Pair:
    """A pair with its class name as its text."""
    name = pair.texts[0].replace("_", " ")
    return Pair(pair.id, pair.image, [words.replace("{}", name)], pair.labels, pair.split)


# --- split files ------------------------------------------------------------------------------------------------------


def _listed(root: Path, split_file: Path, name: str) -> Callable[[], Iterator[Pair]]:
    """What gives the pairs of a split file, its entries read and checked."""
    entries = list(_entries(split_file, name))
    _check_classes(entries, f"{name}: {split_file.name}")
    pictures = _pictures(root, [path for _, path, _, _ in entries[:LOOKED_AT]], name)
    before = f"{pictures}/" if pictures else ""
    return lambda: (
        Pair(f"{before}{path}", f"{before}{path}", [label], [label], split) for split, path, _, label in entries
    )


def _entries(split_file: Path, name: str) -> Iterator[tuple[str, str, int, str]]:
    """The entries of a split file: split, path of the picture, number and name of the class."""
    try:
        lists = json.loads(split_file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: {split_file.name} is not JSON; get it again") from error
    if not isinstance(lists, dict) or not {"train", "test"} <= lists.keys():
        raise UserError(f"{name}: {split_file.name} has no lists 'train' and 'test'; get it again")
    for split in SPLITS:
        for number, entry in enumerate(_list(lists, split, f"{name}: {split_file.name}"), start=1):
            yield split, *_entry(entry, f"{name}: {split_file.name}: entry {number} of '{split}'")


def _list(lists: dict[str, Any], split: str, where: str) -> list[Any]:
    """The entries of a split; `val` may be left out, or null."""
    found = lists.get(split)
    if found is None and split == "val":
        return []
    if not isinstance(found, list):
        raise UserError(f"{where}: '{split}' is {json.dumps(found)[:100]}; it must be a list of entries")
    return found


def _entry(entry: Any, where: str) -> tuple[str, int, str]:
    shown = json.dumps(entry)[:100]
    match entry:
        case [str(path), int(label), str(name)] if label >= 0 and path and name.strip():
            if _UNSAYABLE.search(path + name):
                raise UserError(
                    f"{where} is {shown}, which holds a NUL or half a character (\\ud800 to \\udfff); write it whole"
                )
            return path, label, name.strip()
    raise UserError(f"{where} is {shown}; it must be a picture's path, a class number from 0 and a class name")


def _check_classes(entries: Sequence[tuple[str, str, int, str]], where: str) -> None:
    """UserError where a class name has two numbers, or a number two names."""
    numbers: dict[str, int] = {}
    names: dict[int, str] = {}
    for _, _, number, name in entries:
        if numbers.setdefault(name, number) != number:
            raise UserError(
                f"{where} gives '{shortened(name)}' the numbers {numbers[name]} and {number}; a class has one"
            )
        if names.setdefault(number, name) != name:
            both = f"'{shortened(names[number])}' and '{shortened(name)}'"
            raise UserError(f"{where} calls class {number} {both}; a class has one name")


def _pictures(root: Path, first: Sequence[str], name: str) -> str:
    """The folder, below root, that the paths of a split file start from: root itself, or the first in which one of the
    pictures lies; where none is found, the only folder there is, for the message."""
    folders = [path.name for path in visible(root) if path.is_dir()]
    for folder in ["", *folders]:
        if any(is_file(name, root, f"{folder}/{path}" if folder else path) for path in first):
            return folder
    return folders[0] if len(folders) == 1 else ""


# --- FGVC-Aircraft ----------------------------------------------------------------------------------------------------


def _aircraft(root: Path, name: str) -> Iterator[Pair]:
    """Lines `<picture> <variant>` a split; the variants stand in a file of their own."""
    variants = set(_lines(root / "variants.txt", name))
    for split, file in AIRCRAFT.items():
        for number, line in enumerate(_lines(root / file, name), start=1):
            picture, _, variant = line.partition(" ")
            if variant not in variants:
                raise UserError(
                    f"{name}: {file} line {number} is '{line[:100]}'; behind the picture must stand one of the "
                    f"{len(variants)} lines of variants.txt; unpack the archive again"
                )
            yield Pair(f"images/{picture}.jpg", f"images/{picture}.jpg", [variant], [variant], split)


def _lines(path: Path, name: str) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise UserError(f"{name}: {path.name} is missing; unpack the archive again") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: {path.name} is not UTF-8; get it again") from error
