"""A tenth of the faults at the steps of a commit; and that a commit which is wrong is found out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from cache import shards
from cache.files import digest_file
from proof import commits
from proof.conditions import one_encoder, without_waiting_for_the_disk


def test_a_fault_at_any_step_of_a_commit_loses_nothing_and_shows_nothing_half() -> None:
    rows = commits.prove(0.1)
    for row in rows:
        print(f"{row.what}: held {row.held} of {row.tried} {row.note}")
    assert [row for row in rows if row.held != row.tried or not row.tried] == []
    assert sum(row.tried for row in rows) >= 90


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[commits.Clean]:
    with without_waiting_for_the_disk():
        made = commits.undisturbed(tmp_path_factory.mktemp("clean"))
        with one_encoder(made.params):
            yield made


def test_the_faults_are_at_every_step_and_call(clean: commits.Clean) -> None:
    files = len(clean.files) - 3  # beside the three records
    assert len(clean.recorded["steps"]) == 8 * files + (files - 3)  # `record` is called for all but cache.json
    assert len(clean.recorded["calls"]) > 2 * 3 * files  # fsync, replace, fsync of a file and then of the record


def wrong(clean: commits.Clean) -> list[str]:
    """What is found wrong of some faults spread over all steps and calls."""
    trials = [partial(commits.refused, clean, "steps", "EIO", at) for at in range(25)]
    return [text for trial in trials for text in commits.outcome(trial)]


def test_no_fault_is_found_where_there_is_none(clean: commits.Clean) -> None:
    assert wrong(clean) == []


def test_a_record_written_before_the_file_has_its_name_is_found_out(
    clean: commits.Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record_first(
        folder: Path, lines: Mapping[str, shards.ShardLine], finished: Path, name: str, rows: int
    ) -> shards.ShardLine:
        line = shards.ShardLine(name, rows, finished.stat().st_size, digest_file(finished))
        shards._write_record(folder, {**lines, name: line})
        shards._commit(finished, folder / name)
        return line

    monkeypatch.setattr(shards, "_finish", record_first)
    assert any("missing, shards.jsonl says" in text for text in wrong(clean))


def test_a_file_written_under_its_final_name_is_found_out(
    clean: commits.Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_in_place(finished: Path, target: Path) -> None:
        data = finished.read_bytes()
        target.write_bytes(data[: len(data) // 2])
        shards.step("write")
        target.write_bytes(data)
        for step in ("fsync", "replace", "folder"):
            shards.step(step)

    monkeypatch.setattr(shards, "_commit", write_in_place)
    found = wrong(clean)
    assert any(text.startswith("half visible: ") for text in found)


def test_a_run_that_sweeps_its_record_away_is_found_out(clean: commits.Clean, monkeypatch: pytest.MonkeyPatch) -> None:
    def sweep(folder: Path, names: Iterable[str] = ()) -> None:
        (folder / shards.RECORD).unlink(missing_ok=True)
        original(folder, names)

    original = shards.sweep
    monkeypatch.setattr(shards, "sweep", sweep)
    assert wrong(clean)
