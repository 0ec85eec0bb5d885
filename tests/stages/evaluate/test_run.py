"""The stage on real ledgers, episodes and files of heads; the features, and what a head does, are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cache import shards
from cache.episodes import write_episodes
from cache.errors import MissingError, UserError
from cache.files import digest_file, read_json
from cache.heads import HEAD
from cache.scores import read_queries, read_scores
from cache.store import Ledger, folder_of, in_part, read_ledger, write_ledger
from stages.evaluate import run as stage
from stages.evaluate.params import EvaluateParams, EvaluateSection
from stages.heads.files import save_head
from tests.stages.evaluate import build


def save_heads(store: Path, methods: list[str]) -> Ledger:
    drawn = build.episodes()
    keys = tuple(build.ledger_keys(methods, drawn))
    for key in keys:
        folder = folder_of(store, "heads", key.key)
        if not folder.exists():
            shards.begin(folder, {"made": "for a test"}, [HEAD])
            part = shards.temporary(folder)
            save_head(part, build.head(key.about["method"], key.about["seed"]))
            shards.record(folder, part, HEAD, 0)
    return Ledger("heads", "made", {}, keys)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluateParams:
    monkeypatch.setattr(stage, "load_items", lambda *_: build.items())
    monkeypatch.setattr(stage, "load_head", build.load_head)
    write_episodes(tmp_path / "episodes.parquet", build.episodes(), "made")
    write_ledger(tmp_path / "heads.json", save_heads(tmp_path / "store", ["raw", "spoilt"]))
    names = ("manifest", "features", "mixtures", "scores", "queries", "metrics", "store")
    return EvaluateParams(
        section=EvaluateSection(galleries=["target", "rest", "all"], draws=200),
        dataset="toy",
        label="toy",
        captions="first",
        episodes=tmp_path / "episodes.parquet",
        heads=tmp_path / "heads.json",
        made_from="stamp",
        **{name: tmp_path / name for name in names},
    )


def test_scores_queries_and_metrics_agree(params):
    stage.run(params)
    rows = [
        row
        for row in read_scores(params.scores).to_pylist()
        if (row["method"], row["shots"], row["gallery"], row["direction"], row["metric"])
        == ("spoilt", 2, "target", "mean", "mAP")
    ]
    mean = sum(row["value"] for row in rows) / len(rows)
    assert len(rows) == build.SEEDS
    assert read_json(params.metrics)["mAP"]["spoilt"]["2"] == pytest.approx(mean, abs=1e-6)
    assert read_queries(params.queries).num_rows > 0


def test_the_same_heads_give_the_same_bytes(params):
    first = []
    for _ in range(2):
        stage.run(params)
        first.append([digest_file(path) for path in (params.scores, params.queries, params.metrics)])
    assert first[0] == first[1]


def test_a_head_that_is_gone_names_the_command_that_renews_it(params):
    key = next(build.ledger_keys(["spoilt"], build.episodes())).key
    (folder_of(params.store, "heads", key) / HEAD).unlink()
    with pytest.raises(UserError, match=r"run 'verify --"):
        stage.run(params)


def test_a_ledger_without_heads_is_refused(params):
    write_ledger(params.heads, Ledger("heads", "made", {}, ()))
    with pytest.raises(UserError, match=r"names no heads; run 'train' again"):
        stage.run(params)
    assert not params.scores.exists()


def test_missing_episodes_are_named(params):
    params.episodes.unlink()
    with pytest.raises(MissingError, match=r"episodes\.parquet: no such file"):
        stage.run(params)


@pytest.mark.parametrize("lost", [{"seed": 0}, {"seed": 1}, {"half": 0}, {"shots": 2}])
def test_a_ledger_that_lacks_heads_is_scored_as_a_part(params, lost):
    ledger = read_ledger(params.heads)
    kept = tuple(
        key
        for key in ledger.keys
        if key.about["method"] != "spoilt" or any(key.about[name] != value for name, value in lost.items())
    )
    assert 0 < len(kept) < len(ledger.keys)
    write_ledger(params.heads, replace(ledger, made_from=in_part("made"), keys=kept))
    stage.run(params)
    assert read_json(params.metrics)["made_from"] == "in part: stamp"
    rows = read_scores(params.scores).to_pylist()
    assert not [row for row in rows if row["method"] == "spoilt" and all(row[n] == v for n, v in lost.items())]
    assert [row for row in rows if row["method"] == "raw"]


def test_metrics_list_the_rows_that_the_ledger_lacks_under_their_names(params):
    ledger = read_ledger(params.heads)
    row = {"method": "gap", "variant": "quick", "access": "inductive", "names": True, "shots": 2, "draws": 1, "of": 4}
    write_ledger(params.heads, replace(ledger, made_from=in_part("made"), about={"lacking": [row]}))
    stage.run(params)
    assert read_json(params.metrics)["lacking"] == [{"label": "gap (quick, names)", **row}]
    write_ledger(params.heads, ledger)
    stage.run(params)
    assert "lacking" not in read_json(params.metrics)
