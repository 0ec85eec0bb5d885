"""PKU XMediaNet (Peng et al. 2018), its pictures and texts: 200 classes, a text file beside each picture.

The published lists (img_train_list.txt and its like) name a file a line, `<category>/<file>` and the category's
number; line n of a list of pictures goes with line n of the list of texts. Without the lists a category's pictures and
texts are paired in the order of their names (ours), and no split is declared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from cache.errors import UserError, counted
from cache.manifest import Manifest
from stages.ingest.absent import Incomplete
from stages.ingest.class_folders import disagreement
from stages.ingest.pairs import Pair, unmeasured
from stages.ingest.params import IngestParams
from stages.ingest.places import from_home, is_file, whole_folder
from stages.ingest.words import decoded, even

LISTS = {split: (f"img_{split}_list.txt", f"txt_{split}_list.txt") for split in ("train", "test")}

Named = tuple[str, str, str | None]  # a picture and its text, relative to image/ and text/, and the split


def load(params: IngestParams) -> Manifest | Incomplete:
    """The manifest, bytes and digests not yet read: id = the picture's path without suffix, class = its category.

    Pairs whose text is missing are left out. UserError where the categories of pictures and texts, of folders and
    lists, or a picture's and its text's, differ, and for a line that cannot be read."""
    root = whole_folder(params)
    _require_same_categories(root)
    place = from_home(root, params.home)
    named = list(_by_lists(root, place) if any(_lists(root)) else _by_names(root))
    _require_listed(root, {image.split("/")[0] for image, _, _ in named})
    lost = [f"text/{text}" for _, text, _ in named if not is_file("xmedianet", root, f"text/{text}")]
    gone = set(lost)
    pairs = [_pair(root, *one) for one in named if f"text/{one[1]}" not in gone]
    manifest = unmeasured("xmedianet", place, pairs)
    return Incomplete(manifest, lost) if lost else manifest


def _pair(root: Path, image: str, text: str, split: str | None) -> Pair:
    words = even(decoded((root / "text" / text).read_bytes()))
    one = PurePosixPath(image)
    return Pair(one.with_suffix("").as_posix(), f"image/{image}", [words], [one.parts[0]], split)


def _require_same_categories(root: Path) -> None:
    """UserError where a category has a folder of pictures and none of texts, or the other way round."""
    images, texts = (
        {path.name for path in (root / part).iterdir() if path.is_dir() and not path.name.startswith(".")}
        for part in ("image", "text")
    )
    odd = sorted(images ^ texts)
    if odd:
        there, lacking = ("image", "text") if odd[0] in images else ("text", "image")
        raise UserError(
            f"xmedianet: {counted(len(odd), 'category has', 'categories have')} a folder in one part alone, the first "
            f"is '{odd[0]}', in {there}/ and not in {lacking}/; unpack the archive again"
        )


def _require_listed(root: Path, categories: set[str]) -> None:
    """UserError where a category of the lists is no folder, or a folder of pictures stands in no list."""
    disagree = disagreement(categories, root / "image", "the lists", "image/")
    if disagree:
        raise UserError(f"xmedianet: {disagree}; get the lists and the archive anew")


def _lists(root: Path) -> list[bool]:
    return [(root / name).is_file() for pair in LISTS.values() for name in pair]


def _by_lists(root: Path, place: str) -> Iterator[Named]:
    """The pairs of the published lists; UserError where one is missing, or a picture and its text differ in class."""
    if not all(_lists(root)):
        names = ", ".join(name for pair in LISTS.values() for name in pair)
        raise UserError(f"xmedianet: some of the lists are missing; lay all four under {place} ({names}), or none")
    for split, (images, texts) in LISTS.items():
        of_images, of_texts = _files(root, images), _files(root, texts)
        if len(of_images) != len(of_texts):
            raise UserError(
                f"xmedianet: {images} has {counted(len(of_images), 'line')}, {texts} {len(of_texts):,}; get both files "
                "anew"
            )
        for number, (image, text) in enumerate(zip(of_images, of_texts, strict=True), start=1):
            if image.split("/")[0] != text.split("/")[0]:
                raise UserError(
                    f"xmedianet: entry {number} of {images} is '{image}', of {texts} '{text}': two categories; "
                    "get both files anew"
                )
            yield image, text, split


def _files(root: Path, name: str) -> list[str]:
    """The files that a list names, as `<category>/<file>`."""
    found = []
    for number, line in enumerate(decoded((root / name).read_bytes()).splitlines(), start=1):
        if not line.strip():
            continue
        written, category = [*line.rsplit(maxsplit=1), ""][:2]
        path = PureWindowsPath(written.strip()).as_posix()
        if not category.isdecimal() or "/" not in path:
            raise UserError(
                f"xmedianet: {name} line {number} is '{line[:100]}'; it must be <category>/<file> and the category's "
                "number"
            )
        found.append(path.removeprefix("image/").removeprefix("text/"))
    return found


def _by_names(root: Path) -> Iterator[Named]:
    """A category's pictures and texts, paired in the order of their names; UserError where they are not as many."""
    for folder in sorted((root / "image").iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        images, texts = _visible(folder), _visible(root / "text" / folder.name)
        if len(images) != len(texts):
            raise UserError(
                f"xmedianet: '{folder.name}' has {counted(len(images), 'picture')} and {counted(len(texts), 'text')}; "
                "unpack the archive again, or lay the published lists beside them"
            )
        for image, text in zip(images, texts, strict=True):
            yield f"{folder.name}/{image}", f"{folder.name}/{text}", None


def _visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
