"""A method of the user's own: the one that docs/own-method.md has, run as the page runs it, and what goes wrong."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cache.errors import UsageError
from cache.heads import read_head
from pipeline.params import load_params
from pipeline.places import find_places
from pipeline.setting import Setting
from pipeline.upkeep import outdated
from proof.checkout import ROOT, make_folder, set_params
from stages.heads.files import load_head
from stages.heads.own import _known
from tests.pipeline.prompt import typed

PAGE = (ROOT / "docs/own-method.md").read_text(encoding="utf-8")
FIT = "def fit(self, episode, seed): return {'a': 1}"
VECTORS = "def vectors(self, learnt, items, modality, gallery): return items.pooled[modality]"
ONE = ("--shots", "1", "--seeds", "1")


def block(kind: str) -> str:
    """The first fenced block of the page of a kind."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return next(text for name, text in blocks if name == kind)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = make_folder(tmp_path_factory.mktemp("own") / "here")
    (here / "whitened.py").write_text(block("python"))
    assert typed(here, "extract").returncode == 0
    return here


def written(folder: Path, *methods: str, before: str = "") -> str:
    """A file of a class with these methods; its name for --method."""
    (folder / "bad.py").write_text("\n".join([before, "class Bad:", *(f"    {line}" for line in methods), ""]))
    return "bad.py:Bad"


def test_the_example_is_about_forty_lines_long() -> None:
    assert len(block("python").splitlines()) <= 40


def test_the_page_runs_as_it_stands(folder: Path) -> None:
    for line in block("").splitlines():
        *_, command = line.partition("python -m pipeline ")
        done = typed(folder, *shlex.split(command))
        assert done.returncode == 0, done.stderr
    rows = pq.read_table(folder / "runs/results/scores.parquet").to_pylist()
    assert {row["method"] for row in rows} == {"chance", "cca", "Whitened"}
    assert "| Whitened | " in (folder / "runs/whitened.md").read_text()
    assert re.search(r"^Whitened +yes ", done.stdout, re.MULTILINE)


def test_a_head_holds_what_fit_made_of_the_rows_that_it_may_see(folder: Path) -> None:
    """The page's arithmetic in plain loops over the pairs of the episode."""
    from cache.episodes import read_episodes
    from stages.heads.head import to_sphere
    from stages.items import MODALITIES, load_items

    assert typed(folder, "train", *ONE, "--method", "whitened.py:Whitened").returncode == 0
    store, label = folder / "data/store", "table/lite0-minilm.json"
    (episode,) = read_episodes(folder / "runs/episodes/table.parquet")
    items = load_items(store, folder / "runs/manifests/table.parquet", folder / "runs/features" / label, None, "first")
    about = {path: read_head(path)[1] for path in store.glob("heads/*/head.safetensors")}
    (path,) = (p for p, own in about.items() if (own["method"], own["episode"]) == ("Whitened", episode.key))
    head = load_head(path)
    rows = items.rows_of([*episode.ids["source-train"], *episode.ids["support"]])
    for modality in MODALITIES:
        seen = to_sphere(items.pooled[modality][rows], False, head.align[modality])  # type: ignore[attr-defined]
        mean = sum(seen.astype(np.float64)) / len(rows)
        np.testing.assert_allclose(head.tensors()[f"learnt.{modality}"], mean, atol=1e-6)
        own = to_sphere(items.pooled[modality], False, head.align[modality]) - mean  # type: ignore[attr-defined]
        mapped = own @ head.tensors()["learnt.map"]
        wanted = mapped / np.sqrt((mapped**2).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(head.vectors(items, modality, "target").values[:, 0], wanted, atol=1e-5)


def test_a_letter_of_the_file_makes_other_heads_and_going_back_finds_the_old(folder: Path) -> None:
    def heads() -> set[str]:
        assert typed(folder, "train", *ONE, "--method", "whitened.py:Whitened").returncode == 0
        return {path.name for path in (folder / "data/store/heads").iterdir()}

    file = folder / "whitened.py"
    before, text = heads(), file.read_text()
    file.write_text(text + "# another letter\n")
    after = heads()
    assert before < after
    file.write_text(text)
    assert heads() == after
    moved = shutil.copy(file, folder / "moved.py")
    assert typed(folder, "train", *ONE, "--method", f"{moved}:Whitened").returncode == 0
    assert {path.name for path in (folder / "data/store/heads").iterdir()} == after


def test_a_head_whose_code_was_not_named_is_not_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = folder / "kept.safetensors"
    asked = ("--shots", "1", "--method", "whitened.py:Whitened", "--head", str(head), "--force")
    assert typed(folder, "export", *asked).returncode == 0
    monkeypatch.setattr("stages.heads.own._known", {})
    with pytest.raises(UsageError, match=r"name its file.*-S search.method=FILE.py:Whitened"):
        load_head(head)
    assert _known  # the test's own name for what the process knew


def test_a_class_sees_no_label_where_it_makes_vectors_and_no_names_unless_it_says_so(folder: Path) -> None:
    asks = "assert not any(items.labels) and not items.names['joint']; return items.pooled[modality]"
    look = f"def vectors(self, learnt, items, modality, gallery): {asks}"
    fit = (
        "def fit(self, episode, seed): assert all(episode.items.labels) and not episode.items.names['joint']; return {}"
    )
    assert typed(folder, "train", *ONE, "--method", written(folder, fit, look)).returncode == 0
    named = (look.replace("not items.names", "items.names"), "uses_names = True")
    done = typed(folder, "train", *ONE, "--method", written(folder, FIT, *named))
    assert done.returncode == 0, done.stderr
    assert "Bad (names)" in done.stdout


def test_views_are_shown_to_a_class_that_asks_for_them(folder: Path) -> None:
    views = "def vectors(self, learnt, items, modality, gallery): return items.views[modality]"
    method = written(folder, "uses_views, match = True, 'max'", FIT, views)
    done = typed(folder, "train", *ONE, "--method", method)
    assert done.returncode == 0, done.stderr
    done = typed(folder, "search", "a dot", "--shots", "1", "--method", method, "--top", "2")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("method", "code", "message"),
    [
        ("nix.py:Bad", 1, "nix.py: no such file; a method of your own is named FILE.py:CLASS"),
        ("whitened.py", 2, "no method 'whitened.py'; one of your own is FILE.py:CLASS"),
        ("whitened.py:", 2, "no method 'whitened.py:'; one of your own is FILE.py:CLASS"),
        ("whitened.py:Whited", 2, "has no class 'Whited'; did you mean 'Whitened'?"),
        ("whitened.py:gcrdp", 2, "'gcrdp' is what a row is called here already"),
    ],
)
def test_a_wrong_name_is_one_line(folder: Path, method: str, code: int, message: str) -> None:
    for command in ("train", "evaluate"):
        done = typed(folder, command, "--method", method)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert message in done.stderr
    done = typed(folder, "search", "a dot", "--method", method)
    assert (done.returncode, message in done.stderr) == (code, True)


@pytest.mark.parametrize(
    ("lines", "code", "message"),
    [
        (["x = ("], 2, "bad.py: line 3, cannot be run: SyntaxError: '(' was never closed"),
        (["raise SystemExit(3)"], 2, "bad.py: line 3, cannot be run: SystemExit: 3"),
        ([FIT], 2, "bad.py: class 'Bad' has no method 'vectors'; see docs/own-method.md"),
        ([FIT, VECTORS, "match = 'cosine'"], 2, "match is 'cosine'; there are: dot, max, mix"),
        ([FIT, VECTORS, "uses_names = 1"], 2, "uses_names is 1; it is True or False"),
        ([FIT.replace("1}", "1 / 0}"), VECTORS], 1, "bad.py: line 3, in fit: ZeroDivisionError: division by zero"),
        ([FIT.replace("1}", "None}"), VECTORS], 1, "fit, 'a', returned NoneType; return an array of numbers"),
        ([FIT.replace("{'a': 1}", "[1]"), VECTORS], 1, "fit returned list; return a dict of names and arrays"),
        ([FIT, VECTORS + "[:3]"], 1, "vectors returned an array of shape (3, 8); expected (28, d)"),
        ([FIT, VECTORS + " * float('nan')"], 1, "vectors returned numbers that are not finite"),
        (
            [FIT, VECTORS.replace("items.pooled", "self.made")],
            1,
            "line 4, in vectors: AttributeError: 'Bad' object has",
        ),
    ],
)
def test_a_mistake_in_the_code_is_one_line_that_names_its_line(
    folder: Path, lines: list[str], code: int, message: str
) -> None:
    done = typed(folder, "train", *ONE, "--method", written(folder, *lines))
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "Traceback" in typed(folder, "train", *ONE, "--method", "bad.py:Bad", "--debug").stderr


def test_code_of_ones_own_is_no_graph(folder: Path) -> None:
    pytest.importorskip("onnx", reason="the extra `export` is not installed: pip install '.[export]'")
    done = typed(folder, "export", "--shots", "1", "--method", "whitened.py:Whitened", "--head", "w.onnx")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("code of your own is no graph; give the head a name in .safetensors")


def test_a_file_that_changed_makes_its_stage_outdated_under_dvc(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make repro` asks for what DVC does not see; a file named in params.yaml is found from there."""
    here = tmp_path / "here"
    shutil.copytree(folder, here, ignore=shutil.ignore_patterns("runs"))
    set_params(here, train__methods=["whitened.py:Whitened"], split__shots=[1], split__seeds=1)
    for stage in ("ingest", "extract", "split", "mixture", "train"):
        monkeypatch.setenv("DVC_STAGE", stage)
        done = typed(here, stage)
        assert done.returncode == 0, done.stderr
    monkeypatch.delenv("DVC_STAGE")

    def named() -> list[str]:
        done = typed(here, "outdated")
        return done.stdout.split()

    assert named() == []
    with (here / "whitened.py").open("a") as file:
        file.write("# more\n")
    assert named() == ["train"]
    params = load_params(here / "params.yaml", [], [("train.methods", ["cca"])])
    assert outdated(Setting(params, find_places(here, params.store, {}))) == []
