from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cache.errors import UsageError
from stages.extract import registry
from stages.extract.registry import ENCODERS, label, loader, open_clip_models, parse

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("name", "kind", "model", "tag"),
    [
        ("lite0-minilm", "lite0-minilm", "lite0-minilm", None),
        ("ViT-B-32/openai", "open_clip", "ViT-B-32", "openai"),
        ("ViT-B-32/none", "open_clip", "ViT-B-32", "none"),
        ("RN50", "open_clip", "RN50", None),
        ("hf-hub:timm/ViT-B-16-SigLIP", "hf-hub", "timm/ViT-B-16-SigLIP", None),
        ("local-dir:/models/mine", "local-dir", "/models/mine", None),
    ],
)
def test_every_form_of_name_is_taken_apart(name: str, kind: str, model: str, tag: str | None) -> None:
    found = parse(name)
    assert (found.full, found.kind, found.model, found.tag) == (name, kind, model, tag)
    assert ":" in loader(found)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lite0-minlm", "no encoder 'lite0-minlm'; did you mean 'lite0-minilm'?"),
        ("ViT-B-33/openai", "no encoder 'ViT-B-33/openai'; did you mean 'ViT-B-32'?"),
        ("%%", "no encoder '%%'; 'python -m pipeline encoders' lists the forms of names"),
        ("hf-hob:x", "no encoder form 'hf-hob:'; did you mean 'hf-hub'?"),
        ("local-dir:", "encoder 'local-dir:' names nothing behind the colon; write it as local-dir:<folder>"),
        (
            "towers:resnet50+bert-base-uncased",
            "encoder 'towers:resnet50+bert-base-uncased': this release cannot load the form "
            "towers:<timm name>+<HF name> yet; use another",
        ),
    ],
)
def test_an_unknown_name_is_one_line_that_helps(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(name)
    assert str(caught.value) == said


def test_a_label_shows_the_heads_file() -> None:
    assert label("lite0-minilm", None) == "lite0-minilm"
    assert label("lite0-minilm", "some/where/photos.safetensors") == "lite0-minilm@photos"


def test_the_models_are_those_of_open_clip_itself() -> None:
    import open_clip

    assert set(open_clip_models()) == set(open_clip.list_models())


def test_without_open_clip_there_are_no_models_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)  # noqa: ARG005
    assert open_clip_models.__wrapped__() == ()


def test_names_are_understood_without_torch() -> None:
    code = (
        "import sys; from stages.extract.registry import parse; parse('ViT-B-32/openai'); "
        "assert not {'torch', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})


def test_each_form_says_where_its_weights_come_from() -> None:
    assert all(form.about and form.weights for form in ENCODERS)
