"""Export at the prompt: the files say what the head says, and what cannot be written is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.heads.files import load_head
from stages.items import MODALITIES, Items, load_items
from tests.pipeline.prompt import typed


@pytest.fixture
def folder(small_openmoji: Path) -> Path:
    return small_openmoji


def items_of(folder: Path) -> Items:
    paths = folder / "runs/manifests/openmoji.parquet", folder / "runs/features/openmoji/lite0-minilm.json"
    return load_items(folder / "data/store", *paths, None, "first")


@pytest.fixture
def exported(folder: Path) -> Path:
    """Everything that is exported of one head, once."""
    out = folder / "exported"
    if not out.exists():
        names = ("--vectors", "exported/a.parquet", "--head", "exported/a.safetensors", "--card", "exported/a.md")
        done = typed(folder, "export", *names)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == list(names[1::2])
        assert typed(folder, "export", "--vectors", "exported/a.npy").returncode == 0
    return out


def test_vectors_are_those_of_the_head_with_id_and_modality(folder: Path, exported: Path) -> None:
    items, head = items_of(folder), load_head(exported / "a.safetensors")
    table = pq.read_table(exported / "a.parquet")
    assert table.column_names == ["id", "modality", "view", "vector"]
    assert table["id"].to_pylist() == items.ids * 2
    assert table["modality"].to_pylist() == ["image"] * 620 + ["text"] * 620
    assert set(table["view"].to_pylist()) == {0}
    found = np.stack(table["vector"].to_numpy())
    wanted = np.concatenate([head.vectors(items, m, "all").values[:, 0] for m in MODALITIES])
    np.testing.assert_array_equal(found, wanted)
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    assert (about["match"], about["gallery"], about["encoder"]) == ("dot", "all", "lite0-minilm")
    rows = np.load(exported / "a.npy")
    assert rows["id"].tolist() == table["id"].to_pylist()
    assert rows["modality"].tolist() == table["modality"].to_pylist()
    np.testing.assert_array_equal(rows["vector"], wanted)


def test_a_head_that_leaves_comes_back(folder: Path, exported: Path) -> None:
    asked = ("search", "a dog", "--json")
    assert typed(folder, *asked, "--head", str(exported / "a.safetensors")).stdout == typed(folder, *asked).stdout


def test_the_card_has_the_figures_of_metrics_json(folder: Path, exported: Path) -> None:
    card = (exported / "a.md").read_text()
    assert card.startswith("# scm, 5 shots, on openmoji\n")
    metrics = json.loads((folder / "runs/search/results/metrics.json").read_text())
    (row,) = metrics["means"]
    low, high = (f"{100 * value:.1f}" for value in row["class"])
    assert f"| {row['label']} | {100 * row['mAP']:.1f} | " in card
    assert f" | {low} to {high} | " in card
    assert "CC BY-SA 4.0" in card
    head = json.loads((folder / "runs/search/heads/openmoji/lite0-minilm.json").read_text())["keys"][0]["key"]
    assert head in card
    assert "| name_weight | " in card
    assert "animal-mammal" in card


def test_vectors_of_a_gallery_judge_its_classes_alone(folder: Path) -> None:
    done = typed(folder, "export", "--vectors", "target.npy", "--gallery", "test", "--force")
    assert done.returncode == 0, done.stderr
    rows = np.load(folder / "target.npy")
    head = load_head(folder / "exported/a.safetensors")
    assert rows["vector"].shape[1] == np.load(folder / "exported/a.npy")["vector"].shape[1] - 15
    assert len(head.about["classes"]["target"]) == 16


@pytest.mark.parametrize("method", ["scm", "cca"])
def test_an_onnx_head_gives_the_same_vectors(folder: Path, exported: Path, method: str) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed: pip install '.[export]'")
    target = exported / f"{method}.onnx"
    done = typed(folder, "export", "--head", str(target), "--method", method, "--force")
    assert done.returncode == 0, done.stderr
    assert typed(folder, "export", "--vectors", "one.npy", "--method", method, "--force").returncode == 0
    wanted = np.load(folder / "one.npy")
    items = items_of(folder)
    session = runtime.InferenceSession(str(target))
    given = {m: np.ascontiguousarray(items.pooled[m], np.float32) for m in MODALITIES}
    for m in MODALITIES:
        (found,) = session.run([f"{m}_vectors"], given)
        np.testing.assert_allclose(found, wanted["vector"][wanted["modality"] == m], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "nothing to export; name --vectors FILE, --head FILE or --card FILE"),
        (("--vectors", "a.csv"), 2, "a.csv: give it a name that ends in .parquet or .npy"),
        (("--head", "a.pt"), 2, "a.pt: give it a name that ends in .safetensors or .onnx"),
        (("--card", "a.txt"), 2, "a.txt: give it a name that ends in .md"),
        (("--card", "params.md"), 2, "params.md: is there already; give another name, or pass --force"),
        (("--card", "b.md", "--method", "smc"), 2, "no method 'smc'; did you mean 'scm'?"),
        (("--card", "b.md", "--gallery", "rest"), 2, "no gallery 'rest'; there are: all, test"),
        (("--card", "b.md", "--dataset", "wikipedia"), 1, "data/raw/wikipedia"),
    ],
)
def test_wrong_use_is_one_line_and_leaves_no_file(
    folder: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (folder / "params.md").write_text("mine")
    before = sorted(path.name for path in folder.iterdir())
    done = typed(folder, "export", *arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1), done.stderr
    assert message in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == before
    assert (folder / "params.md").read_text() == "mine"
