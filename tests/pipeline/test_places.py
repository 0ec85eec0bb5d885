"""Where artefacts go: runs/ at the prompt, the pipeline's own paths under DVC, the store under one home."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import MissingError
from pipeline.places import find_places, find_root


def test_at_the_prompt_everything_goes_under_runs(tmp_path: Path) -> None:
    places = find_places(tmp_path, "data/store", {})
    assert places.to_write("manifests/x.parquet") == tmp_path / "runs/manifests/x.parquet"
    assert places.to_write("results/scores.parquet") == tmp_path / "runs/results/scores.parquet"


def test_at_the_prompt_what_dvc_made_is_read_too(tmp_path: Path) -> None:
    places = find_places(tmp_path, "data/store", {})
    assert places.to_read("manifests/x.parquet") == [
        tmp_path / "runs/manifests/x.parquet",
        tmp_path / "data/manifests/x.parquet",
    ]


def test_under_dvc_only_the_paths_of_dvc_yaml_are_used(tmp_path: Path) -> None:
    places = find_places(tmp_path, "data/store", {"DVC_STAGE": "train"})
    assert places.to_write("results/scores.parquet") == tmp_path / "results/scores.parquet"
    assert places.to_read("manifests/x.parquet") == [tmp_path / "data/manifests/x.parquet"]


def test_store_and_inputs_of_a_temporary_experiment_lie_in_the_main_checkout(tmp_path: Path) -> None:
    main, copy = tmp_path / "main", tmp_path / "copy"
    places = find_places(copy, "data/store", {"DVC_ROOT": str(main), "DVC_STAGE": "extract"})
    assert places.store == main / "data/store"
    assert places.inside("data/raw") == main / "data/raw"
    assert places.to_write("manifests/x.parquet") == copy / "data/manifests/x.parquet"


def test_pipeline_home_wins_over_dvc_root(tmp_path: Path) -> None:
    environ = {"PIPELINE_HOME": str(tmp_path / "home"), "DVC_ROOT": str(tmp_path / "dvc")}
    assert find_places(tmp_path, "data/store", environ).store == tmp_path / "home/data/store"


def test_an_absolute_store_stays(tmp_path: Path) -> None:
    assert find_places(tmp_path, str(tmp_path / "elsewhere"), {}).store == tmp_path / "elsewhere"


def test_the_root_is_found_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").touch()
    below = tmp_path / "a/b"
    below.mkdir(parents=True)
    assert find_root(below) == tmp_path


def test_outside_a_checkout_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no params.yaml here or above"):
        find_root(tmp_path)


def test_an_input_has_one_spelling(tmp_path: Path) -> None:
    places = find_places(tmp_path, "data/store", {})
    for path in ("a/f.npz", "./a//f.npz", f"{tmp_path}/a/f.npz"):
        assert places.from_home(path) == "a/f.npz"
    assert places.from_home("/elsewhere/f.npz") == "/elsewhere/f.npz"
