"""Extraction against its limit: the bare forward pass over preloaded tensors, plus bare decoding."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import torch
from PIL import Image

from bench.row import Row, seconds
from cache import shards
from cache.features import PART_NAME
from cache.files import digest_file
from stages.extract.crew import lanes_of
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.images import decode
from stages.extract.plan import Row as Item
from stages.extract.shard import Task, extract_shards

ENCODERS = {"lite0-minilm": (128, 0.8), "ViT-B-32/none": (64, 0.95)}  # pictures, and the ratio promised
BATCH = 16  # enough batches for all cores
ROUNDS = 3  # the best round counts: others on the machine can only take time away


def rows() -> list[Row]:
    """Pictures a second of a real extraction on the CPU: 500-pixel JPEGs to tokens in whole, recorded shards.

    Tokens lie in the joint space where the encoder has one (ViT-B-32), in its towers' own where not (bare lite0).
    """
    with tempfile.TemporaryDirectory() as folder:
        return [_compared(Path(folder), name, *asked) for name, asked in ENCODERS.items()]


def _compared(folder: Path, name: str, count: int, promised: float) -> Row:
    encoder = load_encoder(EncoderChoice(name, None, None, "cpu", "fp32", folder, False))
    root, pictures = make_pictures(folder / name.replace("/", "-"), count)
    lanes = lanes_of("cpu", 1)
    ours = count / _best(lambda: extract(encoder, pictures, root, BATCH, lanes), time.perf_counter)
    forward = _best(_forward(encoder, count, lanes), time.process_time) / count
    decoding = _best(lambda: _decode(root, pictures, lanes), time.process_time) / count
    limit = joblib.cpu_count() / (forward + decoding)
    return Row(
        name=f"extraction, {name}",
        ours=ours,
        theirs=limit,
        ratio=ours / limit,
        promised=promised,
        against="cores / (core-seconds of the bare forward pass on preloaded tensors + of bare JPEG decoding)",
        unit="images/s",
        note=f"of a core, an image: forward {1000 * forward:.1f} ms, decoding {1000 * decoding:.1f} ms",
    )


def _best(run: Callable[[], None], clock: Callable[[], float]) -> float:
    return min(seconds(run, clock) for _ in range(ROUNDS))


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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "cache"
        shards.begin(folder, {"rows": "text" if root is None else "image"}, [PART_NAME(0)])
        task = Task(0, rows, root, folder, batch, encoder.kind_of("joint"), "float16")
        for done in extract_shards(encoder, [task], lanes, lambda _: None):
            shards.record(folder, done.file, PART_NAME(done.index), done.rows)


def _forward(encoder: Encoder, count: int, lanes: int) -> Callable[[], None]:
    """The encoder alone, side by side as in the extraction, over tensors that are there already."""
    pixels = list(torch.rand(BATCH, 3, *encoder.preprocess_about["size"]))
    tokens = encoder.kind_of("joint")

    def run() -> None:
        with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            list(threads.map(lambda _: encoder.encode_images(pixels, tokens), range(count // BATCH)))

    return run


def _decode(root: Path, pictures: list[Item], lanes: int) -> None:
    """JPEG to RGB alone."""
    files = [(root / row.content).read_bytes() for row in pictures]
    with ThreadPoolExecutor(lanes) as threads:
        list(threads.map(decode, files))
