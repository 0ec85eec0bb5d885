"""The stage on a real store: what it trains, what it leaves alone, and what it says."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg

from cache import shards
from cache.episodes import read_episodes, write_episodes
from cache.errors import DamagedError, UsageError, UserError
from cache.features import Modality
from cache.files import digest_file
from cache.heads import HEAD
from cache.manifest import read_manifest, write_manifest
from cache.scores import read_history
from cache.store import folder_of, read_ledger, write_ledger
from stages.heads.files import load_head
from stages.items import load_items
from stages.train import chosen, work
from stages.train import run as stage
from stages.train.episode import train_episode
from stages.train.methods import METHODS, gap, scm
from stages.train.params import TrainParams, TrainSection, VariantSection
from stages.train.plan import Row
from tests.cache.build import flip_bit, tree
from tests.conftest import ROOT
from tests.stages.small_features import place
from tests.stages.train import build

TRAINED = ["cca", "gap", "gcrdp", "flexclip", "cmm", "scm", *build.CLASSIFIERS]
PART = "part-00000.h5"


def heads(params: TrainParams) -> dict[str, str]:
    """The digest of every head of the ledger, by what it is."""
    return {
        str(sorted(key.about.items())): digest_file(folder_of(params.store, "heads", key.key) / HEAD)
        for key in read_ledger(params.ledger).of("heads")
    }


def with_methods(params: TrainParams, methods: list[str], **gcrdp) -> TrainParams:
    return replace(params, section=build.section(methods, **gcrdp))


@pytest.mark.parametrize("aligned", [True, False])
def test_every_method_and_episode_gets_a_whole_head(tmp_path, aligned):
    methods = [*TRAINED, "clip"] if aligned else TRAINED
    params = build.params(tmp_path, methods, aligned)
    stage.run(params)
    ledger = read_ledger(params.ledger)
    items = load_items(params.store, params.manifest, params.features, params.mixtures, "first")
    assert len(ledger.keys) == len(build.DRAWN) * len(methods)
    assert ledger.made_from == "stamp"
    for key in ledger.keys:
        folder = folder_of(params.store, "heads", key.key)
        assert shards.folder_digest(folder) == key.digest
        modality: Modality = "text"
        assert len(load_head(folder / HEAD).vectors(items, modality, "all").values) == len(items)


def test_a_row_that_learns_from_all_captions_gets_them_and_the_others_none(tmp_path, monkeypatch):
    params = build.params(tmp_path, ["scm"])
    shutil.rmtree(params.store)
    texts = [[own, 2 * other] for own, other in zip(build.tokens(1), build.tokens(5), strict=True)]
    here = place(tmp_path, build.IDS, build.tokens(0), texts, [list(own) for own in build.LABELS])
    build.add_names(here.features, here.store, aligned=True)
    loaded = []
    monkeypatch.setattr(work, "load_items", lambda *given: loaded.append(load_items(*given)) or loaded[-1])
    plain, rich = (build.scm_section(vote_image=0.0, vote_text=0.0, captions=told) for told in ("ingest", "all"))
    for own in (plain, rich):
        stage.run(replace(params, mixtures=None, section=params.section.model_copy(update={"scm": own})))
    assert [items.captions is None for items in loaded] == [True, False]
    (key,) = [key.key for key in read_ledger(params.ledger).of("heads") if key.about["shots"] and not key.about["seed"]]
    found = load_head(folder_of(params.store, "heads", key) / HEAD).tensors()
    fit = train_episode(build.episode(2, 0), loaded[1], params.section.align)
    expected, other = (scm.fit(fit, own, 0).tensors() for own in (rich, plain))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert not np.array_equal(found["0.text.prototypes"], other["0.text.prototypes"])


def test_two_folders_get_the_same_bits(tmp_path):
    worlds = [build.params(tmp_path / name, TRAINED, aligned=False) for name in ("a", "b")]
    for params in worlds:
        stage.run(params)
    assert worlds[0].ledger.read_bytes() == worlds[1].ledger.read_bytes()
    assert worlds[0].history.read_bytes() == worlds[1].history.read_bytes()


@pytest.mark.parametrize("aligned", [True, False])
def test_labels_of_rows_that_may_not_be_read_change_no_bit_of_any_head(tmp_path, aligned):
    clean, poisoned = (build.params(tmp_path / name, TRAINED, aligned) for name in ("clean", "poisoned"))
    drawn = read_episodes(poisoned.episodes)
    turned = build.CLASSES[1:] + build.CLASSES[:1]
    poison = {(name,): (other,) for name, other in zip(build.CLASSES, turned, strict=True)}
    wrong = []
    for episode in drawn:
        hidden = {i for role in ("test", "source-test", "target-rest") for i in episode.ids[role]}
        labels = {i: poison[own] if i in hidden else own for i, own in episode.labels.items()}
        wrong.append(replace(episode, labels=labels))
    write_episodes(poisoned.episodes, wrong, "test")
    manifest = read_manifest(poisoned.manifest)
    labels = [list(poison[tuple(own)]) for own in manifest.labels]
    write_manifest(poisoned.manifest, replace(manifest, labels=labels), "test")
    for params in (clean, poisoned):
        stage.run(params)
    assert heads(clean) == heads(poisoned)


def test_a_fit_never_meets_another_row(tmp_path, monkeypatch):
    params = build.params(tmp_path, ["gap"])
    seen = []

    def watched(*given):
        seen.append(train_episode(*given))
        return seen[-1]

    monkeypatch.setattr(stage, "train_episode", watched)
    stage.run(params)
    for given, episode in zip(seen, read_episodes(params.episodes), strict=True):
        assert given.items.ids == episode.ids["source-train"] + episode.ids["support"]


def test_a_second_run_trains_nothing_and_says_the_same(tmp_path, listener):
    params = build.params(tmp_path, TRAINED)
    stage.run(params)
    before = (listener.done, params.ledger.read_bytes(), params.history.read_bytes())
    stage.run(params)
    assert (listener.done, params.ledger.read_bytes(), params.history.read_bytes()) == before


@pytest.mark.parametrize("rows", ["image", "text", "mixtures"])
def test_a_flipped_bit_in_what_is_read_stops_what_must_be_fitted_and_hinders_nothing_else(tmp_path, rows):
    params = build.params(tmp_path, TRAINED)
    stage.run(params)
    key = load_items(params.store, params.manifest, params.features, params.mixtures, "first").keys[rows]
    kind, name, command = ("mixtures", "text.h5", "mixture") if rows == "mixtures" else ("features", PART, "extract")
    path = folder_of(params.store, kind, key) / name
    flip_bit(path)
    damaged = tree(params.store)
    stage.run(params)
    other = with_methods(params, TRAINED, theta=0.5)
    with pytest.raises(DamagedError) as caught:
        stage.run(other)
    assert name in str(caught.value)
    assert f"; run 'verify --repair', then '{command}' writes only this " in str(caught.value)
    assert tree(params.store) == damaged
    flip_bit(path)
    stage.run(other)
    assert len(read_ledger(params.ledger).keys) == len(build.DRAWN) * len(TRAINED)


def test_theta_trains_gcrdp_again_and_changing_it_back_nothing(tmp_path, listener):
    params = build.params(tmp_path, TRAINED)
    stage.run(params)
    first = listener.done
    stage.run(with_methods(params, TRAINED, theta=0.5))
    assert listener.done == first + len(build.DRAWN)
    stage.run(params)
    assert listener.done == first + len(build.DRAWN)


def test_a_method_trained_alone_is_the_same_head(tmp_path):
    alone, together = (build.params(tmp_path / name, TRAINED) for name in ("alone", "together"))
    stage.run(with_methods(alone, ["gap"]))
    stage.run(together)
    kept = heads(alone)
    assert kept == {name: digest for name, digest in heads(together).items() if name in kept}


def test_a_row_whose_mixtures_are_of_classes_is_the_same_head_with_and_without_those_of_items(tmp_path):
    own = {"over": "class", "retrieve": "pooled"}
    alone, beside = (build.params(tmp_path / name, ["gcrdp"]) for name in ("alone", "beside"))
    stage.run(replace(with_methods(alone, ["gcrdp"], **own), mixtures=None))
    more = {"method": "gcrdp", "variant": "classes", "values": own}
    section = TrainSection.model_validate({**beside.section.model_dump(by_alias=True), "variants": [more]})
    stage.run(replace(beside, section=section))
    files = [list((params.store / "heads").glob(f"*/{HEAD}")) for params in (alone, beside)]
    found = [{path.parent.name: digest_file(path) for path in own} for own in files]
    assert len(found[0]) == len(build.DRAWN)
    assert found[0].items() < found[1].items()
    assert all("mixtures" not in load_head(path).about["features"] for path in files[0])


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "folder", "record"])
def test_a_run_that_died_goes_on_to_the_same_heads(tmp_path, monkeypatch, step):
    clean, broken = (build.params(tmp_path / name, ["gap"]) for name in ("clean", "broken"))
    stage.run(clean)
    count = 0

    def die(name: str) -> None:
        nonlocal count
        count += name == step
        if count == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(shards, "step", die)
    with pytest.raises(KeyboardInterrupt):
        stage.run(broken)
    assert not broken.ledger.exists()
    monkeypatch.setattr(shards, "step", lambda _: None)
    stage.run(broken)
    assert broken.ledger.read_bytes() == clean.ledger.read_bytes()


class Mortal:
    """A method's fit that fails for one seed."""

    def __init__(self, error: Exception, seed: int | None) -> None:
        self.error, self.seed, self.real = error, seed, gap.fit

    def __call__(self, episode, section, seed, *_):
        if self.seed in (None, seed):
            raise self.error
        return self.real(episode, section, seed)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("train: the loss is no finite number"), "the loss is no finite number"),
        (np.linalg.LinAlgError("no luck"), "LinAlgError: no luck; try other values of train.gap"),
    ],
)
def test_a_method_that_fails_in_one_episode_is_told_of_and_the_others_stand(
    tmp_path, listener, monkeypatch, error, line
):
    clean, params = (build.params(tmp_path / name, ["gap", "cca"]) for name in ("clean", "params"))
    stage.run(clean)
    whole = read_ledger(clean.ledger)
    monkeypatch.setattr(gap, "fit", Mortal(error, seed=1))
    stage.run(params)
    assert len(listener.failures) == 1
    assert listener.failures[0].startswith("gap at 2 shots, seed 1: ")
    assert listener.failures[0].endswith(line)
    part = read_ledger(params.ledger)
    assert (part.is_whole, part.made_from) == (False, "in part: stamp")
    assert part.keys == tuple(k for k in whole.keys if (k.about["method"], k.about["seed"]) != ("gap", 1))
    row = {"method": "gap", "variant": "default", "access": "inductive", "names": False, "shots": 2}
    assert part.about["lacking"] == [{**row, "draws": 1, "of": 2}]
    assert "lacking" not in whole.about
    assert {(row["method"], row["seed"]) for row in read_history(params.history).to_pylist()} == {("gap", 0)}
    assert len(list((params.store / "heads").iterdir())) == len(part.keys)  # nothing is left of the one that failed
    monkeypatch.undo()
    before = listener.done
    stage.run(params)
    assert listener.done == before + 1
    assert params.ledger.read_bytes() == clean.ledger.read_bytes()
    assert params.history.read_bytes() == clean.history.read_bytes()


def test_a_reason_that_many_episodes_share_is_one_line(tmp_path, listener, monkeypatch):
    params = build.params(tmp_path, ["cca", "gap"])
    monkeypatch.setattr(gap, "fit", Mortal(UserError("no way"), seed=None))
    stage.run(params)
    assert listener.failures == ["gap at 0 shots, seed 0 and in 2 more episodes: no way"]
    assert {key.about["method"] for key in read_ledger(params.ledger).keys} == {"cca"}
    ((_, code, trace),) = listener.failed
    assert code == 1
    assert "__call__" in trace.splitlines()[-3]
    assert trace.splitlines()[-1].endswith("UserError: no way")


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), TypeError("x"), KeyError("x")])
def test_a_mistake_in_the_code_is_raised_and_what_was_finished_stands(tmp_path, listener, monkeypatch, error):
    params = build.params(tmp_path, ["gap", "cca"])
    monkeypatch.setattr(gap, "fit", Mortal(error, seed=1))
    with pytest.raises(type(error)):
        stage.run(params)
    assert listener.failed == []
    assert not params.ledger.exists()
    folders = list((params.store / "heads").iterdir())
    assert [shards.is_whole(folder) for folder in folders] == [True] * 4  # of both episodes before
    monkeypatch.undo()
    before = listener.done
    stage.run(params)
    assert listener.done == before + 2


@pytest.mark.parametrize(
    ("methods", "error", "code"),
    [
        (["gap"], UsageError("no such space"), 2),
        (["gap"], UserError("no luck"), 1),
        (["gap"], np.linalg.LinAlgError("no luck"), 1),
        (["gap", "cca"], UsageError("no such space"), 1),
    ],
)
def test_wrong_use_exits_with_2_where_not_one_head_stands(tmp_path, listener, monkeypatch, methods, error, code):
    params = build.params(tmp_path, methods)
    monkeypatch.setattr(gap, "fit", Mortal(error, seed=None))
    stage.run(params)
    assert [found for _, found, _ in listener.failed] == [code]


NAN = np.full((2, 2), np.nan)


@pytest.mark.parametrize(
    "real",
    [
        lambda: linalg.cholesky(-np.eye(2)),
        lambda: linalg.eigh(NAN),
        lambda: linalg.svd(NAN),
        lambda: linalg.solve_triangular(NAN, NAN),
        lambda: np.linalg.svd(NAN),
        lambda: torch.linalg.cholesky(-torch.eye(2)),
        lambda: torch.linalg.inv(torch.zeros(2, 2)),
        lambda: np.float64(1) / 0 if np.seterr(divide="raise") else None,
        lambda: 1e300**2,
        lambda: 1 / 0,
    ],
)
def test_what_numbers_raise_is_a_failure_of_the_method(real):
    with np.errstate(), pytest.raises(Exception) as caught:  # noqa: PT011 - which one is asked below
        real()
    assert work.numerical(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: np.ones((2, 3)) @ np.ones((2, 3)),
        lambda: linalg.eigh(np.ones((2, 3))),
        lambda: torch.ones(2, 3) @ torch.ones(2, 3),
        lambda: np.ones(3).reshape(2),
        lambda: {}["key"],
        lambda: [][0],
    ],
)
def test_what_wrong_shapes_and_keys_raise_is_none(wrong):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is asked below
        wrong()
    assert not work.numerical(caught.value)


def test_values_that_cannot_be_chosen_leave_the_other_rows_standing(tmp_path, listener, monkeypatch):
    params = build.params(tmp_path, ["cca", "scm"])
    listed = params.section.scm.model_copy(update={"tau": [0.05, 0.1]})
    params = replace(params, section=params.section.model_copy(update={"scm": listed}))
    monkeypatch.setattr(chosen, "judges", Mortal(UserError("no draw"), seed=None))
    stage.run(params)
    assert listener.failures == ["scm at 0 shots, seed 0 and in 1 more episode: no draw"]
    ledger = read_ledger(params.ledger)
    assert {(key.kind, key.about["method"]) for key in ledger.keys} == {("heads", "cca")}
    assert not ledger.is_whole


def in_twins(params: TrainParams) -> TrainParams:
    """scm that chooses tau, and a variant that differs in what no choice sees."""
    listed = params.section.scm.model_copy(update={"tau": [0.05, 0.1], "all_classes": True})
    twin = VariantSection(method="scm", variant="twin", values={"all_classes": False})
    return replace(params, section=params.section.model_copy(update={"scm": listed, "variants": [twin]}))


def test_rows_that_choose_alike_share_a_selection(tmp_path, listener):
    params = in_twins(build.params(tmp_path, ["scm"]))
    stage.run(params)
    assert listener.failures == []
    ledger = read_ledger(params.ledger)
    shared = {(key.about["shots"], key.key) for key in ledger.of("selections")}
    assert len(ledger.of("selections")) == 2 * len(shared) == 2 * len({shots for shots, _ in shared})
    assert {key.about["variant"] for key in ledger.of("heads")} == {"default", "twin"}


def test_a_shared_selection_that_fails_is_told_of_each_row(tmp_path, listener, monkeypatch):
    params = in_twins(build.params(tmp_path, ["cca", "scm"]))
    monkeypatch.setattr(chosen, "judges", Mortal(UserError("no draw"), seed=None))
    stage.run(params)
    lines = ["at 0 shots, seed 0 and in 1 more episode: no draw"] * 2
    assert sorted(listener.failures) == [f"scm (twin) {lines[0]}", f"scm {lines[0]}"]


@pytest.mark.parametrize(("backend", "methods"), [("loky", TRAINED), ("ray", ["gcrdp", "scm"])])
def test_two_workers_change_no_bit(tmp_path, listener, monkeypatch, backend, methods):
    if backend == "ray":
        ray = pytest.importorskip("ray", reason="ray is not installed; 'pip install .[ray]'")
        monkeypatch.setenv("RAY_ADDRESS", "local")
    alone, crewed = (build.params(tmp_path / name, methods, aligned=False) for name in ("alone", "crewed"))
    listed = alone.section.scm.model_copy(update={"tau": [0.05, 0.1]})
    for params, workers in ((alone, 1), (crewed, 2)):
        changes = {"workers": workers, "backend": backend if workers > 1 else "loky", "scm": listed}
        stage.run(replace(params, section=params.section.model_copy(update=changes)))
    assert crewed.ledger.read_bytes() == alone.ledger.read_bytes()
    assert crewed.history.read_bytes() == alone.history.read_bytes()
    assert heads(crewed) == heads(alone)
    assert listener.failures == []
    if backend == "ray":
        ray.shutdown()


def test_a_failure_in_a_worker_arrives_as_the_same_line(tmp_path, listener):
    params = build.params(tmp_path, ["gap"])
    lost = params.section.gap.model_copy(update={"tau": 1e-39})  # the loss is no finite number
    stage.run(replace(params, section=params.section.model_copy(update={"gap": lost, "workers": 2})))
    where = "gap at 0 shots, seed 0 and in 2 more episodes"
    why = "train: the loss is no finite number at step 0; lower lr or raise tau of the method"
    assert listener.failures == [f"{where}: {why}"]
    assert not list((params.store / "heads").iterdir())


def test_workers_that_outlive_a_run_read_what_lies_at_the_same_paths_then(tmp_path, monkeypatch):
    here, drawn = tmp_path / "here", build.tokens
    for shift in (0, 7):
        monkeypatch.setattr(build, "tokens", lambda seed, shift=shift: drawn(seed + shift))
        shutil.rmtree(here, ignore_errors=True)
        params = build.params(here, ["gap", "cca"])
        stage.run(replace(params, section=params.section.model_copy(update={"workers": 2})))
    alone = build.params(tmp_path / "alone", ["gap", "cca"])
    stage.run(alone)
    assert heads(params) == heads(alone)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_was_killed_goes_on_with_the_missing_heads_alone(tmp_path, listener, workers):
    clean, killed = (build.params(tmp_path / name, ["cca", "gap"]) for name in ("clean", "killed"))
    stage.run(clean)
    command = (sys.executable, "-m", "tests.stages.train.mortal", str(tmp_path / "killed"), str(workers), "3")
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert not killed.ledger.exists()
    folders = list((killed.store / "heads").iterdir())
    standing = sum(shards.is_whole(folder) for folder in folders)
    assert standing == 3
    before = listener.done
    stage.run(killed)
    assert listener.done == before + len(heads(clean)) - standing
    assert killed.ledger.read_bytes() == clean.ledger.read_bytes()
    assert not list((killed.store / "heads").glob("*/tmp-*"))


@pytest.mark.parametrize(
    ("asked", "seconds", "workers"),
    [(1, 99.0, 1), (3, 0.0, 3), (9, 0.0, 4), ("auto", 0.0, 0), ("auto", 2.4, 1), ("auto", 2.5, 2), ("auto", 99.0, 4)],
)
def test_a_crew_is_started_once_it_is_worth_it(tmp_path, monkeypatch, asked, seconds, workers):
    monkeypatch.setattr(work.joblib, "cpu_count", lambda: 8)
    section = build.section(["cca"]).model_copy(update={"workers": asked})
    row = Row(METHODS["cca"], "default", section.cca)
    tasks = [work.Task(i, stage.CRAFT, row, ("parity", 0, 0, i), section, {}, tmp_path) for i in range(4)]
    assert work._workers(section, tasks, {work._pace(tasks[0]): seconds}) == workers


def test_a_head_that_another_run_finished_meanwhile_is_not_fitted_again(tmp_path, monkeypatch):
    params = build.params(tmp_path, ["cca"])
    real, fits = work._round, []

    def twice(*given):
        real(*given)
        monkeypatch.setattr(stage, "train_episode", lambda *_: fits.append(1))
        again = real(*given)
        monkeypatch.setattr(stage, "train_episode", train_episode)
        return again

    monkeypatch.setattr(work, "_round", twice)
    stage.run(params)
    assert fits == []


def test_the_history_is_that_of_the_trained_heads(tmp_path):
    params = build.params(tmp_path, TRAINED)
    stage.run(params)
    table = read_history(params.history).to_pylist()
    assert {row["method"] for row in table} == {"gap", "gcrdp", "flexclip", "cmm", "tip_adapter_f", "cmm_classifier"}
    loss = [row for row in table if row["method"] == "gap" and row["name"] == "loss"]
    assert [(row["shots"], row["seed"], row["step"]) for row in loss] == [
        (one.shots, one.seed, step) for one in build.DRAWN for step in range(4)
    ]


def test_a_run_without_training_has_an_empty_history(tmp_path):
    params = build.params(tmp_path, ["cca"])
    stage.run(params)
    assert read_history(params.history).num_rows == 0


@pytest.mark.parametrize(("theta", "told"), [(1.5, "empty"), (-1.5, "full")])
def test_a_mask_that_theta_spoils_is_said_once_a_run(tmp_path, listener, theta, told):
    params = build.params(tmp_path, TRAINED, theta=theta, theta_kind="absolute")
    for runs in (1, 2):
        stage.run(params)
        assert len(listener.warned) == runs
        assert f"the RDP mask is {told} in 12 of 12 steps" in listener.warned[-1]


def test_clip_on_two_towers_is_refused_and_nothing_is_written(tmp_path):
    params = build.params(tmp_path, ["gap", "clip"], aligned=False)
    with pytest.raises(UsageError, match=r"^method 'clip' needs aligned features and tiny has none; use --method cca$"):
        stage.run(params)
    assert not params.ledger.exists()
    assert not (params.store / "heads").exists()


def renamed(path: Path, dataset: str) -> None:
    ledger = read_ledger(path)
    write_ledger(path, replace(ledger, about={**ledger.about, "dataset": dataset}))


def test_tuned_methods_are_left_out_where_their_values_were_chosen_on_the_test_classes(tmp_path, listener):
    params = build.params(tmp_path, TRAINED)
    renamed(params.features, "flickr8k-core20")
    write_episodes(params.episodes, [build.episode(protocol="random")], "test")
    stage.run(params)
    found = [key.about["method"] for key in read_ledger(params.ledger).keys]
    assert found == ["cca", "scm", *build.CLASSIFIERS]
    assert listener.warned == [
        "gap, gcrdp, flexclip, cmm: left out, their values were tried on classes of flickr8k-core20, parity that are"
        " tested here; use parity"
    ]


def test_the_ledger_says_where_the_values_come_from(tmp_path):
    params = build.params(tmp_path, ["cca"])
    stage.run(params)
    origin = "params.yaml or -S; docs/selection.md: what the source classes of flickr8k-core20, parity, say"
    assert read_ledger(params.ledger).about["values_from"] == origin


def test_all_registered_methods_are_tried_here():
    assert set(METHODS) == {*TRAINED, "clip"}
