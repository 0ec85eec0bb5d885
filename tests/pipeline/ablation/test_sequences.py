"""Planted sequences: what a class differs in is there, and nothing that a mean could see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.ablation.sequences import DRIFT, PlantSection, planted, planted_file, script
from stages.items import MODALITIES

BASE = {"classes": 6, "items": 5, "frames": 3, "width": 8, "noise": 0.0, "place": 0.0, "shuffled": False}


def section(kind: str, **more: Any) -> PlantSection:
    return PlantSection.model_validate({**BASE, "kind": kind, **more})


def rows(found: dict[str, Any], modality: str) -> list[Any]:
    return np.split(found[f"{modality}_tokens"], found[f"{modality}_tokens_offsets"][1:-1])


@pytest.mark.parametrize("kind", ["parts", "order", "duration"])
def test_classes_show_their_parts_for_the_same_time_in_sum(kind: str) -> None:
    own = section(kind)
    scripts = [script(own, label) for label in range(own.classes)]
    shown = {tuple(zip(kinds.tolist(), signs.tolist(), strict=True)) for kinds, signs in scripts}
    assert len(shown) == own.classes  # no two alike
    if kind == "parts":  # which cancel
        assert all(signs.sum() == 0 and len(set(kinds)) == 1 for kinds, signs in scripts)
    else:
        assert len({tuple(np.bincount(kinds)) for kinds, _ in scripts}) == 1


def test_durations_differ_and_the_order_of_the_parts_does_not() -> None:
    for label in range(6):
        kinds, _ = script(section("duration"), label)
        changes = kinds[np.flatnonzero(np.diff(kinds, prepend=-1))]
        assert changes.tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("kind", ["order", "duration"])
def test_frames_are_the_script_and_sequences_differ_in_length_by_little(kind: str) -> None:
    own = section(kind)
    found = planted(own)
    for modality in MODALITIES:
        for label, frames in zip(found["label"], rows(found, modality), strict=True):
            kinds, _ = script(own, int(label[-2:]))
            assert 0 <= len(frames) - len(kinds) <= DRIFT
            apart = np.flatnonzero((np.abs(np.diff(frames, axis=0)) > 1e-6).any(axis=1))
            assert len(apart) == np.count_nonzero(np.diff(kinds))
    assert found["image"] == pytest.approx(np.stack([own.mean(axis=0) for own in rows(found, "image")]))


def test_shuffled_sequences_have_the_same_frames_and_means() -> None:
    kept, shuffled = (planted(section("order", noise=0.5, shuffled=mixed)) for mixed in (False, True))
    assert shuffled["image"] == pytest.approx(kept["image"], abs=1e-6)
    moved = 0
    for before, after in zip(rows(kept, "text"), rows(shuffled, "text"), strict=True):
        assert {tuple(frame) for frame in before} == {tuple(frame) for frame in after}
        moved += not np.array_equal(before, after)
    assert moved == len(kept["id"])


def test_a_place_is_two_coordinates_more_whose_mean_says_nothing_of_the_class() -> None:
    found = planted(section("order", place=1.0, noise=0.0))
    assert found["image"].shape[1] == BASE["width"] + 2
    stamps = [frames[:, -2:] for frames in rows(found, "image")]
    assert all(np.linalg.norm(own, axis=1) == pytest.approx(1, abs=1e-6) for own in stamps)
    assert all(
        own[0] == pytest.approx([1, 0], abs=1e-6) and own[-1] == pytest.approx([-1, 0], abs=1e-6) for own in stamps
    )


def test_a_file_is_named_by_what_is_in_it_and_written_once(tmp_path: Path) -> None:
    first = planted_file(tmp_path, section("order"))
    before = first.stat().st_mtime_ns
    assert planted_file(tmp_path, section("order")) == first
    assert first.stat().st_mtime_ns == before
    assert planted_file(tmp_path, section("order", noise=0.1)) != first


@pytest.mark.parametrize(("kind", "classes"), [("order", 25), ("duration", 37), ("parts", 9)])
def test_more_classes_than_there_can_be_are_refused(kind: str, classes: int) -> None:
    with pytest.raises(ValidationError, match=f"classes {classes}"):
        section(kind, classes=classes, width=8 if kind == "parts" else 64)
