"""How many bytes the features of a dataset will take, told before an encoder is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq

from cache.errors import UserError
from cache.files import read_json
from cache.store import folder_of, read_ledger
from pipeline.places import Places
from pipeline.setting import Setting
from pipeline.tables import folder_bytes
from pipeline.wiring import STAGES
from stages.extract.encoders.registry import parse
from stages.extract.params import ExtractSection

BYTES = {"float16": 2, "float32": 4}
POOLED_BYTES = 4  # pooled vectors are float32 in any case
INDEX_BYTES = 40  # a row of index.parquet and of a part's own columns, about
SAMPLE = 1000  # captions that the mean length of a text is estimated from
TOKENS_A_WORD = 1.4  # of a sub-word vocabulary, about; two more mark begin and end


@dataclass(frozen=True)
class Widths:
    """An encoder's shapes: tokens of a picture, width of its image and text tokens, the joint width, if it has one."""

    patches: int
    image: int
    text: int
    joint: int | None


@dataclass(frozen=True)
class Forecast:
    """The planned caches of a dataset: bytes to come, bytes there already, and how many rows."""

    pictures: int
    texts: int
    bytes_a_picture: int
    bytes_a_text: int
    standing: int

    @property
    def bytes(self) -> int:
        """The bytes of both caches together, in the end."""
        return self.pictures * self.bytes_a_picture + self.texts * self.bytes_a_text


LITE0_MINILM = Widths(49, 1280, 384, None)


def widths_of(encoder: str, heads: str | None) -> Widths | None:
    """The shapes of an encoder, where they can be known without building it; None else."""
    name = parse(encoder)
    if name.kind == "lite0-minilm":
        return Widths(49, 1280, 384, 512) if heads else LITE0_MINILM
    return _plain_vit(name.model) if name.kind == "open_clip" else None


def _plain_vit(model: str) -> Widths | None:
    """The shapes of a vision transformer of open_clip's own, from its configuration file."""
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        return None
    config = json.loads((Path(spec.origin).parent / "model_configs" / f"{model}.json").read_text(encoding="utf-8"))
    vision, text = config["vision_cfg"], config["text_cfg"]
    own = vision.get("patch_size") and "timm_model_name" not in vision and not vision.get("attentional_pool")
    if not own or not isinstance(vision["image_size"], int) or "width" not in text:
        return None
    return Widths(
        (vision["image_size"] // vision["patch_size"]) ** 2, vision["width"], text["width"], config["embed_dim"]
    )


def forecast(setting: Setting) -> Forecast | None:
    """The planned size of the image and text caches; None before ingest, or for an encoder of unknown shapes."""
    widths = widths_of(setting.params.encoder, setting.params.extract.heads)
    manifest = _standing(setting, "ingest")
    if widths is None or manifest is None:
        return None
    pictures, texts, length = _counted(manifest)
    image, text = bytes_a_row(widths, setting.params.extract, length)
    return Forecast(pictures, texts, image, text, _bytes_there(setting))


def bytes_a_row(widths: Widths, section: ExtractSection, length: float) -> tuple[int, int]:
    """The bytes of a picture's and of a text's row, a text having `length` tokens."""
    joint = widths.joint if section.tokens == "joint" else None
    kept = 0 if section.tokens == "none" else BYTES[section.storage]
    sides = ((widths.image, float(widths.patches)), (widths.text, length))
    image, text = (
        round(tokens * (joint or own) * kept) + POOLED_BYTES * _pooled(widths, own) + INDEX_BYTES
        for own, tokens in sides
    )
    return image, text


def _pooled(widths: Widths, own: int) -> int:
    """Figures in a row's pooled vectors: where the towers are aligned, those before the projection too."""
    return own + widths.joint if widths.joint else own


def _standing(setting: Setting, stage: str) -> Path | None:
    """A stage's artefact, whatever parameters it was made with: an estimate needs no more."""
    places: Places = setting.places
    found = places.to_read(STAGES[stage].artefacts(setting)[0])
    return next((path for path in found if path.is_file()), None)


def _counted(manifest: Path) -> tuple[int, int, float]:
    """Pictures, captions, and about how many tokens a caption has."""
    texts = pq.read_table(manifest, columns=["text"])["text"].combine_chunks().flatten()
    rows = pq.read_metadata(manifest).num_rows
    some = texts[:: max(1, len(texts) // SAMPLE)].to_pylist()
    words = sum(len(text.split()) for text in some) / max(len(some), 1)
    return rows, len(texts), TOKENS_A_WORD * words + 2


def _bytes_there(setting: Setting) -> int:
    """What the store holds already of the caches that the present ledger names."""
    ledger = _standing(setting, "extract")
    if ledger is None:
        return 0
    try:
        keys = read_ledger(ledger).keys
        folders = [folder_of(setting.places.store, key.kind, key.key) for key in keys]
        return sum(folder_bytes(f) for f in folders if _matches(f, setting.params.extract))
    except UserError:
        return 0


def _matches(folder: Path, section: ExtractSection) -> bool:
    """Whether a cache was made as the present parameters ask, as far as its size goes."""
    content = read_json(folder / "cache.json")["content"]
    same = {"storage": section.storage, "precision": section.precision}
    kinds = {"joint", "raw"} if section.tokens == "joint" else {section.tokens}
    return content["tokens"] in kinds and all(content[name] == value for name, value in same.items())
