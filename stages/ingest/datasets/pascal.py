"""Pascal Sentence (Rashtchian et al. 2010): photographs in class folders, their captions and split in CSV files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from cache.errors import UserError, nearest
from cache.manifest import Manifest
from stages.columns import Columns, read_columns
from stages.ingest.pairs import Pair, unmeasured
from stages.ingest.params import IngestParams
from stages.ingest.places import from_home, whole_folder

CAPTIONS = "pascal_sentence_captions.csv"  # a row a caption: category, image, caption
SPLITS = {split: f"split_{split}.csv" for split in ("train", "val", "test")}  # a row a picture: image


def load(params: IngestParams) -> Manifest:
    """The manifest, bytes and digests not yet read, in the order in which the captions name the pictures.

    id = the picture's name without suffix, class = its folder; captions that are empty are left out. The split is
    that of split_train.csv, split_val.csv and split_test.csv, none where none of the three is there. UserError where
    a category is no folder, or the split names other pictures than the captions do, or one twice."""
    root = whole_folder(params)
    captions = _captions(root)
    place = from_home(root, params.home)
    _require_folders(root, captions, place)
    splits = _splits(root, captions)
    pairs = [
        Pair(PurePosixPath(image).stem, image, texts, [image.split("/")[0]], splits.get(image))
        for image, texts in captions.items()
    ]
    return unmeasured("pascal", place, pairs)


def _captions(root: Path) -> dict[str, list[str]]:
    """The captions of each picture, by `<category>/<image>`."""
    rows = _columns(root / CAPTIONS, ("category", "image", "caption"))
    found: dict[str, list[str]] = {}
    for category, image, caption in zip(rows["category"], rows["image"], rows["caption"], strict=True):
        texts = found.setdefault(f"{category.strip()}/{image.strip()}", [])
        texts += [caption.strip()] if caption.strip() else []
    return found


def _columns(path: Path, names: tuple[str, ...]) -> Columns:
    where = f"pascal: {path.name}"
    columns = read_columns(path, where)
    lost = [name for name in names if name not in columns]
    if lost:
        raise UserError(f"{where}: no column '{lost[0]}'; its first line must name {', '.join(names)}")
    return columns


def _require_folders(root: Path, captions: dict[str, list[str]], place: str) -> None:
    """UserError where the captions use a category that is no folder."""
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    strange = sorted({image.split("/")[0] for image in captions} - folders)
    if strange:
        raise UserError(
            f"pascal: {len(strange)} categories of {CAPTIONS} are no folder under {place}, the first is "
            f"'{strange[0]}'{nearest(strange[0], folders)}; lay each picture at "
            "<category>/<picture>.jpg"
        )


def _splits(root: Path, captions: dict[str, list[str]]) -> dict[str, str]:
    """The split of each picture; nothing where no split file is there."""
    files = {split: root / name for split, name in SPLITS.items()}
    if not any(path.exists() for path in files.values()):
        return {}
    found: dict[str, str] = {}
    for split, path in files.items():
        if not path.exists():
            raise UserError(f"pascal: {path.name} is missing beside the other split files; get all three, or none")
        for image in map(str.strip, _columns(path, ("image",))["image"]):
            _refuse_odd(image, path.name, captions, found)
            found[image] = split
    without = [image for image in captions if image not in found]
    if without:
        raise UserError(
            f"pascal: {len(without)} pictures stand in no split file, the first is '{without[0]}'; get the files anew"
        )
    return found


def _refuse_odd(image: str, name: str, captions: dict[str, list[str]], found: dict[str, str]) -> None:
    """UserError where a split file names a picture that the captions do not, or that stands in a split already."""
    if image not in captions:
        raise UserError(f"pascal: {name} names '{image[:100]}', which {CAPTIONS} does not; get both files anew")
    if image in found:
        raise UserError(f"pascal: {name} names '{image}', which stands in split '{found[image]}' already; get it anew")
