"""Sentences are made from the numbers by rule."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.ablation.experiment import ExperimentSection
from pipeline.ablation.pages import page
from pipeline.ablation.words import answer, clauses, table, verdict

SECTION = ExperimentSection(question="?", paper="?", axis="K", beside=["mask_density"])


def row(name: str, gain: float, low: float, high: float, p: float = 0.01, **more: Any) -> dict[str, Any]:
    about = {"row": name, "value": name, "shots": 5, "mAP": 0.48 + gain, "mAP_low": 0.47, "mAP_high": 0.49}
    about |= {"chance": 0.1, "against": "K=1", "difference": gain, "support_low": low, "support_high": high}
    return about | {"class_low": low, "class_high": high, "p_holm": p, "note": "", "mask_density": 0.25} | more


LEVEL = row("K=3", -0.002, -0.006, 0.003, 0.4)
AHEAD, BEHIND = row("K=2", 0.012, 0.004, 0.02), row("K=8", -0.012, -0.02, -0.004)
UNSURE, SAME = row("K=5", 0.002, 0.001, 0.003, 0.07), row("K=1", 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (LEVEL, "K=3 is not distinguishable from K=1: -0.2 [-0.6, +0.3]"),
        (AHEAD, "K=2 is ahead of K=1: +1.2 [+0.4, +2.0]"),
        (BEHIND, "K=8 is behind K=1: -1.2 [-2.0, -0.4]"),
        (UNSURE, "K=5 is not distinguishable from K=1: +0.2 [+0.1, +0.3] (corrected p 0.07)"),
        (SAME, "K=1 is the same as K=1"),
        (row("K=1", 0.0, 0.0, 0.00009), "K=1 is the same as K=1"),
        (row("K=1", 0.0, 0.0, 0.0002, 0.3), "K=1 is not distinguishable from K=1: 0.0 [0.0, 0.0]"),
    ],
)
def test_a_sentence_says_what_its_numbers_allow(of: dict[str, Any], said: str) -> None:
    assert clauses([of], verdict(of)) == [said]


def test_three_sentences_and_what_stands_beside() -> None:
    assert answer(SECTION, [LEVEL, AHEAD, {**SAME, "against": "", "row": "K=1"}]) == [
        "At 5 shots K=2 has the highest mAP, 49.2 per cent (chance 10.0), lowest K=3 with 47.8.",
        "K=2 is ahead of K=1: +1.2 [+0.4, +2.0].",
        "K=3 is not distinguishable from K=1: -0.2 [-0.6, +0.3].",
        "The mask density is 0.25.",
    ]
    assert answer(SECTION, [{**LEVEL, "against": ""}])[1] == "There is no row that it could be compared with."
    assert answer(SECTION, [LEVEL])[1] == "No row can be told apart from what it is compared with."


def test_shot_counts_of_one_verdict_are_one_clause() -> None:
    rows = [{**AHEAD, "shots": 1}, {**LEVEL, "row": "K=2", "shots": 3}, {**AHEAD, "difference": 0.02}]
    assert clauses(rows, "is ahead of") == [
        "K=2 is ahead of K=1 at 1 and 5 shots: +1.2 [+0.4, +2.0], +2.0 [+0.4, +2.0]"
    ]


def test_every_figure_stands_in_its_own_cell() -> None:
    head, _, line, _ = table(SECTION, [LEVEL, {**AHEAD, "mask_density": None}]).splitlines()
    cells = dict(zip(head.strip("| ").split(" | "), line.strip("| ").split(" | "), strict=True))
    assert cells == {
        **{"row": "K=3", "K": "K=3", "shots": "5", "mAP": "47.8 ± 1.0", "compared with": "K=1", "difference": "-0.2"},
        **{"support": "[-0.6, +0.3]", "class": "[-0.6, +0.3]", "p (Holm)": "0.400", "mask density": "0.25"},
    }


def test_what_is_the_same_for_all_rows_stands_in_a_sentence_not_in_the_table() -> None:
    assert "mask density" not in table(SECTION, [LEVEL, AHEAD])
    assert answer(SECTION, [LEVEL, {**AHEAD, "mask_density": 0.5}])[-1] == (
        "The mask density goes from 0.25 (K=3) to 0.5 (K=2)."
    )


def test_a_page_says_what_could_not_be_run() -> None:
    gone = {**dict.fromkeys(LEVEL), "row": "K=9", "note": "K=9: no; run 'more'"}
    told = page(SECTION, "here", [LEVEL, gone])
    assert "Not run here:\n\n- K=9: no; run 'more'\n\n| row |" in told
    assert "| K=9 |" not in told
    assert page(SECTION, "here", [gone]).endswith(
        "Nothing of this could be run here.\n\nNot run here:\n\n- K=9: no; run 'more'\n"
    )
