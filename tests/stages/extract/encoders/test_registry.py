from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UsageError
from stages.extract.encoders import registry
from stages.extract.encoders.registry import (
    ENCODERS,
    LONGEST,
    TowerName,
    inputs_of,
    label,
    loader,
    open_clip_models,
    parse,
    placed,
    towers_of,
)

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("name", "kind", "model", "tag"),
    [
        ("lite0-minilm", "lite0-minilm", "lite0-minilm", None),
        ("ViT-B-32/openai", "open_clip", "ViT-B-32", "openai"),
        ("ViT-B-32/none", "open_clip", "ViT-B-32", "none"),
        ("RN50", "open_clip", "RN50", None),
        ("hf-hub:timm/ViT-B-16-SigLIP", "hf-hub", "timm/ViT-B-16-SigLIP", None),
        ("local-dir:/models/mine", "local-dir", "/models/mine", None),
        (
            "towers:resnet50.a1_in1k+bert-base-uncased",
            "towers",
            "resnet50.a1_in1k+bert-base-uncased",
            None,
        ),
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
            "towers:resnet50",
            "encoder 'towers:resnet50' should name two towers with one + between; write it as towers:<timm>+<HF>",
        ),
        (
            "towers:+bert",
            "encoder 'towers:+bert' should name two towers with one + between; write it as towers:<timm>+<HF>",
        ),
        (
            "towers:./a+b+bert",
            "encoder 'towers:./a+b+bert' should name two towers with one + between; write it as towers:<timm>+<HF>",
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


def test_a_label_shows_the_weights_file() -> None:
    assert label("ViT-B-32", None, "../mine/epoch 3.pt") == "ViT-B-32@epoch%203"
    assert label("ViT-B-32", None, "../mine/epoch 4.pt") != label("ViT-B-32", None, "../mine/epoch 3.pt")
    assert label("a", "h.st", "w.pt") == "a@w@h"
    assert label("a", None, os.fsdecode(b"\xff.pt")) == "a@%FF"  # a name that is no UTF-8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B-32/openai", "ViT-B-32/openai"),
        ("ViT-B-32/../../x", "ViT-B-32/%2E.%2F..%2Fx"),
        ("ViT-B-32/..", "ViT-B-32/%2E."),
        ("local-dir:../x", "local-dir%3A..%2Fx"),
        ("hf-hub:timm/ViT-B-16-SigLIP", "hf-hub%3Atimm%2FViT-B-16-SigLIP"),
        ("towers:resnet50.a1_in1k+bert-base-uncased", "towers%3Aresnet50.a1_in1k+bert-base-uncased"),
        ("towers:../x+/y/none", "towers%3A..%2Fx+%2Fy%2Fnone"),
    ],
)
def test_a_label_is_a_path_that_leads_down(name: str, said: str) -> None:
    assert label(name, None) == said


NAMES = st.text(st.sampled_from("ab./:@%+~ é\0"), min_size=1, max_size=200)


@given(NAMES, NAMES)
def test_labels_of_whatever_text_are_safe_short_and_tell_texts_apart(one: str, other: str) -> None:
    parts = label(one, None).split("/")
    assert len(parts) <= 2
    assert all(1 <= len(part) <= LONGEST and not part.startswith(".") for part in parts)
    assert all(part.isascii() and not set(part) & set("/:@ \0") for part in parts)
    assert (label(one, None) == label(other, None)) == (one == other)


def test_a_relative_folder_lies_under_home(tmp_path: Path) -> None:
    assert placed(parse("local-dir:models/x"), tmp_path).model == str(tmp_path / "models/x")
    assert placed(parse("local-dir:/models/x"), tmp_path).model == "/models/x"
    assert placed(parse("local-dir:~/x"), tmp_path).model == str(Path.home() / "x")
    assert placed(parse("ViT-B-32/openai"), tmp_path) == parse("ViT-B-32/openai")


def test_the_inputs_of_a_name_are_the_files_of_its_folder(tmp_path: Path) -> None:
    for name in ("m/open_clip_config.json", "m/deep/merges.txt", "m/.git/config", "m/.cache"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    files = [tmp_path / "m/deep/merges.txt", tmp_path / "m/open_clip_config.json"]
    assert inputs_of("local-dir:m", tmp_path) == files
    assert inputs_of(f"local-dir:{tmp_path / 'm'}", Path("elsewhere")) == files
    assert inputs_of("local-dir:absent", tmp_path) == []
    assert inputs_of("lite0-minilm", tmp_path) == inputs_of("hf-hub:a/b", tmp_path) == []


def test_a_tower_is_a_name_or_a_folder_under_home(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    image, text = towers_of(parse("towers:resnet18.a1_in1k/none+google/bert_uncased"), tmp_path)
    assert image == TowerName("resnet18.a1_in1k", None, True)
    assert text == TowerName("google/bert_uncased", None, False)
    image, text = towers_of(parse("towers:here+./absent/none"), tmp_path)
    assert image == TowerName("here", tmp_path / "here", False)
    assert text == TowerName("./absent", tmp_path / "absent", True)
    image, text = towers_of(parse("towers:/x/y+~/z"), tmp_path / "a+b")
    assert (image.folder, text.folder) == (Path("/x/y"), Path.home() / "z")


def test_the_inputs_of_two_towers_are_the_files_of_both_folders(tmp_path: Path) -> None:
    for name in ("a/model.safetensors", "a/.cache", "b/config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    files = [tmp_path / "b/config.json", tmp_path / "a/model.safetensors"]
    assert inputs_of("towers:./b+./a", tmp_path) == files
    assert inputs_of("towers:resnet18+./a/none", tmp_path) == files[1:]
    assert inputs_of("towers:resnet18+bert-base-uncased", tmp_path) == []


def test_the_models_are_those_of_open_clip_itself() -> None:
    import open_clip

    assert set(open_clip_models()) == set(open_clip.list_models())


def test_without_open_clip_there_are_no_models_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)  # noqa: ARG005
    assert open_clip_models.__wrapped__() == ()


def test_names_are_understood_without_torch() -> None:
    code = (
        "import sys; from stages.extract.encoders.registry import inputs_of; from pathlib import Path; "
        "inputs_of('ViT-B-32/openai', Path('x')); "
        "assert not {'torch', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})


def test_each_form_says_where_its_weights_come_from() -> None:
    assert all(form.about and form.weights for form in ENCODERS)


def test_the_page_on_encoders_has_every_form_and_its_examples_are_names() -> None:
    table, _, _ = (ROOT / "docs" / "encoders.md").read_text().partition("## Two towers")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert {row[0].strip("`") for row in rows} == {e.form for e in ENCODERS}
    for row in rows:
        for name in re.findall(r"`([^` ]+)[^`]*`", row[1]):
            assert parse(name).full == name
