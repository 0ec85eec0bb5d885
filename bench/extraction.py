"""Extraction against its limit: the bare image tower over preloaded tensors, plus the making of these tensors."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.row import Row, best_in_turns
from cache import shards
from cache.features import PART_NAME
from cache.files import digest_file
from stages.crew import lanes_of
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.device import DTYPES
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.images import decode
from stages.extract.plan import Row as Item
from stages.extract.shard import Task, extract_shards

ENCODERS = {"lite0-minilm": (256, 0.8), "ViT-B-32/none": (192, 0.95)}  # pictures, and the ratio promised
BATCH = 8  # small: what one core encodes alone at the end is more of a run this short than of a real one
SLICES = (4, 8, 16)  # pictures at a time of the bare forward pass; the fastest counts
ROUNDS = 3  # of all runs in turns; the best of each counts: others on the machine can only take time away
ROWS_A_PART = 1024


def rows() -> list[Row]:
    """Pictures a second of a real extraction on the CPU: 500-pixel JPEGs to tokens in whole, recorded shards.

    Tokens lie in the joint space where the encoder has one (ViT-B-32), in its towers' own where not (bare lite0).
    """
    with tempfile.TemporaryDirectory() as folder:
        return [_compared(Path(folder), name, *asked) for name, asked in ENCODERS.items()]


def _compared(folder: Path, name: str, count: int, promised: float) -> Row:
    encoder = load_encoder(EncoderChoice(name, None, None, "cpu", "fp32", folder, False))
    root, pictures = make_pictures(folder / name.replace("/", "-"), count)
    runs = runs_of(encoder, root, pictures, lanes_of("cpu", 1))
    best = best_in_turns(runs, ROUNDS, dict.fromkeys([name for name in runs if name != "ours"], time.process_time))
    size = min(SLICES, key=lambda size: best[f"forward, {size}"])
    forward, decoding, unpacking = (best[part] / count for part in (f"forward, {size}", "decoding", "unpacking"))
    ours, limit = count / best["ours"], joblib.cpu_count() / (forward + decoding)
    bare = ours / joblib.cpu_count() * (forward + unpacking)
    told = (
        f"forward {1000 * forward:.1f} ms in slices of {size}, decoding {1000 * decoding:.1f} ms, of which "
        f"{1000 * unpacking:.1f} ms JPEG to pixels; if nothing but that were counted, the ratio would be {bare:.2f}"
    )
    return Row(
        name=f"extraction, {name}",
        ours=ours,
        theirs=limit,
        ratio=ours / limit,
        promised=promised,
        against="cores / (core-seconds of the bare image tower on preloaded tensors + of decoding, JPEG to tensor)",
        unit="images/s",
        note=f"of a core, an image: {told}",
    )


def runs_of(encoder: Encoder, root: Path, pictures: list[Item], lanes: int) -> dict[str, Callable[[], object]]:
    """The extraction of some pictures as a whole, and its two parts for as many, bare."""
    files = [(root / row.content).read_bytes() for row in pictures]
    pixels = preloaded(encoder, len(pictures))
    return {
        "ours": lambda: extract(encoder, pictures, root, BATCH, lanes),
        "decoding": lambda: in_lanes(lambda data: encoder.preprocess(decode(data)), files, lanes),
        "unpacking": lambda: in_lanes(decode, files, lanes),
        **{f"forward, {size}": partial(forward, encoder, torch.split(pixels, size), lanes) for size in SLICES},
    }


def make_pictures(root: Path, count: int) -> tuple[Path, list[Item]]:
    """Smooth noise of 500 x 375 pixels as JPEG: the folder and the rows."""
    root.mkdir(parents=True)
    numbers = np.random.default_rng(0)
    made = []
    for i in range(count):
        coarse = Image.fromarray(numbers.integers(0, 256, (47, 63, 3), np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(root / f"{i}.jpg", quality=90)
        made.append(Item(str(i), 0, f"{i}.jpg", digest_file(root / f"{i}.jpg")))
    return root, made


def extract(encoder: Encoder, rows: list[Item], root: Path | None, batch: int, lanes: int) -> None:
    """The real thing, for pictures below `root` or for texts: read, check, decode, resize, encode, convert, write,
    sync, name, record, digest."""
    parts = [rows[first : first + ROWS_A_PART] for first in range(0, len(rows), ROWS_A_PART)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "cache"
        shards.begin(folder, {"rows": "text" if root is None else "image"}, [PART_NAME(i) for i in range(len(parts))])
        tokens = encoder.kind_of("joint")
        tasks = [Task(i, part, root, folder, batch, tokens, "float16") for i, part in enumerate(parts)]
        for done in extract_shards(encoder, tasks, lanes, lambda _: None):
            shards.record(folder, done.file, PART_NAME(done.index), done.rows)


def preloaded(encoder: Encoder, count: int) -> Tensor:
    """Pictures of noise (count, 3, H, W), where and as the image tower takes them."""
    pixels = torch.rand(count, 3, *encoder.preprocess_about["size"])
    return pixels.to(encoder.device, DTYPES[encoder.precision], memory_format=torch.channels_last)


def forward(encoder: Encoder, batches: Sequence[Tensor], lanes: int) -> None:
    """The image tower alone, side by side as in the extraction: no projection of tokens, nothing copied."""

    @torch.inference_mode()  # holds for one thread
    def run(pixels: Tensor) -> None:
        encoder.image.run(pixels)

    in_lanes(run, batches, lanes)


def in_lanes(run: Callable[[Any], object], items: Iterable[Any], lanes: int) -> None:
    """A call an item, in threads that compute on one core each."""

    def call(item: Any) -> None:
        run(item)  # what it returns is let go at once

    with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        list(threads.map(call, items))
