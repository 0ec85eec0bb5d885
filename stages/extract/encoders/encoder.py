"""One encoder for all of the project: pictures and texts in, tokens and pooled vectors out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from cache.errors import UsageError
from cache.files import digest_of
from stages.extract.encoders import registry
from stages.extract.encoders.built import Built, EncoderChoice
from stages.extract.encoders.device import DTYPES, find_device
from stages.extract.encoders.towers import (
    ImageTower,
    Padding,
    Pooling,
    TextTower,
    TowerOut,
    image_tower,
    pooling_of,
    text_tower,
)
from stages.extract.params import Precision, Tokens

# Pictures at a time on a CPU: activations stay near the core (measured: 64 take 1.1 to 2 times as long). To pass over a
# light tower's weights again costs little, and slices of 2 take a quarter less (measured: lite0-minilm, same bits).
CPU_SLICE, LIGHT_SLICE, LIGHT = 8, 2, 5_000_000  # LIGHT: parameters of an image tower
PROBE = "a photo of a dog on the grass"

Floats = NDArray[np.float32]
Side = Literal["image", "text"]


@dataclass(frozen=True)
class Encoded:
    """What an encoder says of n rows.

    tokens: (n, P, D) float32 of pictures; (sum T, D) of texts, real tokens only, row after row; None where not asked
    for. n_tokens (n,) int32. pooled (n, d) float32, not normalised; pooled_raw (n, D0) float32, before the
    projection, None for an encoder that is not aligned.
    """

    tokens: Floats | None
    n_tokens: NDArray[np.int32]
    pooled: Floats
    pooled_raw: Floats | None


@dataclass(frozen=True)
class Tokenized:
    """Texts as ids (n, context) int64, padded; lengths (n,) of the real tokens; truncated (n,) bool: cut to fit."""

    ids: Tensor
    lengths: Tensor
    truncated: NDArray[np.bool_]

    def take(self, places: NDArray[np.int64]) -> Tokenized:
        """Some of the texts, in that order."""
        rows = torch.from_numpy(places)
        return Tokenized(self.ids[rows], self.lengths[rows], self.truncated[places])


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder. `aligned`: pictures and texts share a space of width `joint`; else each has its tower's own.

    `digest` is that of the weights; `architecture` what beside them decides the numbers (see Built). `pooling` says by
    which rule a tower's tokens make its pooled vector; "own" is a head of its own (see pools.py).
    `context` is the most tokens of a text. `image_shape` is (P, D) of a picture's tokens before the projection,
    `text_width` D of a text's, `raw_widths` D0 of both; `cpu_slice` is how many pictures a CPU takes at a time.
    """

    name: str
    aligned: bool
    digest: str
    architecture: dict[str, Any]
    device: torch.device
    precision: Precision
    preprocess: Callable[[Image.Image], Tensor]
    preprocess_about: dict[str, Any]
    tokenizer: Any
    tokenizer_about: dict[str, Any]
    context: int
    image: ImageTower
    text: TextTower
    pooling: dict[Side, Pooling]
    image_shape: tuple[int, int]
    text_width: int
    raw_widths: tuple[int, int]
    widths: tuple[int, int]
    cpu_slice: int

    def kind_of(self, tokens: Tokens) -> Tokens:
        """The tokens that are meant: without a joint space, `joint` is the towers' own."""
        return "raw" if tokens == "joint" and not self.aligned else tokens

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image | Tensor], tokens: Tokens) -> Encoded:
        """Encode pictures, as PIL images or preprocessed to (3, H, W)."""
        pixels = torch.stack([x if isinstance(x, Tensor) else self.preprocess(x) for x in images])
        size = self.cpu_slice if self.device.type == "cpu" else len(pixels)
        parts = [self._encode_pixels(some, tokens) for some in torch.split(pixels, size)]
        joined = [None if p[0] is None else np.concatenate(p) for p in zip(*parts, strict=True)]
        n_tokens = np.full(len(pixels), self.image_shape[0], np.int32)
        assert joined[1] is not None
        return Encoded(joined[0], n_tokens, joined[1], joined[2])

    def _encode_pixels(self, pixels: Tensor, tokens: Tokens) -> tuple[Floats | None, Floats, Floats | None]:
        dtype = DTYPES[self.precision]
        placed = pixels.to(self.device, dtype, memory_format=torch.channels_last)
        out = self.image.run(placed)
        return self._finished("image", out.tokens, out.pooled, tokens)

    def _finished(
        self, side: Side, values: Tensor, pooled: Tensor, tokens: Tokens
    ) -> tuple[Floats | None, Floats, Floats | None]:
        """Tokens as asked for, pooled, pooled_raw."""
        tower = self.image if side == "image" else self.text
        kind = self.kind_of(tokens)
        if kind == "joint":  # by any rule but a head of the tower's own, a token alone pools to itself
            values = tower.project(tower.alone(values) if self.pooling[side] == "own" else values)
        kept = None if kind == "none" else _numpy(values)
        return kept, _numpy(tower.project(pooled)), _numpy(pooled) if self.aligned else None

    def encode_texts(self, texts: Sequence[str], tokens: Tokens) -> Encoded:
        """Encode texts; those longer than the context are cut (see `tokenize`)."""
        return self.encode_ids(self.tokenize(texts), tokens)

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """The ids of texts, and which had to be cut to the context."""
        ids = self.tokenizer(list(texts))
        lengths = self.text.lengths(ids)
        truncated = np.zeros(len(texts), np.bool_)
        full = [i for i in range(len(texts)) if lengths[i] == self.context]
        if full:  # only these may have been cut: with one place more, they would have filled that too
            longer = self.tokenizer([texts[i] for i in full], context_length=self.context + 1)
            truncated[full] = (self.text.lengths(longer) > self.context).numpy()
        return Tokenized(ids, lengths, truncated)

    @torch.inference_mode()
    def encode_ids(self, texts: Tokenized, tokens: Tokens) -> Encoded:
        """Encode tokenised texts, cut to the longest of them where the tower allows it."""
        width = int(texts.lengths.max()) if self.text.trims else texts.ids.shape[1]
        out = self.text.run(texts.ids[:, :width].to(self.device))
        real = torch.arange(out.tokens.shape[1]) < texts.lengths[:, None]  # (n, L)
        values = out.tokens[real.to(self.device)]  # (sum T, D)
        kept, pooled, raw = self._finished("text", values, out.pooled, tokens)
        return Encoded(kept, texts.lengths.numpy().astype(np.int32), pooled, raw)


def load_encoder(choice: EncoderChoice) -> Encoder:
    """Load an encoder. UsageError for an unknown name or for contradictions, MissingError where files are not at
    hand, DamagedError or UserError where they are not what they should be: one line each."""
    name = registry.placed(registry.parse(choice.encoder), choice.home)
    module, _, function = registry.loader(name).partition(":")
    device = find_device(choice.device)
    build = getattr(importlib.import_module(f"stages.extract.encoders.{module}"), function)
    built: Built = build(name, choice)
    try:
        return _assemble(built, choice, device)
    except (RuntimeError, NotImplementedError) as error:
        if choice.precision == "fp32":
            raise
        raise UsageError(
            f"{choice.encoder}: precision {choice.precision} does not work on {device.type}; use fp32 or bf16"
        ) from error


def _assemble(built: Built, choice: EncoderChoice, device: torch.device) -> Encoder:
    digest = digest_of_weights(built.model)
    model = built.model.eval().requires_grad_(False)
    model.to(device=device, dtype=DTYPES[choice.precision], memory_format=torch.channels_last)
    tokenizer, noise = built.tokenizer, _noise(built.preprocess["size"], device, choice.precision)
    bare = Encoder(
        name=choice.encoder,
        aligned=built.aligned,
        digest=digest,
        architecture=built.architecture,
        device=device,
        precision=choice.precision,
        preprocess=built.transform or image_transform_v2(PreprocessCfg(**built.preprocess), is_train=False),
        preprocess_about={**_plain(built.preprocess), "exif": "applied"},
        tokenizer=tokenizer,
        tokenizer_about=_about_tokenizer(tokenizer),
        context=tokenizer.context_length,
        image=image_tower(model.visual, noise),
        text=text_tower(model.text, padding_of(tokenizer)),
        pooling={},
        image_shape=(0, 0),
        text_width=0,
        raw_widths=(0, 0),
        widths=(0, 0),
        cpu_slice=LIGHT_SLICE if _is_light(model.visual) else CPU_SLICE,
    )
    return _probed(bare, noise)


def _is_light(visual: Any) -> bool:
    """Whether an image tower is small and made of convolutions: in others a slice of 2 changes the last bit."""
    return sum(p.numel() for p in visual.parameters()) < LIGHT and any(
        isinstance(module, torch.nn.Conv2d) and module.groups > 1 for module in visual.modules()
    )


def _noise(size: tuple[int, int] | int, device: torch.device, precision: Precision) -> Tensor:
    """One picture of noise (1, 3, H, W)."""
    height, width = (size, size) if isinstance(size, int) else size
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return noise.to(device, DTYPES[precision], memory_format=torch.channels_last)


@torch.inference_mode()
def _probed(encoder: Encoder, noise: Tensor) -> Encoder:
    """The encoder with what one picture of noise and one short text tell of its shapes and its pooling."""
    image = encoder.image.run(noise)
    texts = encoder.tokenize([PROBE])
    text = encoder.text.run(texts.ids.to(encoder.device))
    real = text._replace(tokens=text.tokens[:, : int(texts.lengths[0])])
    return replace(
        encoder,
        pooling={"image": pooling_of(image), "text": pooling_of(real, encoder.text.extra)},
        image_shape=(image.tokens.shape[1], image.tokens.shape[2]),
        text_width=text.tokens.shape[2],
        raw_widths=(image.pooled.shape[1], text.pooled.shape[1]),
        widths=(_projected(encoder.image, image), _projected(encoder.text, text)),
    )


def _projected(tower: ImageTower | TextTower, out: TowerOut) -> int:
    return int(tower.project(out.pooled).shape[1])


def digest_of_weights(model: Any) -> str:
    """xxh3-128 of a model's parameters and buffers, by name: the same weights have it whatever file they came in."""
    hasher = xxhash.xxh3_128()
    for name, tensor in sorted(model.state_dict().items()):
        hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        hasher.update(np.ascontiguousarray(tensor.cpu().reshape(-1).view(torch.uint8).numpy()).data)
    return hasher.hexdigest()


def padding_of(tokenizer: Any) -> Padding:
    """What a tokenizer of open_clip fills texts up with; that of SigLIP does it with the end token."""
    if not hasattr(tokenizer, "tokenizer"):
        return Padding(0, ends=False)  # CLIP's own
    inner = tokenizer.tokenizer
    return Padding(inner.pad_token_id, ends=inner.pad_token_id == inner.eos_token_id)


def _about_tokenizer(tokenizer: Any) -> dict[str, Any]:
    """What of a tokenizer decides ids and real tokens: class, vocabulary, context length, a specimen; and whether the
    first padding of a text is its end, since another release once took such padding for tokens."""
    vocabulary = tokenizer.encoder if hasattr(tokenizer, "encoder") else tokenizer.tokenizer.get_vocab()
    return {
        "class": type(tokenizer).__name__,
        "context": tokenizer.context_length,
        "vocabulary": digest_of(vocabulary),
        "specimen": digest_of(tokenizer([PROBE, "Don't: ÉTÉ, 東京 100%"]).tolist()),
        **({"ends": "with padding"} if padding_of(tokenizer).ends else {}),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as JSON will have them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in sorted(values.items())}


def _numpy(x: Tensor) -> Floats:
    return x.float().cpu().numpy()
