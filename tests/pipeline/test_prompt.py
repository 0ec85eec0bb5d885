"""Commands at the prompt: what they make on the way, what they print, what they say when something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proof.checkout import make_extracted, make_folder, pipeline, run


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_extracted(tmp_path_factory.mktemp("prompt") / "a folder with ünïcode")


def files_of(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys, pipeline.__main__; slow = {'torch', 'numpy', 'scipy', 'pyarrow', 'h5py', 'open_clip', 'sklearn'};"
        "print(sorted(slow & set(sys.modules)))"
    )
    assert run(Path(__file__).resolve().parents[2], "python", "-c", code).stdout.strip() == "[]"


def test_extract_makes_the_manifest_on_the_way(extracted: Path) -> None:
    assert (extracted / "runs/manifests/table.parquet").exists()
    assert (extracted / "runs/features/table/lite0-minilm.json").exists()
    assert not (extracted / "data/manifests").exists()


def test_a_second_extract_changes_no_file_of_the_store(extracted: Path) -> None:
    before = files_of(extracted / "data/store/features")
    done = pipeline(extracted, "extract", "--json")
    assert "stands" in done.stderr
    assert files_of(extracted / "data/store/features") == before
    rows = json.loads(done.stdout)
    assert {row["rows"]: row["count"] for row in rows} == {"image": 40, "text": 40, "name": 4}


def test_train_prints_scores_and_touches_nothing_of_the_pipeline(extracted: Path) -> None:
    done = pipeline(extracted, "train", "--shots", "1", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["method"] for row in rows} >= {"chance", "cca", "gap", "gcrdp"}
    assert {row["shots"] for row in rows} == {1}
    assert not (extracted / "data/heads").exists()
    assert not (extracted / "results").exists()


def test_a_parameter_changed_back_computes_nothing_twice(extracted: Path) -> None:
    pipeline(extracted, "train", "--shots", "1")
    before = files_of(extracted / "data/store")
    pipeline(extracted, "train", "--shots", "1", "-S", "train.gcrdp.theta=0.3")
    between = files_of(extracted / "data/store")
    pipeline(extracted, "train", "--shots", "1")
    assert before.items() < between.items()
    assert files_of(extracted / "data/store") == between


@pytest.mark.parametrize(
    ("change", "stand"),
    [("train.flexclip.lr=0.5", 2), ("train.workers=2", 2), ("train.cca.ridge=0.5", 0), ("ingest.captions=mean", 0)],
)
def test_heads_and_scores_stand_unless_a_value_that_they_were_made_with_changes(
    extracted: Path, change: str, stand: int
) -> None:
    arguments = ("train", "--method", "cca", "--shots", "0")
    pipeline(extracted, *arguments)
    assert pipeline(extracted, *arguments, "-S", change).stderr.count(" stands") == stand


def test_a_parameter_of_stage_two_never_extracts(extracted: Path) -> None:
    before = files_of(extracted / "data/store/features")
    done = pipeline(extracted, "train", "--shots", "1", "-S", "train.gcrdp.theta=0.7", "-S", "mixture.components=2")
    assert done.returncode == 0, done.stderr
    assert files_of(extracted / "data/store/features") == before


def test_train_without_features_names_the_command(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "bare")
    done = pipeline(folder, "train", "--shots", "1")
    assert done.returncode == 1
    assert "run python -m pipeline extract --dataset table" in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_the_command_that_is_named_repeats_the_flags_that_matter(extracted: Path) -> None:
    done = pipeline(extracted, "train", "--precision", "bf16", "-S", "train.gap.steps=3", "--seeds", "1")
    named = """run python -m pipeline extract --dataset table -S 'extract.precision="bf16"'"""
    assert done.stderr.splitlines()[-1].endswith(named)


def test_a_row_that_fails_leaves_a_hole_in_the_table_and_is_told_at_the_end(extracted: Path) -> None:
    arguments = ("train", "--method", "cca,gap", "--shots", "0,1", "--seeds", "1", "--json")
    broken = pipeline(extracted, *arguments, "-S", "train.gap.tau=1.0e-39")
    why = "train: the loss is no finite number at step 0; lower lr or raise tau of the method"
    assert broken.returncode == 1
    assert broken.stderr.splitlines()[-1] == f"gap at 0 shots, seed 0 and in 1 more episode: {why}"
    rows = json.loads(broken.stdout)
    assert {(row["method"], row["shots"], row["draws"], row["of"]) for row in rows} == {
        *((method, shots, 1, 1) for method in ("chance", "cca") for shots in (0, 1)),
        *(("gap", shots, 0, 1) for shots in (0, 1)),
    }
    figures = {value for row in rows if row["method"] == "gap" for value in list(row.values())[2:-2]}
    assert figures == {None}
    again = pipeline(extracted, *arguments, "-S", "train.gap.tau=1.0e-39")  # a part never stands for the whole
    assert (again.returncode, again.stdout) == (1, broken.stdout)
    whole = pipeline(extracted, *arguments)
    assert whole.returncode == 0
    rows = json.loads(whole.stdout)
    assert {row["method"] for row in rows} == {"chance", "cca", "gap"}
    assert not [row for row in rows if row["mAP"] is None or "of" in row]


def test_where_every_row_fails_only_that_is_said_and_debug_shows_where(extracted: Path) -> None:
    arguments = ("train", "--method", "gap", "--shots", "0", "--seeds", "1", "-S", "train.gap.tau=1.0e-39")
    why = "train: the loss is no finite number at step 0; lower lr or raise tau of the method"
    plain, shown = pipeline(extracted, *arguments), pipeline(extracted, *arguments, "--debug")
    assert (plain.returncode, plain.stdout) == (shown.returncode, shown.stdout) == (1, "")
    assert plain.stderr.splitlines()[-1] == shown.stderr.splitlines()[-1] == f"gap at 0 shots, seed 0: {why}"
    assert "Traceback" not in plain.stderr
    assert "Traceback" in shown.stderr
    assert "names no heads" not in plain.stderr


def test_clip_is_refused_where_towers_share_no_space(extracted: Path) -> None:
    done = pipeline(extracted, "train", "--shots", "1", "--method", "clip")
    assert done.returncode in (1, 2)
    last = done.stderr.splitlines()[-1]
    assert last == "method 'clip' needs aligned features and lite0-minilm has none; use --method cca"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("extract", "--dataset", "openmoij"), 2, "did you mean 'openmoji'?"),
        (("extract", "--dataset", "wikipedia"), 1, "data/raw/wikipedia"),
        (("extract", "--dataset", "pascal"), 1, "data/raw/pascal"),
        (("extract", "--dataset", "nuswide"), 1, "data/raw/nuswide"),
        (("extract", "--dataset", "xmedianet"), 1, "data/raw/xmedianet"),
        (("extract", "--encoder", "lite0-minlm"), 2, "did you mean 'lite0-minilm'?"),
        (("extract", "--encoder", "ViT-B-23/openai"), 2, "did you mean 'ViT-B-32"),
        (("extract", "--weights", "data"), 2, "ünïcode/data: a folder; extract.weights names one file"),
        (("extract", "--heads", "data"), 2, "ünïcode/data: a folder; extract.heads names one file, a safetensors file"),
        (("extract", "--device", "banana"), 2, "should be auto, cpu, mps, cuda, or one of several, as in cuda:1"),
        (("extract", "-S", "ingest.table.path=nix.csv"), 1, "ünïcode/nix.csv is missing"),
        (("train", "--method", "gcrpd"), 2, "did you mean 'gcrdp'?"),
        (("train", "-S", "mixture.compnents=3"), 2, "did you mean 'mixture.components'?"),
        (("train", "--shots", "one"), 2, "--shots one: expected numbers"),
        (
            ("train", "--access", "transductive", "--method", "cca,gap"),
            2,
            "nothing: no row asked for takes it (cca, gap); ",
        ),
        (("split", "--shots", "40"), 2, "split.shots asks for 40 pairs"),
        (("info", "zzzz"), 2, "0 keys begin with 'zzzz'"),
        (("trian",), 2, "No such command 'trian'"),
        (("train", "--seeds", "x"), 2, "Invalid value for '--seeds'"),
        (("train", "--shots", "-1"), 2, "flags: split.shots.0 is -1"),
        (("train", "-S", "mixture.temperature=hot"), 2, "should be 'auto' or a valid number"),
        (("train", "-S", "train.gcrdp=3"), 2, "train.gcrdp is 3; it is a section, with keys of its own"),
    ],
)
def test_wrong_use_is_one_line_and_an_exit_code(
    extracted: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    before = files_of(extracted / "data/store")
    done = pipeline(extracted, *arguments)
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert done.returncode == code, done.stderr
    assert message in lines[-1]
    assert "Traceback" not in done.stderr
    assert files_of(extracted / "data/store") == before


def test_verify_finds_a_flipped_bit_and_repair_restores_it(extracted: Path) -> None:
    assert pipeline(extracted, "verify").returncode == 0
    part = max((extracted / "data/store/features").rglob("part-00000.h5"), key=lambda p: p.stat().st_size)
    whole = part.read_bytes()
    part.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    found = pipeline(extracted, "verify")
    assert found.returncode == 1
    assert "part-00000.h5" in found.stderr.splitlines()[-1]
    assert pipeline(extracted, "verify", "--quick").returncode == 0
    pipeline(extracted, "verify", "--repair")
    assert pipeline(extracted, "extract").returncode == 0
    assert part.read_bytes() == whole
    assert pipeline(extracted, "verify").returncode == 0


def test_what_there_is_is_listed(extracted: Path) -> None:
    named = {
        name: {row["name"] for row in json.loads(pipeline(extracted, name, "--json").stdout)}
        for name in ("datasets", "encoders", "methods")
    }
    assert {"openmoji", "wikipedia", "pascal", "nuswide", "nuswide-10k", "xmedianet", "table"} <= named["datasets"]
    assert "lite0-minilm" in named["encoders"]
    assert {"clip", "cca", "gap", "gcrdp"} <= named["methods"]


def test_info_lists_keys_and_explains_one(extracted: Path) -> None:
    pipeline(extracted, "train", "--method", "gcrdp", "--shots", "1", "--seeds", "1")
    rows = json.loads(pipeline(extracted, "info", "--json").stdout)
    assert {row["kind"] for row in rows} >= {"features", "mixtures", "heads"}
    about = json.loads(pipeline(extracted, "info", rows[0]["key"], "--json").stdout)
    assert "files" in {row["what"] for row in about}


def test_clean_removes_what_no_ledger_names(extracted: Path) -> None:
    pipeline(extracted, "train", "--shots", "1")
    assert pipeline(extracted, "clean", "--unused").returncode == 0
    done = pipeline(extracted, "train", "--shots", "1")
    assert "stands" in done.stderr
    assert json.loads(pipeline(extracted, "clean", "--json").stdout) == []


def test_results_of_another_run_are_never_mixed_in(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "two")
    pipeline(folder, "extract")
    pipeline(folder, "evaluate", "--shots", "1")
    results = folder / "runs/results"
    first = {name: (results / name).read_bytes() for name in ("history.parquet", "metrics.json", "scores.parquet")}
    pipeline(folder, "evaluate", "--shots", "0")
    stale = (results / "metrics.json").read_bytes()
    pipeline(folder, "evaluate", "--shots", "1")
    (results / "metrics.json").write_bytes(stale)
    pipeline(folder, "evaluate", "--shots", "1")
    assert {name: (results / name).read_bytes() for name in first} == first


def test_an_edited_table_is_ingested_again(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "edited")
    pipeline(folder, "extract")
    table = folder / "data/raw/tiny/pairs.csv"
    table.write_text(table.read_text().replace("a circle number 0 in colour", "another circle"))
    rows = json.loads(pipeline(folder, "extract", "--json").stdout)
    texts = [row for row in rows if row["rows"] == "text"]
    assert texts[0]["count"] == 40
    assert len(list((folder / "data/store/features").iterdir())) == 4  # the pictures and names stood


def test_damaged_pictures_are_listed_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "broken")
    pictures = folder / "data/raw/tiny"
    (pictures / "circle0.png").write_bytes((pictures / "circle0.png").read_bytes()[:60])
    (pictures / "circle1.png").write_bytes(b"")
    done = pipeline(folder, "extract", "--json")
    assert done.returncode == 0, done.stderr
    assert "2 of 40 images could not be read and are left out" in done.stderr
    assert {row["rows"]: row["failed"] for row in json.loads(done.stdout)} == {"image": 2, "text": 0, "name": 0}
    assert pipeline(folder, "train", "--shots", "1").returncode == 0


def test_class_splits_do_not_widen_the_support_interval(extracted: Path) -> None:
    more = ("-S", "split.protocol=random", "-S", "split.halves=2", "--seeds", "1", "--shots", "0", "--method", "cca")
    rows = json.loads(pipeline(extracted, "evaluate", *more, "--json").stdout)
    assert [row["±"] for row in rows] == [None] * len(rows)


def test_another_gallery_alone_is_shown(extracted: Path) -> None:
    done = pipeline(extracted, "evaluate", "-S", "evaluate.galleries=[all]", "--method", "cca", "--shots", "1")
    assert "gallery `all`" in done.stdout
    assert "cca" in done.stdout
