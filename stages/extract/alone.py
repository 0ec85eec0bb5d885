"""Pictures and texts that belong to no dataset, encoded here and now and kept nowhere: queries, examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cache.errors import MissingError, UsageError, UserError
from cache.features import Part
from stages.extract import images
from stages.extract.encoders.encoder import Encoder
from stages.extract.params import Storage, Tokens
from stages.extract.plan import Row
from stages.extract.shard import Loaded, Task, assemble, encode

MEGABYTES = 200  # of a picture's file: what is larger is no photograph


def encode_texts(encoder: Encoder, texts: Sequence[str], tokens: Tokens, storage: Storage) -> Part:
    """The features of texts, as extract would keep them; ids "0", "1", ...; a mark on those that were cut."""
    task = _task(None, len(texts), tokens, storage)
    loaded = Loaded(task, np.arange(len(texts)), encoder.tokenize(texts), [], 0, 0.0)
    return assemble(encoder, task, [encode(encoder, lambda: loaded)])


def encode_pictures(encoder: Encoder, pictures: Sequence[Image.Image], tokens: Tokens, storage: Storage) -> Part:
    """The same of pictures (RGB, upright, as read_picture gives them)."""
    task = _task(Path(), len(pictures), tokens, storage)
    loaded = Loaded(task, np.arange(len(pictures)), [encoder.preprocess(one) for one in pictures], [], 0, 0.0)
    return assemble(encoder, task, [encode(encoder, lambda: loaded)])


def _task(root: Path | None, count: int, tokens: Tokens, storage: Storage) -> Task:
    rows = [Row(str(number), 0, "", "") for number in range(count)]
    return Task(0, rows, root, Path(), count, tokens, storage)


def read_picture(path: Path) -> Image.Image:
    """A picture from a file, RGB and upright; MissingError, UsageError or UserError say why there is none."""
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name one picture")
    if not path.exists():
        raise MissingError(f"{path}: no such picture; look at the path")
    if not path.is_file():  # a pipe would be waited for
        raise UsageError(f"{path}: neither a file nor a link to one; name one picture")
    if path.stat().st_size > MEGABYTES * 1_000_000:
        raise UserError(f"{path}: larger than {MEGABYTES} MB; give a smaller picture")
    return open_picture(path.read_bytes(), str(path))


def open_picture(data: bytes, name: str) -> Image.Image:
    """A picture from its bytes; UserError names it and says why there is none."""
    try:
        return images.decode(data)
    except Exception as error:  # decoders of hostile files raise whatever they like
        raise UserError(f"{name}: {images.told(error)}; give a picture, as JPEG or PNG for instance") from error
