from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.errors import MissingError, UsageError
from cache.store import Ledger, read_ledger
from proof.toys import bytes_of
from stages.extract import run as stage
from stages.extract.encoders.encoder import Encoder
from stages.extract.run import run
from tests.listener import Listener
from tests.stages.extract.conftest import Toys, caches_of, counted_parts, keys_of

pytestmark = pytest.mark.usefixtures("one_encoder")


def test_three_caches_and_a_ledger_that_names_them(toys: Toys, listener: Listener) -> None:
    run(toys.params)
    ledger = read_ledger(toys.params.ledger)
    assert isinstance(ledger, Ledger)
    assert (ledger.kind, ledger.made_from) == ("features", "stamp")
    assert ledger.about.items() >= {"dataset": "toys", "label": "tiny", "aligned": True, "captions": 2}.items()
    assert [key.about for key in ledger.keys] == [
        {"rows": "image", "count": 10, "failed": 0},
        {"rows": "text", "count": 20, "failed": 0},
        {"rows": "name", "count": 4, "failed": 0},
    ]
    made = caches_of(toys.params)
    assert made["image"].ids == [f"id{i}" for i in range(10)]
    assert made["image"].tokens([7, 0]).shape == (2, 4, 16)  # type: ignore[union-attr]
    assert made["text"].index["caption"].to_pylist() == [0, 1] * 10
    assert made["name"].ids == ["Red_Fox", "Red_Fox", "polar-bear", "polar-bear"]
    assert listener.advanced == {"toys images": 10, "toys texts": 20, "toys names": 4}
    assert not listener.warned


def test_names_are_spoken_under_the_templates(toys: Toys, tiny: Encoder) -> None:
    run(toys.params)
    said = ["a photo of a red fox", "red fox", "a photo of a polar bear", "polar bear"]
    assert np.allclose(caches_of(toys.params)["name"].pooled(), tiny.encode_texts(said, "none").pooled, atol=1e-5)


def test_two_runs_in_two_folders_are_bit_identical(toys: Toys) -> None:
    first, second = toys.into("one"), toys.into("two")
    run(first)
    run(second)
    assert bytes_of(first.store) == bytes_of(second.store)
    assert first.ledger.read_bytes() == second.ledger.read_bytes()


def test_no_file_of_a_cache_tells_time_process_or_machine(toys: Toys) -> None:
    run(toys.params)
    everything = b"".join(bytes_of(toys.params.store).values())
    assert os.uname().nodename.encode() not in everything
    assert str(toys.base).encode() not in everything.replace(toys.params.encoder.encode(), b"")


def test_a_second_run_computes_nothing(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    run(toys.params)
    before, ledger = bytes_of(toys.params.store), toys.params.ledger.read_bytes()
    toys.params.ledger.unlink()
    done = counted_parts(monkeypatch)
    run(toys.params)
    assert done == []
    assert bytes_of(toys.params.store) == before
    assert toys.params.ledger.read_bytes() == ledger


def test_another_parameter_and_back_computes_nothing_twice(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    run(toys.params)
    run(toys.with_(tokens="raw"))
    done = counted_parts(monkeypatch)
    run(toys.params)
    run(toys.with_(tokens="raw"))
    assert done == []


def test_templates_touch_the_names_alone(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    run(toys.params)
    done = counted_parts(monkeypatch)
    run(toys.with_(templates=["one {}"]))
    assert done == [0]


def test_batch_parts_and_workers_are_no_part_of_the_key(toys: Toys) -> None:
    keys = keys_of(toys.params)
    assert keys_of(toys.with_(batch=7, rows_per_shard=2)) == keys
    assert keys_of(toys.into("other", batch=7, rows_per_shard=2)) == keys
    assert not set(keys_of(toys.with_(storage="float32"))) & set(keys)


def test_relative_files_are_found_from_home(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def load(choice: Any) -> Any:
        seen.append(choice)
        raise MissingError("enough")

    monkeypatch.setattr(stage, "load_encoder", load)
    with pytest.raises(MissingError, match="enough"):
        run(toys.with_(weights="w/x.pt", heads="/abs/h.safetensors"))
    assert (seen[0].weights, seen[0].heads) == (toys.base / "w/x.pt", Path("/abs/h.safetensors"))


def test_ray_that_is_not_installed_is_one_line_before_any_work(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.crew.find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(UsageError) as caught:
        run(toys.with_(backend="ray"))
    assert str(caught.value) == (
        "extract.backend is ray, which is not installed; run 'pip install ray', or use --backend loky"
    )
