"""doctor: run for real, and on what is broken on purpose."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cache.features import FeatureCache
from pipeline import doctor, forecast
from pipeline.params import load_params
from pipeline.places import find_places
from pipeline.setting import Setting
from proof.checkout import make_extracted, make_folder, pipeline, run

HALVES = ("bf16", "fp16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("doctor") / "here")


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_extracted(tmp_path_factory.mktemp("doctor") / "extracted")


def setting_of(folder: Path, **flags: object) -> Setting:
    params = load_params(folder / "params.yaml", [], [], list(flags.items()))
    return Setting(params, find_places(folder, params.store, {}))


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in json.loads(done.stdout)}


def names_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_machine_that_runs_the_tests_is_fit_and_nothing_is_left_there(folder: Path) -> None:
    before = names_in(folder)
    done = pipeline(folder, "doctor", "--json", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = checks(done)
    assert names_in(folder) == before
    assert {"python", "torch", "h5py", "processor", "device", *HALVES, "write to store", "locks", "disk"} <= set(rows)
    assert {row["state"] for row in rows.values()} <= {"ok", "warning"}
    assert all((row["mend"] == "") == (row["state"] == "ok") for row in rows.values())
    assert "HF_HUB_OFFLINE is set" in rows["hub"]["found"]
    assert "unknown until ingest" in rows["disk"]["found"]
    assert rows["fp32 (extract.precision)"]["state"] == "ok"
    assert "second process is kept out" in rows["locks"]["found"]


def test_a_store_under_a_file_and_a_device_that_is_not_there_are_faults_with_their_mends(folder: Path) -> None:
    done = pipeline(folder, "doctor", "--json", "-S", "store=params.yaml/store", "--device", "cuda:63")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("3 of ")
    rows = checks(done)
    faults = {name for name, row in rows.items() if row["state"] == "fault"}
    assert faults == {"device", "write to store", "locks"}
    assert "params.yaml is no folder" in rows["write to store"]["found"]
    assert rows["device"]["mend"] == "use --device cpu"
    assert "fp32" not in "".join(rows)  # nothing is tried on a device that is not there


def test_the_table_is_for_people(folder: Path) -> None:
    done = pipeline(folder, "doctor", HF_HUB_OFFLINE="1")
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["check", "state", "found", "mend"]
    assert len(lines) > 20


def test_a_hub_that_does_not_answer_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:  # bound, and nobody listens
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        line = doctor._hub(setting_of(folder, encoder="ViT-B-32/openai"))
    assert (line.state, line.mend) == ("warning", doctor._OFFLINE)
    assert "does not answer" in line.found
    assert "ViT-B-32/openai comes from there" in line.found


@pytest.mark.parametrize(
    ("encoder", "weights", "needed"),
    [
        ("ViT-B-32/openai", None, True),
        ("ViT-B-32/none", None, False),
        ("ViT-B-32", "x.pt", False),
        ("hf-hub:a/b", None, True),
        ("towers:resnet18/none+./bert", None, False),
        ("towers:resnet18+./bert", None, True),
        ("lite0-minilm", None, False),
    ],
)
def test_which_encoders_need_the_hub(folder: Path, encoder: str, weights: str | None, needed: bool) -> None:
    assert doctor._needs_hub(setting_of(folder, encoder=encoder, **{"extract.weights": weights})) is needed


def test_a_library_beneath_its_floor_or_absent_is_a_fault() -> None:
    old = doctor._library("numpy", doctor.Requirement("numpy>=99"))
    assert (old.state, old.mend) == ("fault", "pip install 'numpy>=99'")
    assert doctor._library("no-such-library", None).found == "not installed"
    assert {"torch", "h5py", "pyarrow", "dvc"} <= set(doctor._floors())


def test_locks_that_keep_nobody_out_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._locks(tmp_path).state == "ok"
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # as a file system that only says yes
    assert doctor._locks(tmp_path).found.endswith("locks keep nobody out")
    assert list(tmp_path.iterdir()) == []


def test_a_precision_that_fails_is_a_fault_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._run_small("cpu", "fp32") < 1e-5
    assert 1e-5 < doctor._run_small("cpu", "bf16") < doctor.TOLERANCE
    monkeypatch.setattr(doctor, "_run_small", lambda *_: float("nan"))
    assert doctor._precision("cpu", "fp16", asked=True).state == "fault"
    assert doctor._precision("cpu", "fp16", asked=False).state == "warning"


def test_dvc_wants_git_or_to_be_told(tmp_path: Path) -> None:
    assert doctor._dvc(tmp_path).state == "warning"
    (tmp_path / ".dvc").mkdir()
    assert "no_scm" in doctor._dvc(tmp_path).mend
    (tmp_path / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert doctor._dvc(tmp_path).state == "ok"
    (tmp_path / ".dvc/config.local").unlink()
    assert run(tmp_path, "git", "init", "-q").returncode == 0
    assert doctor._dvc(tmp_path).found == "a git checkout"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_a_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor._writable("store", tmp_path / "store").state == "fault"


def test_the_forecast_is_what_extract_then_writes(extracted: Path) -> None:
    setting = setting_of(extracted)
    plan = forecast.forecast(setting)
    assert plan is not None
    made = {FeatureCache.open(f).rows_kind: f for f in (extracted / "data/store/features").iterdir()}
    images = sum(p.stat().st_size for p in made["image"].glob("part-*"))
    assert plan.pictures == 40
    assert abs(plan.pictures * plan.bytes_a_picture / images - 1) < 0.02
    assert plan.standing == sum(p.stat().st_size for f in made.values() for p in f.iterdir())
    about = FeatureCache.open(made["image"]).about["dims"]
    assert (about["tokens_an_image"], about["tokens"]) == (forecast.LITE0_MINILM.patches, forecast.LITE0_MINILM.image)
    assert FeatureCache.open(made["text"]).about["dims"]["tokens"] == forecast.LITE0_MINILM.text


def test_shapes_are_known_of_plain_transformers_alone() -> None:
    assert forecast.widths_of("ViT-B-32/openai", None) == forecast.Widths(49, 768, 512, 512)
    assert forecast.widths_of("RN50/openai", None) is None
    assert forecast.widths_of("convnext_base/x", None) is None


def test_a_disk_too_small_for_the_plan_is_a_fault(extracted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = setting_of(extracted, **{"extract.storage": "float32"})  # nothing of it is there yet
    assert doctor._disk(setting).state == "ok"
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: doctor.shutil._ntuple_diskusage(10, 5, 1_000_000))
    line = doctor._disk(setting)
    assert line.state == "fault"
    assert "--tokens none" in line.mend


def test_doctor_needs_no_open_clip() -> None:
    code = (
        "import sys, pipeline.doctor as d; d._torch(); print(sorted({'open_clip', 'transformers'} & set(sys.modules)))"
    )
    done = run(Path(__file__).resolve().parents[2], sys.executable, "-c", code)
    assert done.stdout.strip() == "[]", done.stderr
