"""What ran, from what was written of it."""

from __future__ import annotations

import os

from cache.manifest import read_manifest
from cache.store import read_ledger
from stages.items import load_items
from stages.report.ran import software, what_ran, when
from tests.stages.report import build


def test_data_keys_software_and_times_are_those_of_the_files(tmp_path):
    made = build.write_inputs(tmp_path)
    os.utime(made.scores, (1_700_000_000, 1_700_000_000))
    features, manifest = read_ledger(made.features), read_manifest(made.manifest)
    items = load_items(made.store, made.manifest, made.features, made.mixtures, "first")
    ran = what_ran(manifest, features, items, build.ABOUT, {"scores": made.scores, "gone": tmp_path / "gone"})
    assert dict(ran.data)["Pairs"] == "48 pairs of 6 classes"
    assert dict(ran.data)["Encoder"] == "tiny, aligned"
    keys = {"manifest": manifest.digest, **items.keys}
    assert dict(ran.keys) == keys
    assert ran.times == [("scores", "2023-11-14 22:13 UTC"), ("gone", "–")]  # noqa: RUF001


def test_the_project_and_python_lead_the_software():
    found = software({"torch": "2", "python": "3", "numpy": "1", "this project": "0"})
    assert [name for name, _ in found] == ["this project", "python", "numpy", "torch"]


def test_a_time_is_told_to_the_minute_in_utc(tmp_path):
    (tmp_path / "x").touch()
    os.utime(tmp_path / "x", (0, 61))
    assert when(tmp_path / "x") == "1970-01-01 00:01 UTC"
