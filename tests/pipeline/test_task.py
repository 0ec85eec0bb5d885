"""`--task classify`: what it sets, what goes before it, and the table that it prints."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache.errors import UsageError
from cache.files import write_json
from cache.scores import read_scores, write_scores
from cache.store import Ledger, LedgerKey, write_ledger
from pipeline.class_plot import drawn
from pipeline.class_table import class_cells, left_out, prototype_rows, shown_rows, typed_rows, with_mean
from pipeline.commands.options import gather
from pipeline.params import Params
from pipeline.several import settings_of, write_joined
from pipeline.upkeep import unused
from stages.stats import support_interval
from tests.conftest import ROOT
from tests.pipeline.prompt import typed


def params(**flags: Any) -> Params:
    return gather(**flags).params


def test_a_task_sets_protocol_methods_and_shots_from_its_section() -> None:
    found, plain = (
        params(task="classify", assign=["classify.variants=[{method: cmm, variant: a, values: {tau: 1}}]"]),
        params(),
    )
    assert (found.split.protocol, found.split.shots) == ("classify", found.classify.shots)
    assert found.train.methods == ["cca", *found.classify.methods[1:]]
    assert [row.variant for row in found.train.variants] == ["a"]
    assert found.train.model_copy(update={"methods": plain.train.methods, "variants": []}) == plain.train
    assert plain.split.protocol == "parity"


def test_what_is_asked_for_goes_before_what_a_task_sets() -> None:
    found = params(task="classify", shots="1,3", method=["clip"], assign=["classify.methods=[cca]", "split.seeds=2"])
    assert (found.split.shots, found.train.methods, found.split.seeds) == ([1, 3], ["clip"], 2)
    assert params(task="classify", assign=["classify.shots=[2]"]).split.shots == [2]
    assert params(task="classify", assign=["split.shots=[5]"]).split.shots == [5]


@pytest.mark.parametrize(
    ("flags", "first"),
    [
        ({}, "cca"),
        ({"heads": "h.safetensors"}, "clip"),
        ({"encoder": "ViT-B-32/none"}, "clip"),
        ({"encoder": "towers:a+b"}, "cca"),
        ({"dataset": "features", "encoder": "imported"}, "cca"),
        ({"dataset": "features", "encoder": "imported", "assign": ["ingest.features.aligned=true"]}, "clip"),
    ],
)
def test_cca_stands_in_the_row_of_clip_where_towers_share_no_space(flags: dict[str, Any], first: str) -> None:
    assert params(task="classify", **flags).train.methods[0] == first


def test_a_task_that_is_none_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"^no task 'clasify'; did you mean 'classify'\?; without --task"):
        params(task="clasify")


ROW = {"encoder": "e", "features": "f", "variant": "default", "access": "inductive", "protocol": "classify", "half": 0}
PLACE = {"gallery": "classes", "direction": "i2c", "metric": "top-1"}


def scores(path: Path, dataset: str, values: dict[str, dict[int, list[float]]]) -> Path:
    rows = [
        {
            **ROW,
            **PLACE,
            "dataset": dataset,
            "method": method,
            "names": False,
            "shots": shots,
            "seed": seed,
            "value": value,
        }
        for method, row in values.items()
        for shots, drawn in row.items()
        for seed, value in enumerate(drawn)
    ]
    write_scores(path, rows, "made")
    return path


A = {"probe": {1: [0.5, 0.7], 4: [0.8, 0.9]}, "clip": {1: [0.6], 4: [0.6]}, "chance": {1: [0.1], 4: [0.1]}}
B = {"probe": {1: [0.1, 0.2]}, "clip": {1: [0.3]}, "chance": {1: [0.05]}}


def test_the_table_has_a_row_a_method_a_column_a_shot_count_and_the_mean_of_the_datasets_last(tmp_path: Path) -> None:
    cells = class_cells([scores(tmp_path / "a", "a", A), scores(tmp_path / "b", "b", B)])
    rows = shown_rows(with_mean(cells))
    assert [(row["dataset"], row["method"]) for row in rows] == [
        (name, method) for name in ("a", "b", "mean of 2") for method in ("chance", "probe", "clip")
    ]
    assert rows[1] == {"dataset": "a", "method": "probe", "1": "60.0 ± 127.1", "4": "85.0 ± 63.5"}
    assert rows[4]["4"] == ""
    assert rows[-1] == {"dataset": "mean of 2", "method": "clip", "1": "45.0", "4": ""}
    low, high = support_interval([30.0, 45.0]) or (0, 0)
    assert rows[-2]["1"] == f"37.5 ± {(high - low) / 2:.1f}"


def test_one_dataset_has_no_mean_and_json_has_numbers(tmp_path: Path) -> None:
    cells = class_cells([scores(tmp_path / "a", "a", A)])
    assert with_mean(cells) == cells
    rows = json.loads(json.dumps(typed_rows(cells)))
    assert rows[2] == {
        "dataset": "a",
        "method": "probe",
        "shots": 1,
        "top-1": 60.0,
        "±": pytest.approx(127.06, abs=0.01),
        "draws": 2,
    }


def test_a_dataset_that_lacks_shot_counts_is_told_of(tmp_path: Path) -> None:
    cells = class_cells([scores(tmp_path / "a", "a", A), scores(tmp_path / "b", "b", B)])
    assert left_out(cells, [1, 4]) == ["b: no column of 4 shots, the smallest class has fewer train pairs"]


def test_prototypes_are_told_by_method_state_and_kind_over_shots(tmp_path: Path) -> None:
    row = {"label": "cmm", "state": "plain"}
    entries = [
        {**row, "shots": 1, "prototypes": "gap", "value": 0.5, "support": [0.4, 0.6]},
        {**row, "shots": 1, "prototypes": "names", "value": 0.7, "support": None},
        {**row, "shots": 4, "prototypes": "names", "value": 0.8, "support": [0.75, 0.85]},
    ]
    write_json(tmp_path / "metrics.json", {"prototypes": entries})
    both = {"dataset": "a", "method": "cmm", "pictures": "plain"}
    assert prototype_rows(tmp_path / "metrics.json", "a") == [
        {**both, "prototypes": "gap", "1": "0.50 ± 0.10", "4": ""},
        {**both, "prototypes": "names", "1": "70.0", "4": "80.0 ± 5.0"},
    ]


def test_several_datasets_have_a_folder_each_and_one_table_of_scores(tmp_path: Path) -> None:
    setting = gather(task="classify", dataset="coop:eurosat, openmoji,coop-eurosat")
    assert setting.more == ("openmoji", "coop-eurosat")
    each = settings_of(setting)
    assert [own.params.dataset for own in each] == ["coop-eurosat", "openmoji"]
    assert [own.places.to_write("x").parent.name for own in each] == ["coop-eurosat", "openmoji"]
    paths = [scores(tmp_path / "a", "a", A), scores(tmp_path / "b", "b", B)]
    joined = write_joined(replace(setting.places, root=tmp_path), paths)
    assert joined == tmp_path / "runs" / "classify" / "results" / "scores.parquet"
    assert read_scores(joined)["dataset"].to_pylist() == [*["a"] * 8, *["b"] * 4]
    with pytest.raises(UsageError, match="names several, whose mean is for classification; pass --task classify, or"):
        settings_of(gather(dataset="openmoji,coop:eurosat"))
    with pytest.raises(UsageError, match="no dataset 'emoji'"):
        settings_of(gather(task="classify", dataset="openmoji,emoji"))


def test_what_the_heads_of_several_datasets_are_is_in_use(tmp_path: Path) -> None:
    own = settings_of(gather(task="classify", dataset="openmoji,coop:eurosat"))[0]
    setting = replace(own, places=replace(own.places, root=tmp_path, store=tmp_path / "store"))
    for name in ("used", "left"):
        (tmp_path / "store" / "heads" / name).mkdir(parents=True)
        write_json(tmp_path / "store" / "heads" / name / "cache.json", {"files": []})
    key = LedgerKey("heads", "used", "0" * 32, {})
    write_ledger(setting.places.to_write("heads/openmoji/e.json"), Ledger("heads", "made", {}, (key,)))
    assert [path.name for path in unused(setting)] == ["left"]


def test_a_command_that_takes_one_dataset_refuses_several() -> None:
    done = typed(ROOT, "split", "--dataset", "openmoji,coop:eurosat")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--dataset openmoji,coop:eurosat: this command takes one dataset; name one of them\n"


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 60 pairs of three classes as imported features."""
    here = tmp_path_factory.mktemp("classify")
    shutil.copy(ROOT / "params.yaml", here)
    rng = np.random.default_rng(0)
    classes = np.repeat(np.eye(3, 8), 20, axis=0)
    vectors = {m: (classes + 0.4 * rng.standard_normal((60, 8))).astype(np.float32) for m in ("image", "text")}
    label = np.repeat(["ape", "bat", "cow"], 20)
    names = {"names": np.eye(3, 8, dtype=np.float32), "names_classes": np.array(["ape", "bat", "cow"])}
    np.savez(here / "own.npz", id=np.array([f"i{n}" for n in range(60)]), label=label, **vectors, **names)
    done = typed(here, "import-features", "own.npz", "-S", "ingest.features.aligned=true")
    assert done.returncode == 0, done.stderr
    return here


FLAGS = ["--dataset", "features", "--encoder", "imported", "-S", "ingest.features.aligned=true"]
FLAGS += ["-S", "ingest.features.path=own.npz", "-S", "train.workers=1", "-S", "evaluate.draws=100"]


def test_the_prompt_trains_and_scores_every_method_and_says_what_it_left_out(imported: Path) -> None:
    quick = ["-S", "train.cmm_classifier.steps=10", "-S", "train.tip_adapter_f.steps=5"]
    done = typed(imported, "train", "--task", "classify", "--seeds", "2", "--json", *FLAGS, *quick)
    assert done.returncode == 0, done.stderr
    assert "features: 16 shots left out: 'ape' has 10 pairs in its train half" in done.stderr
    assert "features: no column of 16 shots, the smallest class has fewer train pairs" in done.stderr
    rows = json.loads(done.stdout)
    methods = ["chance", "clip (names)", "linear_probe", "tip_adapter (names)", "tip_adapter_f (names)"]
    assert [row["method"] for row in rows if row["shots"] == 8] == [
        *methods,
        "cross_modal (names)",
        "cmm_classifier (names)",
    ]
    assert {row["shots"] for row in rows} == {1, 2, 4, 8}
    assert all(row["top-1"] > 60 for row in rows if row["shots"] == 8 and row["method"] != "chance")
    shown = typed(imported, "evaluate", "--task", "classify", "--seeds", "2", *FLAGS, *quick)
    assert "names as prototypes before and after the gap is closed" in shown.stdout
    assert "evaluate: " in shown.stderr  # what stands is not made anew
    pictured = typed(imported, "evaluate", "--task", "classify", "--seeds", "2", "--plot", "gap.png", *FLAGS, *quick)
    assert pictured.stderr.endswith("plot: gap.png\n")
    with Image.open(imported / "gap.png") as picture:
        assert picture.format == "PNG"
    report = typed(imported, "report", "--task", "classify", "--seeds", "2", *FLAGS, *quick)
    assert (report.returncode, report.stdout) == (2, "")
    assert report.stderr.endswith(
        "report is about retrieval; 'evaluate --task classify' prints the table of classification\n"
    )


def test_a_target_that_does_not_go_is_told_in_one_line(imported: Path) -> None:
    other = typed(imported, "evaluate", "--task", "classify", "--target-dataset", "blur", *FLAGS, "--method", "clip")
    assert (other.returncode, other.stdout) == (2, "")
    assert "--target-dataset needs an encoder for the other pictures, and these features were imported" in other.stderr
    plain = typed(imported, "evaluate", "--target-dataset", "blur", *FLAGS, "--method", "clip")
    assert "--target-dataset is for classification; pass --task classify, too" in plain.stderr


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--plot", "gap.png"], "--plot is for classification; pass --task classify, too"),
        (
            ["--task", "classify", "--plot", "gap.pdf"],
            "gap.pdf: a plot is written as .png or .svg; give it a name that",
        ),
        (
            ["--task", "classify", "--plot", "gap.svg", "--shots", "1"],
            "no method here maps pictures; add cmm_classifier",
        ),
    ],
)
def test_a_plot_of_nothing_is_refused(imported: Path, more: list[str], told: str) -> None:
    done = typed(imported, "evaluate", *FLAGS, "--seeds", "1", "--method", "clip", *more)
    assert done.returncode == 2
    assert told in done.stderr
    assert not (imported / more[more.index("--plot") + 1]).exists() or "gap.png" in more


def test_the_plot_has_a_row_of_panels_a_dataset_and_a_line_a_state() -> None:
    entries = [
        {"shots": shots, "state": state, "prototypes": kind, "value": place / 10, "support": [0.0, place / 5]}
        for shots in (1, 4)
        for place, state in enumerate(("plain", "shifted", "mapped"), 1)
        for kind in ("gap", "names", "pictures", "both")
    ]
    figure = drawn({"a": entries, "b": entries})
    assert len(figure.axes) == 8
    gap, names = figure.axes[:2]
    assert [list(line.get_ydata()) for line in gap.lines] == [pytest.approx([v, v]) for v in (0.1, 0.2, 0.3)]
    assert [list(line.get_ydata()) for line in names.lines] == [pytest.approx([v, v]) for v in (10, 20, 30)]
    assert [text.get_text() for text in gap.get_xticklabels()] == ["1", "4"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "", "", "", "b", "", "", ""]
