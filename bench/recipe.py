"""Stage one against the usual recipe: a DataLoader, fp32, encode_image, texts padded to the context, one npy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.extraction import extract, make_pictures
from bench.row import Row, best_in_turns
from stages.crew import lanes_of
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.params import Precision
from stages.extract.plan import Row as Item

MODEL = "ViT-B-32"
PICTURES, CAPTIONS = 192, 256
BATCH = 64  # texts
PICTURE_BATCH = 32  # of the recipe: enough batches for all workers
OUR_BATCH = 16  # enough batches for all cores; in a run of few pictures the last one must not count for much
ROUNDS = 3
WORKERS = (0, joblib.cpu_count())  # of the recipe's DataLoader: the better one counts
PROMISED: dict[Precision, dict[str, float]] = {
    "fp32": {"images": 0.9, "texts": 4.0, "together": 1.3},
    "bf16": {"images": 1.5, "texts": 4.0, "together": 3.0},
}
IN_SILICON = {"avx512_bf16", "amx_bf16"}  # without one of these bf16 is emulated, and slow
TOGETHER = {1: "one caption an image", 5: "five captions an image"}

WORDS = {
    "noun": "dog man woman boy girl child horse cat bird car boat ball bike house tree street beach field table bench",
    "quality": "brown black white young old small large red blue green yellow wet happy tall wooden",
    "deed": "runs stands sits jumps plays walks waits looks sleeps rides",
    "place": "in on near behind beside under across through",
}


@dataclass(frozen=True)
class Recipe:
    """What the usual script works with: open_clip's own model, transform and tokenizer."""

    model: Any
    preprocess: Callable[[Image.Image], Tensor]
    tokenizer: Any


class Files(Dataset[Tensor]):
    """Pictures from a folder, as torchvision's ImageFolder gives them, without the labels."""

    def __init__(self, paths: list[Path], preprocess: Callable[[Image.Image], Tensor]) -> None:
        self.paths = paths
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.preprocess(Image.open(self.paths[index]).convert("RGB"))


def rows() -> list[Row]:
    """Images, texts and both together, in fp32 and, where the processor computes in it, bf16; ours keeps all tokens
    in recorded shards, the recipe keeps pooled vectors."""
    precisions: list[Precision] = ["fp32", "bf16"] if computes_bf16() else ["fp32"]
    with tempfile.TemporaryDirectory() as name:
        rates = _rates(Path(name), precisions)
    return [row for precision in precisions for row in _compared(rates, precision)]


def computes_bf16() -> bool:
    """Whether the processor has instructions for bf16, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    return info.exists() and bool(IN_SILICON & set(info.read_text().split()))


def _rates(folder: Path, precisions: list[Precision]) -> dict[str, float]:
    """Items a second of each way with images and with texts; the recipe's images with and without worker processes."""
    root, pictures = make_pictures(folder / "pictures", PICTURES)
    texts = captions(CAPTIONS)
    recipe, paths = load_recipe(), [root / row.content for row in pictures]
    runs: dict[str, Callable[[], object]] = {
        f"images, {workers} workers": partial(embed_images, recipe, paths, workers, folder / "theirs.npy")
        for workers in WORKERS
    }
    runs["texts"] = lambda: embed_texts(recipe, texts, folder / "theirs.npy")
    for precision in precisions:
        encoder = load_encoder(EncoderChoice(f"{MODEL}/none", None, None, "cpu", precision, folder, False))
        runs |= _ours(encoder, precision, root, pictures, texts)
    best = best_in_turns(runs, ROUNDS)
    return {name: (PICTURES if "images" in name else CAPTIONS) / best[name] for name in best}


def _ours(
    encoder: Encoder, precision: str, root: Path, pictures: list[Item], texts: list[str]
) -> dict[str, Callable[[], object]]:
    lanes = lanes_of("cpu", 1)
    items = [Item(str(i), 0, text, "") for i, text in enumerate(texts)]
    return {
        f"images, {precision}": lambda: extract(encoder, pictures, root, OUR_BATCH, lanes),
        f"texts, {precision}": lambda: extract(encoder, items, None, BATCH, lanes),
    }


def _compared(rates: dict[str, float], precision: Precision) -> list[Row]:
    """Each side alone, and pairs: both sides one after the other, by the rates measured."""
    images, texts, promised = rates[f"images, {precision}"], rates[f"texts, {precision}"], PROMISED[precision]
    workers = max(WORKERS, key=lambda n: rates[f"images, {n} workers"])
    loop, padded = rates[f"images, {workers} workers"], rates["texts"]
    how = f"a DataLoader loop in fp32, {workers} workers, encode_image, one npy"
    alone = [
        _row(f"images alone, {precision}", images, loop, promised["images"], how),
        _row(f"texts alone, {precision}", texts, padded, promised["texts"], "encode_text in fp32, padded to 77"),
    ]
    together = [
        _row(
            f"{what}, {precision}",
            _pairs(images, texts, count),
            _pairs(loop, padded, count),
            promised["together"],
            "both of these loops, one after the other",
        )
        for count, what in TOGETHER.items()
    ]
    return [*alone, *together]


def _row(name: str, ours: float, theirs: float, promised: float, against: str) -> Row:
    note = "ours: tokens and vectors in a recorded shard; theirs: vectors"
    return Row(f"{MODEL}, {name}", ours, theirs, ours / theirs, promised, against, "items/s", note)


def _pairs(images: float, texts: float, count: int) -> float:
    """Images a second that have their `count` captions encoded as well."""
    return 1 / (1 / images + count / texts)


def load_recipe() -> Recipe:
    """open_clip's own, with random weights."""
    model, _, preprocess = open_clip.create_model_and_transforms(MODEL)
    return Recipe(model.eval(), preprocess, open_clip.get_tokenizer(MODEL))


def embed_images(recipe: Recipe, paths: list[Path], workers: int, out: Path) -> None:
    """Vectors (n, d) of pictures, into one file."""
    loader = DataLoader(Files(paths, recipe.preprocess), batch_size=PICTURE_BATCH, num_workers=workers)
    _embed(recipe.model.encode_image, loader, out)


def embed_texts(recipe: Recipe, texts: list[str], out: Path) -> None:
    """Vectors (n, d) of texts, into one file."""
    groups = (texts[i : i + BATCH] for i in range(0, len(texts), BATCH))
    _embed(recipe.model.encode_text, map(recipe.tokenizer, groups), out)


@torch.inference_mode()
def _embed(encode: Callable[[Tensor], Tensor], batches: Iterable[Tensor], out: Path) -> None:
    np.save(out, np.concatenate([encode(batch).numpy() for batch in batches]))


def captions(count: int) -> list[str]:
    """Sentences as long as captions of photos are: 8 to 20 tokens with both ends, 13 on average."""
    draw = np.random.default_rng(0)
    lengths = np.clip(np.rint(draw.normal(12.8, 3.0, count)), 8, 20).astype(int)
    return [_sentence(draw, int(length) - 2) for length in lengths]


def _sentence(draw: np.random.Generator, words: int) -> str:
    """So many plain words, each one token."""
    kinds = ["noun", "deed", *["place", "quality", "noun"] * 6]
    return " ".join(["a", *(str(draw.choice(WORDS[kind].split())) for kind in kinds[: words - 1])])
