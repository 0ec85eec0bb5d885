"""Looking after the store: everything that is wrong is found, named, and mended."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cache import shards
from cache.errors import BusyError, DamagedError
from cache.features import file_names
from cache.heads import FILES, write_head, write_history
from cache.store import Ledger, LedgerKey, folder_of, lock, write_ledger
from cache.verify import Finding, all_ledgers, remove_key, repair_store, unused_keys, verify_ledgers, verify_store
from tests.cache.build import begin_features, contents, features_folder, flip_bit, write_features
from tests.cache.test_mixtures import store_mixture

HEAD_KEY, MIXTURE_KEY = "a" * 32, "b" * 32


def store_head(folder: Path) -> None:
    shards.begin(folder, {"method": "gap"}, FILES)
    for name in FILES:
        finished = shards.temporary(folder)
        if name.endswith("safetensors"):
            write_head(finished, {"w": np.ones(300)}, {"method": "gap"})
        else:
            write_history(finished, [(0, "loss", 1.0)])
        shards.record(folder, finished, name, 1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a feature cache, a mixture and a head, seen from beside it."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "data" / "store"
    write_features(features_folder(place, "text"), "text")
    store_mixture(folder_of(place, "mixtures", MIXTURE_KEY))
    store_head(folder_of(place, "heads", HEAD_KEY))
    return place


def ledger_of(store: Path, kind: str) -> Path:
    """A ledger that names all keys of a kind, at its usual place beside the store."""
    folders = sorted((store / kind).iterdir())
    keys = [LedgerKey(kind, folder.name, shards.folder_digest(folder), {}) for folder in folders]
    path = store.parent / kind / "openmoji" / "ViT-B-32" / "openai.json"
    write_ledger(path, Ledger(kind, "made", {}, tuple(keys)))
    return path


EVERY_FILE = [
    *(("features", name) for name in ["cache.json", "shards.jsonl", *file_names(2)]),
    *(("mixtures", name) for name in ["cache.json", "shards.jsonl", "image.h5", "text.h5"]),
    *(("heads", name) for name in ["cache.json", "shards.jsonl", "head.safetensors", "history.parquet"]),
]


def test_every_file_of_the_store_is_among_those_tried_below(store: Path) -> None:
    present = {(path.parent.parent.name, path.name) for path in store.rglob("*") if path.is_file()}
    assert present == set(EVERY_FILE)


@pytest.mark.parametrize(("kind", "name"), EVERY_FILE)
def test_one_flipped_bit_in_any_file_is_found_and_named_with_its_remedy(store: Path, kind: str, name: str) -> None:
    assert verify_store(store, hashes=True) == []
    (folder,) = (store / kind).iterdir()
    flip_bit(folder / name)
    (finding,) = verify_store(store, hashes=True)
    command = {"features": "extract", "mixtures": "mixture", "heads": "train"}[kind]
    assert finding.path == folder
    assert finding.problem.startswith(f"{name}: ")
    assert finding.mend == f"run 'verify --repair', then '{command}'"
    shown = f"data/store/{kind}/{folder.name}/{name}"
    assert repair_store(store) == [f"{shown}: dropped; '{command}' makes it again"]
    assert verify_store(store, hashes=True) == []


def test_repair_leaves_what_is_sound_alone(store: Path) -> None:
    folder = features_folder(store, "text")
    before = contents(folder)
    flip_bit(folder / "part-00001.h5")
    repair_store(store)
    untouched = {n: b for n, b in contents(folder).items() if n != "shards.jsonl"}
    assert untouched == {n: b for n, b in before.items() if n not in ("part-00001.h5", "shards.jsonl")}
    assert write_features(folder, "text") == ["part-00001.h5"]
    assert contents(folder) == before


def test_a_key_that_is_being_written_is_not_repaired(store: Path) -> None:
    folder = features_folder(store, "text")
    flip_bit(folder / "part-00001.h5")
    with (
        lock(store, "features", folder.name, False, pytest.fail),
        pytest.raises(BusyError, match="is writing here since"),
    ):
        repair_store(store)
    assert "part-00001.h5" in shards.recorded(folder)


def test_nothing_yet_is_nothing_wrong(tmp_path: Path) -> None:
    store = tmp_path / "data" / "store"
    assert verify_store(store, hashes=True) == []
    assert all_ledgers(tmp_path / "data") == []
    assert verify_ledgers(store, []) == []
    assert repair_store(store) == []
    assert unused_keys(store, []) == []


def test_unfinished_work_is_no_damage_unless_a_ledger_counts_on_it(store: Path) -> None:
    path = ledger_of(store, "features")
    folder = features_folder(store, "text")
    shutil.rmtree(folder)
    begin_features(folder, "text", 2)
    assert verify_store(store, hashes=True) == []
    problem = f"names features/{folder.name}, which is not whole"
    assert verify_ledgers(store, [path]) == [Finding(path, problem, "run 'verify --mend'")]


def test_ledgers_are_found_wherever_a_label_has_slashes_and_the_store_is_not_searched(store: Path) -> None:
    paths = [ledger_of(store, kind) for kind in ("features", "heads", "mixtures")]
    (store.parent / "raw").mkdir()
    (store.parent / "raw" / "x.json").write_text("{}")
    assert all_ledgers(store.parent) == sorted(paths)
    assert verify_ledgers(store, paths) == []


def test_a_key_that_is_gone_is_named(store: Path) -> None:
    path = ledger_of(store, "heads")
    shutil.rmtree(store / "heads")
    problem = f"names heads/{HEAD_KEY}, which is not in the store"
    assert verify_ledgers(store, [path]) == [Finding(path, problem, "run 'verify --mend'")]


def test_a_key_with_other_content_than_its_ledger_saw_is_named(store: Path) -> None:
    path = ledger_of(store, "features")
    folder = features_folder(store, "text")
    digest = shards.folder_digest(folder)
    shutil.rmtree(folder)
    write_features(folder, "text", (4, 2))
    found = shards.folder_digest(folder)
    problem = f"names features/{folder.name} with digest {digest}, the store's is {found}"
    assert verify_ledgers(store, [path]) == [Finding(path, problem, "run 'verify --mend'")]


def test_a_damaged_ledger_is_a_finding_and_stops_the_cleaning(store: Path) -> None:
    path = ledger_of(store, "features")
    path.write_text("{")
    (finding,) = verify_ledgers(store, [path])
    assert finding == Finding(path, "not valid JSON", "delete it and run the command that makes it")
    with pytest.raises(DamagedError, match="not valid JSON"):
        unused_keys(store, [path])


def test_unused_keys_are_those_no_ledger_names_and_nobody_writes(store: Path) -> None:
    ledgers = [ledger_of(store, "features"), ledger_of(store, "heads")]
    unused = folder_of(store, "mixtures", MIXTURE_KEY)
    assert unused_keys(store, ledgers) == [unused]
    with lock(store, "mixtures", MIXTURE_KEY, False, pytest.fail):
        assert unused_keys(store, ledgers) == []
    assert unused_keys(store, [*ledgers, ledger_of(store, "mixtures")]) == []


def test_a_stray_file_in_a_whole_folder_is_named(store: Path) -> None:
    folder = folder_of(store, "heads", HEAD_KEY)
    (folder / "notes.txt").write_text("mine")
    assert [f.problem for f in verify_store(store, hashes=False)] == ["notes.txt: not a file of this folder"]
    assert repair_store(store) == []
    assert (folder / "notes.txt").exists()


def test_a_key_is_removed_unless_another_process_writes_it(store: Path) -> None:
    folder = features_folder(store, "text")
    before = contents(folder)
    with lock(store, "features", folder.name, wait=False, on_wait=print):
        assert not remove_key(folder)
    assert contents(folder) == before
    assert remove_key(folder)
    assert not folder.exists()
    assert not remove_key(folder)


def test_half_a_removal_leaves_nothing_that_counts_as_whole(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: Path) -> None:
        raise KeyboardInterrupt

    folder = features_folder(store, "text")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            remove_key(folder)
    assert not shards.is_whole(folder)
    assert remove_key(folder)
