"""Features that others made: one command brings them in, and every other command works on them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from cache.features import FeatureCache
from cache.manifest import read_manifest
from cache.store import folder_of, read_ledger
from proof.checkout import ROOT, make_folder, set_params
from stages.extract.encoders.lite0_minilm import HEADS
from tests.pipeline.prompt import typed
from tests.stages.imported.written import Given, arrays, given, write_clip_retrieval, write_mat, write_npy, write_npz
from tests.stages.ingest.given import unreadable

SCORED = ("train", "--shots", "0,1", "--seeds", "2", "-S", "train.gap.steps=4", "-S", "train.gcrdp.steps=4")


def scores_of(folder: Path) -> list[dict[str, Any]]:
    """All of scores.parquet, without the columns that say where the vectors came from; figures bit by bit."""
    rows = pq.read_table(folder / "runs/results/scores.parquet").to_pylist()
    told = [{k: v for k, v in row.items() if k not in ("dataset", "encoder", "features")} for row in rows]
    return [{k: v.hex() if isinstance(v, float) else v for k, v in row.items()} for row in told]


def bare(folder: Path) -> Path:
    """A folder with the shipped params.yaml alone."""
    folder.mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    set_params(folder, train__selection__draws=1, evaluate__draws=100)
    return folder


def next_flags(stderr: str) -> list[str]:
    """The flags that the last line of the command names."""
    last = stderr.splitlines()[-1]
    assert last.startswith("next: python -m pipeline train ")
    return shlex.split(last)[5:]


@pytest.mark.shared
def test_cca_on_the_features_of_2010_reads_as_published(shared: Path, tmp_path: Path) -> None:
    folder = bare(tmp_path / "home")
    done = typed(folder, "import-features", str(shared / "data/wikipedia-2010/raw_features.mat"), "--name", "w")
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(folder / "runs/manifests/features.parquet")
    assert [manifest.splits.count(name) for name in ("train", "test")] == [2173, 693]
    assert (len(manifest), len(manifest.classes)) == (2866, 10)
    values = ("split.protocol=classic", "train.cca.dims=7", "train.cca.ridge=1.0e-4", "train.cca.power=0")
    told = [part for value in values for part in ("-S", value)]
    scored = typed(folder, "train", "--method", "cca", *next_flags(done.stderr), *told, "--json")
    assert scored.returncode == 0, scored.stderr
    figures = {row["method"]: row for row in json.loads(scored.stdout)}
    assert figures["cca"]["I2T"] == pytest.approx(24.9, abs=0.5)
    assert figures["cca"]["T2I"] == pytest.approx(20.2, abs=0.5)
    rows = pq.read_table(folder / "runs/results/scores.parquet").to_pylist()
    assert {(row["dataset"], row["encoder"]) for row in rows} == {("w", "imported@raw_features")}
    assert {(row["protocol"], row["half"], row["shots"], row["seed"]) for row in rows} == {("classic", 0, 0, 0)}


def own_vectors(folder: Path) -> Given:
    """What the folder's own extraction cached, in the manifest's order."""
    [path] = (folder / "runs/features/table").glob("*.json")
    ledger = read_ledger(path)
    manifest = read_manifest(folder / "runs/manifests/table.parquet")
    keys = [ledger.find(rows=kind).key for kind in ("image", "text")]
    image, text = (FeatureCache.open(folder_of(folder / "data/store", "features", key)) for key in keys)
    assert image.ids == text.ids == manifest.ids
    labels, captions = [own[0] for own in manifest.labels], [own[0] for own in manifest.texts]
    return Given(image.pooled(), text.pooled(), np.empty(0), [], manifest.ids, labels, captions, [])


@pytest.mark.parametrize("aligned", [False, True])
def test_the_folder_of_clip_retrieval_scores_as_the_same_vectors_extracted_here(aligned: bool, tmp_path: Path) -> None:
    own = make_folder(tmp_path / "own")
    flags, votes = ["--tokens", "none"], []
    methods = ["--method", "clip,cca,gap,gcrdp" if aligned else "cca,gap,gcrdp"]
    methods += ["-S", "train.variants=[{method: scm, variant: nameless, values: {names: false}}]"]
    if aligned:
        generator = torch.Generator().manual_seed(3)
        heads = {name: torch.randn(shape, generator=generator) / 30 for name, shape in HEADS.items()}
        save_file(heads, own / "heads.safetensors")
        flags += ["--heads", "heads.safetensors"]
        votes = ["-S", "train.scm.vote_image=0", "-S", "train.scm.vote_text=0"]  # the folder has no tower's own vectors
    assert typed(own, "extract", *flags).returncode == 0
    first = typed(own, *SCORED, *methods, *flags, *votes)
    assert first.returncode == 0, first.stderr
    g = own_vectors(own)
    path = write_clip_retrieval(tmp_path, g, 3, {"key": g.ids, "kind": g.labels})
    other = make_folder(tmp_path / "other")
    shutil.rmtree(other / "data")
    space = "--aligned" if aligned else "--not-aligned"
    done = typed(other, "import-features", str(path), space, "-S", "ingest.features.label=kind")
    assert done.returncode == 0, done.stderr
    second = typed(other, *SCORED, *methods, *next_flags(done.stderr))
    assert second.returncode == 0, second.stderr
    assert scores_of(own) == scores_of(other)
    assert len(scores_of(own)) > 1000


def test_every_other_command_works_on_imported_features(tmp_path: Path) -> None:
    folder = bare(tmp_path / "home")
    path = write_npz(folder, given())
    done = typed(folder, "import-features", path.name, "--name", "mine", "--json")
    assert {row["rows"]: row["count"] for row in json.loads(done.stdout)} == {"image": 12, "text": 12, "name": 0}
    flags = next_flags(done.stderr)
    assert flags == [
        *("--dataset", "features", "--encoder", "imported"),
        *("-S", 'ingest.features.path="given.npz"', "-S", 'ingest.features.name="mine"'),
        *("-S", "train.scm.names=false"),
    ]
    for command in (["verify"], ["info"], ["doctor", *flags], ["extract", *flags], ["outdated", *flags]):
        assert typed(folder, *command).returncode == 0
    key = json.loads(done.stdout)[0]["key"]
    assert "12 images of mine" in typed(folder, "info", key).stdout
    drawn = typed(folder, "info", key, "--thumbnails", "x.png")
    assert (drawn.returncode, drawn.stderr) == (
        2,
        f"data/store/features/{key}: imported features, no pictures came with them; name the key of others\n",
    )
    scored = typed(folder, "train", *flags, "--method", "cca,cmm", "--shots", "0", "--seeds", "1", "--json")
    assert scored.stderr.splitlines()[-1].startswith("cmm at 0 shots, seed 0: no class name has a vector to judge ")
    figures = {row["method"]: row["mAP"] for row in json.loads(scored.stdout)}
    assert {name: value is None for name, value in figures.items()} == {
        "chance": False,
        "cca": False,
        "cmm (names)": True,
    }
    told = typed(folder, "datasets", "features").stdout.splitlines()
    assert told[-1].split() == ["run", "python", "-m", "pipeline", "import-features", "PATH"]
    write_npz(folder, given(1))
    again = typed(folder, "train", *flags, "--method", "cca", "--shots", "0", "--seeds", "1")
    assert again.stderr.startswith("mine: image vectors 5 wide")  # the source changed: ingested anew
    assert "features: no features of imported@given made with these parameters stand" in again.stderr


def test_the_next_line_trains_where_class_names_have_no_vector(tmp_path: Path) -> None:
    folder, one, two = bare(tmp_path / "home"), given(0), given(1)
    both = {
        name: np.concatenate([getattr(one, name), getattr(two, name)]) for name in ("image", "text", "image_tokens")
    }
    labels = ["abcdef"[i // 4] for i in range(24)]
    listed = {"ids": [f"item{i:02}" for i in range(24)], "labels": labels, "splits": ["train", "train", "", "test"] * 6}
    told = {name: getattr(one, name) + getattr(two, name) for name in ("text_tokens", "captions")}
    path = write_npz(folder, replace(one, **both, **listed, **told))
    done = typed(folder, "import-features", path.name, "--tokens", "none")
    flags = next_flags(done.stderr)
    scored = typed(folder, *SCORED, *flags, "--json")
    assert scored.returncode == 0, scored.stderr
    assert {row["method"] for row in json.loads(scored.stdout)} == {"chance", "cca", "gap", "gcrdp", "scm"}
    fewer = typed(folder, "import-features", path.name, "--tokens", "none", "--method", "cmm,gap,flexclip")
    assert next_flags(fewer.stderr) == [*flags[:-2], "--method", "gap"]


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sources that are each refused."""
    folder = bare(tmp_path_factory.mktemp("refusing") / "home")
    write_npz(folder, given())
    write_mat(folder, given())
    own = arrays(given())
    for name, changes in {
        "nan": {"image": np.full((12, 2), np.nan)},
        "zero": {"text": np.zeros((12, 2))},
        "rows": {"text": own["text"][:-1]},
        "large": {"image_tokens": own["image_tokens"] * 1e6},
        "twice": {"id": np.array(["item01", *given().ids[1:]])},
        "upwards": {"id": np.array(["../item", *given().ids[1:]])},
        "half": {"label": np.array(["", *given().labels[1:]])},
        "pairs": {"text": np.repeat(own["text"], 2, 0)},
    }.items():
        np.savez(folder / f"{name}.npz", **{**own, **changes})
    (folder / "cut.npz").write_bytes((folder / "given.npz").read_bytes()[:-99])
    (folder / "train.txt").write_text("nobody\n")
    return folder


IMPORT = "import-features"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([IMPORT, "none.mat"], 1, "none.mat is missing; set ingest.features.path to what holds them"),
        ([IMPORT, "nan.npz"], 1, "nan.npz: no finite numbers in 12 of 12 image vectors, the first is that of 'item00'"),
        (
            [IMPORT, "zero.npz"],
            1,
            "zero.npz: nothing but zeros in 12 of 12 text vectors, the first is that of 'item00'",
        ),
        ([IMPORT, "rows.npz"], 1, "rows.npz: rows differ (image 12, image_tokens 12, text 11, text_tokens 12, ids 12)"),
        (
            [IMPORT, "large.npz"],
            1,
            "large.npz: numbers too large for float16 in the tokens of 12 of 12 images, the firs",
        ),
        (
            [IMPORT, "twice.npz"],
            1,
            "twice.npz: 1 id stands more than once in 'id', the first is 'item01'; give each row",
        ),
        ([IMPORT, "half.npz"], 1, "half.npz: 1 of 12 items ha"),
        (
            [IMPORT, "pairs.npz"],
            1,
            "pairs.npz: rows differ (image 12, image_tokens 12, text 24, text_tokens 12, ids 12)",
        ),
        ([IMPORT, "cut.npz"], 1, "cut.npz: not a whole .npz file (File is not a zip file); copy it again, or write it"),
        (
            [IMPORT, "given.mat"],
            2,
            "given.mat: nothing is called 'I_tr'; it has vectors in image, text: say which are t",
        ),
        ([IMPORT, "given.npz", "--aligned"], 2, "given.npz: ingest.features.aligned is true, but image"),
        ([IMPORT, "given.npz", "--split-list", "train.txt"], 1, "train.txt: 1 of 1 id not in given.npz"),
        ([IMPORT, "given.npz", "--name", "a/b"], 2, "import-features: ingest.features.name is 'a/b'; input"),
        (["extract", "--dataset", "features"], 2, "dataset 'features' and encoder 'lite0-minilm' do not go together: "),
        (["extract", "--encoder", "imported"], 2, "dataset 'openmoji' and encoder 'imported' do not go together: feat"),
        (["extract", "--dataset", "features", "--encoder", "imported"], 2, "features: ingest.features.path is null;"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_nothing_is_made(
    arguments: list[str], code: int, message: str, refusing: Path
) -> None:
    done = typed(refusing, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (refusing / "runs").exists()
    assert not (refusing / "data").exists()


def test_what_may_not_be_read_is_one_line(refusing: Path) -> None:
    for path, shut in (("given.npz", "given.npz"), ("shut/given.npz", "shut")):
        (refusing / path).parent.mkdir(exist_ok=True)
        with unreadable(refusing / shut):
            done = typed(refusing, IMPORT, path)
        named = refusing / shut  # rights to the file alone would not help
        assert (done.returncode, done.stderr) == (
            1,
            f"features: {named} may not be read by this user; give the right to, as in chmod -R u+rX {named}\n",
        )


def test_features_without_labels_come_in_and_one_line_says_so(tmp_path: Path) -> None:
    folder = bare(tmp_path / "home")
    g = replace(given(), text=given().image + 1)
    write_clip_retrieval(folder, g, 2, {"key": [f"{i:09}" for i in range(12)], "url": ["x"] * 12, "kind": g.labels})
    done = typed(folder, IMPORT, "given", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {row["rows"]: row["count"] for row in found} == {"image": 12, "text": 12, "name": 0}
    lines = done.stderr.splitlines()
    assert [line for line in lines if "label" in line] == [
        "features: no labels (nothing is called 'label'), so that stage one is all that runs; classes may stand in"
        " kind: -S ingest.features.label=kind"
    ]
    assert lines[-1] == f"next: python -m pipeline info {found[0]['key']}"
    assert read_manifest(folder / "runs/manifests/features.parquet").ids == [f"{i:09}" for i in range(12)]
    named = typed(folder, IMPORT, "given", "-S", "ingest.features.label=class")
    assert (named.returncode, named.stderr) == (
        2,
        "given: nothing is called 'class'; by what stands there it may be kind: -S ingest.features.label=kind, or do "
        "without: -S ingest.features.label=null\n",
    )
    asked = typed(folder, IMPORT, "given", "-S", "ingest.features.label=null")
    assert "features: no labels (ingest.features.label is null), so that stage one is all that runs" in asked.stderr
    assert typed(folder, IMPORT, "given", "-S", "ingest.features.label=kind").returncode == 0


COMMANDS = re.findall(r"`(import-features [^`]*)`", (ROOT / "docs/data.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sources that docs/data.md names, but for the published one."""
    folder = bare(tmp_path_factory.mktemp("shelf") / "home")
    g = replace(given(), text=given().image + 1)
    write_mat(folder, given()).rename(folder / "own.mat")
    write_npz(folder, given()).rename(folder / "features.npz")
    write_npy(folder, given()).rename(folder / "features")
    write_clip_retrieval(folder, g, 2, {"category": g.labels}).rename(folder / "embeddings")
    with h5py.File(folder / "features.h5", "w") as file:
        file["clip/image"], file["clip/text"], file["id"], file["label"] = g.image, g.text, g.ids, g.labels
    vectors = {"image_embedding": g.image.tolist(), "text_embedding": g.text.tolist()}
    pq.write_table(pa.table({**vectors, "id": g.ids, "label": g.labels}), folder / "features.parquet")
    rows = [f"{item},{label}" for item, label in zip(g.ids, g.labels, strict=True)]
    (folder / "rows.csv").write_text("\n".join(["id,label", *rows]))
    (folder / "train_ids.txt").write_text("\n".join(g.ids[:6]))
    (folder / "test_ids.txt").write_text("\n".join(g.ids[6:]))
    return folder


@pytest.mark.parametrize("command", [own for own in COMMANDS if "raw_features.mat" not in own])
def test_the_commands_of_the_page_on_data_run_as_they_stand_there(command: str, shelf: Path) -> None:
    done = typed(shelf, *shlex.split(command), "--json")
    assert done.returncode == 0, done.stderr
    assert {row["rows"]: row["count"] for row in json.loads(done.stdout)} == {"image": 12, "text": 12, "name": 0}
    assert ("no labels" in done.stderr) == (command == "import-features embeddings/ --aligned")


def test_the_page_on_data_has_a_command_for_each_format() -> None:
    sources = {shlex.split(command)[1] for command in COMMANDS}
    assert sources == {
        *("features.npz", "features/", "features.h5", "features.parquet", "raw_features.mat", "own.mat", "embeddings/")
    }


def test_the_same_numbers_are_one_source_whatever_files_they_came_in(tmp_path: Path) -> None:
    folder = bare(tmp_path / "home")
    write_npz(folder, given()).rename(folder / "f.npz")
    write_npy(folder, given()).rename(folder / "npy")
    found = []
    for path in ("f.npz", "npy"):
        done = typed(folder, IMPORT, path, "--tokens", "none")
        asked = (*next_flags(done.stderr), "--method", "cca", "--shots", "0", "--seeds", "1")
        scored = typed(folder, "train", *asked, "--json")
        assert scored.returncode == 0, scored.stderr
        found.append(scores_of(folder))
    assert found[0] == found[1]


def test_sources_of_one_name_stand_beside_each_other(tmp_path: Path) -> None:
    folder, asked = bare(tmp_path / "home"), ("--method", "cca", "--shots", "0", "--seeds", "1")
    flags = []
    for number, name in enumerate(("one", "two")):
        (folder / name).mkdir()
        path = write_npz(folder / name, given(number))
        done = typed(folder, IMPORT, str(path), "--name", name, "--tokens", "none")
        flags.append(next_flags(done.stderr))
    for own in flags:
        scored = typed(folder, "train", *own, *asked)
        assert scored.returncode == 0, scored.stderr
    places = ("-S", f"ingest.features.path={folder / 'one/given.npz'}", "-S", "ingest.features.name=one")
    whole = [*flags[0], *places]  # the absolute path names the same source
    assert typed(folder, "train", *whole, *asked).returncode == 0
    lost = typed(folder, "train", *whole, "-S", "ingest.features.name=it", *asked)
    assert (lost.returncode, lost.stdout) == (1, "")
    mend = shlex.split(lost.stderr.splitlines()[-1].partition("; run ")[2])
    assert mend[:3] == ["python", "-m", "pipeline"]
    assert typed(folder, *mend[3:]).returncode == 0
    assert typed(folder, "train", *whole, "-S", "ingest.features.name=it", *asked).returncode == 0
