"""Pascal Sentence (Rashtchian et al. 2010): photographs in class folders, the captions on the page that publishes them
or in a CSV file, a split in CSV files.

The page is a table: a picture (`<img src="<category>/<picture>.jpg">`) and its sentences, each in a cell of its own."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cache.errors import UserError, counted
from cache.manifest import Manifest
from stages.columns import Columns, read_columns
from stages.ingest.class_folders import disagreement
from stages.ingest.pairs import Pair, unmeasured
from stages.ingest.params import IngestParams
from stages.ingest.places import from_home, whole_folder
from stages.ingest.words import decoded, even

PAGE = "index.html"  # the page as published, read where there is no CSV file
CAPTIONS = "pascal_sentence_captions.csv"  # a row a caption: category, image, caption
_CELL = re.compile(r"""<img\b[^>]*\bsrc\s*=\s*["']?([^"'>]+)|<td\b[^>]*>([^<]*)""", re.IGNORECASE)
SPLITS = {split: f"split_{split}.csv" for split in ("train", "val", "test")}  # a row a picture: image


def load(params: IngestParams) -> Manifest:
    """The manifest, bytes and digests not yet read, in the order in which the captions name the pictures.

    id = the picture's name without suffix, class = its folder; captions that are empty are left out. The split is
    that of split_train.csv, split_val.csv and split_test.csv, none where none of the three is there. UserError where
    a category is no folder, a folder of pictures no category, or the split names other pictures than the captions do,
    or one twice."""
    root = whole_folder(params)
    written = CAPTIONS if (root / CAPTIONS).exists() else PAGE
    captions = _gathered(_rows(root / CAPTIONS) if written == CAPTIONS else _cells(root / PAGE))
    place = from_home(root, params.home)
    _require_folders(root, captions, written, place)
    splits = _splits(root, captions, written)
    pairs = [
        Pair(PurePosixPath(image).stem, image, texts, [image.split("/")[0]], splits.get(image))
        for image, texts in captions.items()
    ]
    return unmeasured("pascal", place, pairs)


def _gathered(captions: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """The captions of each picture, by `<category>/<image>`."""
    found: dict[str, list[str]] = {}
    for image, caption in captions:
        texts = found.setdefault(image, [])
        texts += [caption] if caption else []
    return found


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """A picture and a caption a row of the CSV file."""
    rows = _columns(path, ("category", "image", "caption"))
    for category, image, caption in zip(rows["category"], rows["image"], rows["caption"], strict=True):
        yield f"{category.strip()}/{image.strip()}", caption.strip()


def _cells(path: Path) -> Iterator[tuple[str, str]]:
    """A picture and a sentence a cell of the page; UserError where it shows no picture of a category."""
    image = ""
    for source, cell in _CELL.findall(decoded(path.read_bytes())):
        image = "/".join(source.strip().split("/")[-2:]) if source else image
        if image.count("/") == 1:
            yield image, "" if source else even(html.unescape(cell))
    if not image:
        raise UserError(
            f"pascal: {path.name} shows no picture; save the published page there as it comes, or lay {CAPTIONS}"
        )


def _columns(path: Path, names: tuple[str, ...]) -> Columns:
    where = f"pascal: {path.name}"
    columns = read_columns(path, where)
    lost = [name for name in names if name not in columns]
    if lost:
        raise UserError(f"{where}: no column '{lost[0]}'; its first line must name {', '.join(names)}")
    return columns


def _require_folders(root: Path, captions: dict[str, list[str]], written: str, place: str) -> None:
    """UserError where the captions use a category that is no folder, or a folder of pictures is none of them."""
    disagree = disagreement({image.split("/")[0] for image in captions}, root, written, place)
    if disagree:
        raise UserError(f"pascal: {disagree}; lay each picture at <category>/<picture>.jpg")


def _splits(root: Path, captions: dict[str, list[str]], written: str) -> dict[str, str]:
    """The split of each picture; nothing where no split file is there."""
    files = {split: root / name for split, name in SPLITS.items()}
    if not any(path.exists() for path in files.values()):
        return {}
    found: dict[str, str] = {}
    for split, path in files.items():
        if not path.exists():
            raise UserError(f"pascal: {path.name} is missing beside the other split files; get all three, or none")
        for image in map(str.strip, _columns(path, ("image",))["image"]):
            if image not in captions:
                raise UserError(f"pascal: {path.name} names '{image[:100]}', which {written} does not; get both anew")
            if image in found:
                raise UserError(
                    f"pascal: {path.name} names '{image}', which stands in split '{found[image]}' already; get it anew"
                )
            found[image] = split
    without = [image for image in captions if image not in found]
    if without:
        raise UserError(
            f"pascal: {counted(len(without), 'picture stands', 'pictures stand')} in no split file, the first is "
            f"'{without[0]}'; get the files anew"
        )
    return found
