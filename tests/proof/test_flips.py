"""A tenth of the flipped bits; and that a store which overlooks one is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache import shards
from proof import flips


def test_a_flipped_bit_is_named_refused_and_mended_by_its_shard_alone() -> None:
    rows = flips.prove(0.1)
    for row in rows:
        print(f"{row.what}: held {row.held} of {row.tried} {row.note}")
    assert [row for row in rows if row.held != row.tried] == []
    assert [row.tried for row in rows] == [100, 100, 100, 100, 20, 20]


def held(share: float = 0.01) -> dict[str, bool]:
    """Whether each claim held every time."""
    return {row.what: row.held == row.tried for row in flips.prove(share)}


def test_a_digest_that_is_ignored_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    original = shards._problem

    def by_size(folder: Path, line: shards.ShardLine, hashes: bool) -> str | None:  # noqa: ARG001
        return original(folder, line, hashes=False)

    monkeypatch.setattr(shards, "_problem", by_size)
    assert list(held().values())[:3] == [False] * 3


def test_a_size_that_is_ignored_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_problem", lambda folder, line, hashes: None)  # noqa: ARG005
    assert not held()["a file cut or lengthened is refused, digests compared or not"]


def test_a_repair_that_drops_too_much_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_it(folder: Path) -> list[str]:
        names = sorted(path.name for path in folder.iterdir())
        shards.remove(folder)
        return names

    monkeypatch.setattr(shards, "repair", all_of_it)
    found = held()
    assert found["verify --repair and extract restore every byte"]
    assert not found["only what cannot be trusted is made again"]
