"""The pages that quote results are what the committed results make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ablations.tables import BLOCKS, RESULTS, listed, render, shortfalls, verdict

BLOCK_CLIP = {"core20": 64.0, "core20-masked": 35.5}  # raw CLIP-like vectors, parity: measured before, see the docs


@pytest.mark.parametrize("page", sorted(render()), ids=lambda path: path.name)
def test_no_page_is_stale(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == render()[page]


def main_figures(block: str) -> dict[tuple[str, int], float]:
    """mAP on `target`, mean of both directions and over draws, in per cent, by method and shots."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in pq.read_table(RESULTS / f"{block}.parquet").to_pylist():
        if (row["gallery"], row["metric"], row["direction"]) == ("target", "mAP", "mean"):
            found.setdefault((row["method"], row["shots"]), []).append(100 * row["value"])
    return {key: sum(values) / len(values) for key, values in found.items()}


@pytest.mark.parametrize("block", BLOCKS)
def test_tables_and_scores_agree(block: str) -> None:
    text = render()[RESULTS.parent / "results.md"]
    assert not [value for value in main_figures(block).values() if f"{value:.1f}" not in text]


@pytest.mark.parametrize("block", BLOCK_CLIP)
def test_clip_reads_what_was_measured_before(block: str) -> None:
    clip = {round(value, 9) for (method, _), value in main_figures(block).items() if method == "clip"}
    assert len(clip) == 1
    assert clip.pop() == pytest.approx(BLOCK_CLIP[block], abs=0.3)


@pytest.mark.parametrize(
    ("difference", "p", "said"),
    [(0.1, 0.04, "gap is ahead"), (-0.1, 0.04, "cca is ahead"), (0.1, 0.05, "not distinguishable")],
)
def test_nobody_is_ahead_without_a_corrected_interval(difference: float, p: float, said: str) -> None:
    assert verdict({"a": "gap", "b": "cca", "difference": difference, "p_holm": p}) == said


def compared(*rows: tuple[str, str, int, float, float]) -> dict[str, Any]:
    """Metrics of clip, gap and gcrdp whose comparisons are a, b, shots, difference, p."""
    names = ("a", "b", "shots", "difference", "p_holm")
    return {
        "means": [{"label": label} for label in ("clip", "gap", "gcrdp", "clip")],
        "differences": [dict(zip(names, row, strict=True)) for row in rows],
    }


def test_where_a_method_does_not_beat_its_base_is_said_in_words() -> None:
    metrics = compared(
        ("gap", "clip", 0, -0.1, 0.01),
        ("gap", "clip", 1, 0.1, 0.2),
        ("gap", "clip", 3, 0.1, 0.01),
        ("clip", "gcrdp", 0, -0.1, 0.01),
        ("gcrdp", "gap", 0, 0.1, 0.3),
        ("gcrdp", "gap", 1, -0.1, 0.05),
    )
    assert shortfalls(metrics, "clip").splitlines() == [
        "- `gap` is worse than `clip` at 0 shots, is not distinguishable from `clip` at 1 shot, beats it at 3 shots.",
        "- `gcrdp` beats `clip` at every shot count.",
        "- `gcrdp` is not distinguishable from `gap` at 0 and 1 shots, beats it at none.",
    ]


def test_shot_counts_are_listed_as_one_says_them() -> None:
    assert [listed([1]), listed([5, 0]), listed([0, 1, 3])] == ["1 shot", "0 and 5 shots", "0, 1 and 3 shots"]
