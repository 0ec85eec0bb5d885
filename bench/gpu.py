"""Extraction on a GPU, where one is at hand: items a second, each row with the chip's name.

The limit for pictures is the slower of the bare image tower on the GPU, over tensors that lie there, and of all cores
decoding and resizing; for texts the slower of the bare text tower and of one core making ids.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import joblib
import torch
from torch import Tensor

from bench.extraction import extract, forward, in_lanes, make_pictures, preloaded
from bench.recipe import captions
from bench.row import Row, best_in_turns
from stages.crew import lanes_of
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.images import decode
from stages.extract.params import Precision
from stages.extract.plan import Row as Item

ENCODERS = {"ViT-B-32": 0.95, "ViT-L-14": 0.0}  # what is promised of pictures; of texts nothing is
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
ROUNDS = 4


@dataclass(frozen=True)
class Sizes:
    """How much is measured: `pictures` rows of so many `files`, `texts`, and how many of either are a batch."""

    pictures: int = 4096
    files: int = 256
    texts: int = 16384
    batch: int = 256


def rows() -> list[Row]:
    """Pictures and texts of each encoder and precision; none where there is no GPU."""
    if not torch.cuda.is_available():
        return []
    with tempfile.TemporaryDirectory() as name:
        root, pictures = make_pictures(Path(name) / "pictures", Sizes.files)
        return [
            row
            for model, promised in ENCODERS.items()
            for precision in PRECISIONS
            for row in measured(_choice(f"{model}/none", precision, Path(name)), model, promised, root, pictures)
        ]


def _choice(encoder: str, precision: Precision, home: Path) -> EncoderChoice:
    return EncoderChoice(encoder, None, None, "cuda", precision, home, False)


def measured(
    choice: EncoderChoice, model: str, promised: float, root: Path, files: Sequence[Item], sizes: Sizes = Sizes()
) -> list[Row]:
    """A row for pictures and one for texts of an encoder on its device."""
    encoder = load_encoder(choice)
    name = f"{model}, {{}} alone, {choice.precision}, {name_of(encoder.device)}"
    images = _best(_images(encoder, root, files, sizes), sizes.pictures)
    texts = _best(_texts(encoder, sizes), sizes.texts)
    return [
        _row(name.format("images"), images, "decoding and resizing on all cores", promised, encoder.device),
        _row(name.format("texts"), texts, "making ids", 0.0, encoder.device),
    ]


def name_of(device: torch.device) -> str:
    """The chip's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _best(runs: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Items a second of each run, after one round that is not counted."""
    best_in_turns(runs, 1)
    return {name: count / seconds for name, seconds in best_in_turns(runs, ROUNDS).items()}


def _row(name: str, rates: dict[str, float], before: str, promised: float, device: torch.device) -> Row:
    limit = min(rates["forward"], rates["before"])
    return Row(
        name=name,
        ours=rates["ours"],
        theirs=limit,
        ratio=rates["ours"] / limit,
        promised=promised,
        against=f"the slower of the bare tower and of {before}",
        unit="items/s",
        note=f"tower {rates['forward']:.0f}/s, {before} {rates['before']:.0f}/s, {joblib.cpu_count()} cores",
        device=name_of(device),
    )


def _images(encoder: Encoder, root: Path, files: Sequence[Item], sizes: Sizes) -> dict[str, Callable[[], object]]:
    """The extraction of pictures, the files over and over; the bare tower; decoding and resizing."""
    items = [replace(files[i % len(files)], id=str(i)) for i in range(sizes.pictures)]
    data = [(root / item.content).read_bytes() for item in items]
    batches = [preloaded(encoder, sizes.batch)] * (sizes.pictures // sizes.batch)
    return {
        "ours": partial(extract, encoder, items, root, sizes.batch, lanes_of(encoder.device.type, 1)),
        "forward": lambda: _settled(encoder, partial(forward, encoder, batches, 1)),
        "before": lambda: in_lanes(lambda file: encoder.preprocess(decode(file)), data, joblib.cpu_count()),
    }


def _texts(encoder: Encoder, sizes: Sizes) -> dict[str, Callable[[], object]]:
    """The extraction of texts; the bare tower over their ids, sorted and trimmed; making ids."""
    texts = captions(sizes.texts)
    items = [Item(str(i), 0, text, "") for i, text in enumerate(texts)]
    batches = trimmed(encoder, texts, sizes.batch)
    return {
        "ours": partial(extract, encoder, items, None, sizes.batch, lanes_of(encoder.device.type, 1)),
        "forward": lambda: _settled(encoder, partial(_text_forward, encoder, batches)),
        "before": lambda: encoder.tokenize(texts),
    }


def trimmed(encoder: Encoder, texts: list[str], batch: int) -> list[Tensor]:
    """The ids of texts, shortest first, in batches cut to their longest where the tower allows it, on the device."""
    made = encoder.tokenize(texts)
    order = torch.split(made.lengths.argsort(), batch)
    widths = [int(made.lengths[places].max()) if encoder.text.trims else made.ids.shape[1] for places in order]
    return [made.ids[places, :width].to(encoder.device) for places, width in zip(order, widths, strict=True)]


@torch.inference_mode()
def _text_forward(encoder: Encoder, batches: list[Tensor]) -> None:
    for ids in batches:
        encoder.text.run(ids)


def _settled(encoder: Encoder, run: Callable[[], object]) -> None:
    """Run, and wait until the device has done it."""
    run()
    if encoder.device.type == "cuda":
        torch.cuda.synchronize(encoder.device)
