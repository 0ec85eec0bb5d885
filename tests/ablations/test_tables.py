"""The pages that quote results are what the committed results make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablations.placebo import name_of
from ablations.published import DIRECTIONS, RUN
from ablations.tables import (
    ASIDE_FIGURES,
    BLOCKS,
    CHECKS,
    OURS,
    PLACEBOS,
    RESULTS,
    ahead_of_all,
    listed,
    others,
    render,
    shortfalls,
    verdict,
    who_beats_whom,
)
from cache.files import read_json
from stages.naming import row_label

BLOCK_CLIP = {"core20": 64.0, "core20-masked": 35.5}  # raw CLIP-like vectors, parity: measured before, see the docs


PAGES = render()
RESULTS_PAGE, README = RESULTS.parent / "results.md", RESULTS.parent.parent / "README.md"


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda path: path.name)
def test_no_page_is_stale(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == PAGES[page]


def main_figures(block: str) -> dict[tuple[str, int], float]:
    """mAP on `target`, mean of both directions and over draws, in per cent, by row and shots."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in pq.read_table(RESULTS / f"{block}.parquet").to_pylist():
        if (row["gallery"], row["metric"], row["direction"]) == ("target", "mAP", "mean"):
            label = row_label(row["method"], row["variant"], row["access"], row["names"])
            found.setdefault((label, row["shots"]), []).append(100 * row["value"])
    return {key: sum(values) / len(values) for key, values in found.items()}


def cells_of(lines: list[str]) -> dict[tuple[str, str], str]:
    """The cells of a table by row and column, without what stands behind ±."""
    (_, *columns), _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], c): cell.split(" ±")[0] for row in rows for c, cell in zip(columns, row[1:], strict=True)}


@pytest.mark.parametrize("block", {**BLOCKS, **CHECKS})
def test_every_figure_of_the_scores_stands_in_its_own_cell_and_no_other_does(block: str) -> None:
    figures = main_figures(block)
    if block in PLACEBOS:
        own = {(name, k): value for (name, k), value in main_figures(PLACEBOS[block]).items() if "gcrdp" in name}
        figures |= {(name_of(name), k): value for (name, k), value in own.items()}
    page = cells_of(tables_of(PAGES[RESULTS_PAGE], block)[0])
    assert page == {(name, str(k)): f"{value:.1f}" for (name, k), value in figures.items()}
    assert block not in BLOCKS or "\n".join(tables_of(PAGES[RESULTS_PAGE], block)[0]) in PAGES[README]


def test_figures_beside_published_ones_stand_in_their_own_cells() -> None:
    part = PAGES[RESULTS_PAGE].partition(f"## `{RUN}`")[2].partition("\n## ")[0]
    [lines] = [found.splitlines() for found in part.strip().split("\n\n") if found.startswith("|")]
    rows = [row for row in pq.read_table(RESULTS / f"{RUN}.parquet").to_pylist() if row["metric"] == "mAP"]
    figures = {
        (row_label(row["method"], row["variant"], row["access"], row["names"]), DIRECTIONS[row["direction"]]): row
        for row in rows
        if row["direction"] in DIRECTIONS
    }
    page = {key: cell for key, cell in cells_of(lines).items() if not key[0].startswith("published")}
    assert page == {key: f"{100 * row['value']:.1f}" for key, row in figures.items()}


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


BARS = {  # what SCM was to reach, by shots; openmoji and the halves: ahead of the base
    "core20": (0.0, {0: 87.0, 1: 86.5, 3: 89.0, 5: 91.0}),
    "core20-masked": (0.0, {0: 47.0, 1: 48.5, 3: 54.5, 5: 58.0}),
    "openmoji": (1.0, {1: 8.0, 3: 12.0, 5: 13.0}),
    "core20-halves": (1.0, {0: 16.0, 1: 18.0, 5: 22.0}),
}


@pytest.mark.parametrize("block", BARS)
def test_scm_stands_where_it_was_to_stand(block: str) -> None:
    over, bars = BARS[block]
    figures, base = main_figures(block), {**BLOCKS, **CHECKS}[block].base
    for shots, bar in bars.items():
        assert figures["scm (names)", shots] - over * figures[base, shots] >= bar


def tables_of(page: str, block: str) -> list[list[str]]:
    """The tables of a block's part of docs/results.md, each as its lines."""
    part = page.partition(f"## {({**BLOCKS, **CHECKS})[block].title}\n")[2].partition("\n## ")[0]
    return [found.splitlines() for found in part.strip().split("\n\n") if found.startswith("|")]


@pytest.mark.parametrize("block", sorted(set(PLACEBOS) & set(BLOCKS)))
def test_the_placebo_stands_directly_below_gcrdp_wherever_figures_do(block: str) -> None:
    main, recall, aside, beaten, compared_ = tables_of(PAGES[RESULTS_PAGE], block)
    for lines in (main, recall, aside):
        rows = [line.split(" | ")[0] for line in lines]
        assert rows[rows.index("| gcrdp") + 1] == "| gcrdp (random groups)"
    shots = {row["shots"] for row in pq.read_table(RESULTS / f"{block}.parquet", columns=["shots"]).to_pylist()}
    for k in shots:
        told = [line.split(" | ")[1] for line in compared_ if line.startswith(f"| {k} |")]
        assert {"gcrdp - gap", "gcrdp (random groups) - gap", "gcrdp - gcrdp (random groups)"} <= set(told)
    assert "random groups" not in "".join(beaten)  # of another run: it was not compared with every row
    assert "\n".join(main) in PAGES[README]


def test_every_row_of_the_head_per_token_has_its_placebo_too() -> None:
    main, told = tables_of(PAGES[RESULTS_PAGE], "core20-per-token")
    each = "gcrdp (head per token)"
    rows = ["gcrdp", "gcrdp (random groups)", each, "gcrdp (head per token, random groups)"]
    assert [line.split(" | ")[0] for line in main[3:]] == [f"| {label}" for label in ("gap", *rows)]
    pairs = [(label, "gap") for label in rows] + [(each, "gcrdp"), (rows[0], rows[1]), (each, rows[3])]
    found = [line.split(" | ")[1] for line in told if line.startswith("| 5 |")]
    assert sorted(found) == sorted(f"{a} - {b}" for a, b in pairs)


@pytest.mark.parametrize("block", BLOCKS)
def test_no_gain_of_gcrdp_over_its_base_is_told_without_the_placebo(block: str) -> None:
    own = main_figures(block)
    ahead = [row for row in metrics_of(block)["differences"] if {row["a"], row["b"]} == {"gcrdp", "gap"}]
    gains = [row["shots"] for row in ahead if verdict(row) == "gcrdp is ahead"]
    assert not gains or all(("gcrdp", k) in main_figures(PLACEBOS[block]) and ("gcrdp", k) in own for k in gains)


def metrics_of(block: str) -> dict[str, Any]:
    found: dict[str, Any] = read_json(RESULTS / f"{block}.json")
    return found


def test_pairs_that_were_not_compared_are_not_spoken_of() -> None:
    metrics = compared(("gap", "clip", 0, 0.1, 0.01))
    assert shortfalls(metrics, "clip") == "- `gap` beats `clip` at every shot count.\n"


def test_gcrdp_adds_to_its_base_on_core20_and_part_of_it_is_no_mixture() -> None:
    own, placebo = main_figures("core20"), main_figures("core20-placebo")
    for shots in (1, 3, 5):
        gain = own["gcrdp", shots] - own["gap", shots]
        assert gain >= 1.0
        assert 0 < placebo["gcrdp", shots] - placebo["gap", shots] < gain


def test_everything_else_stands_beside_map() -> None:
    row = {"method": "gap", "variant": "default", "access": "inductive", "names": False, "direction": "mean"}
    values = {place: i / 100 for i, place in enumerate(ASIDE_FIGURES, 1)}
    rows = [
        {**row, "gallery": g, "metric": m, "shots": k, "value": v * k} for (g, m), v in values.items() for k in (1, 5)
    ]
    *_, last = others(pa.Table.from_pylist(rows)).splitlines()
    assert last == "| gap | 5.0 | 10.0 | 15.0 | 20.0 | 25.0 | 30.0 |"


def test_ahead_of_all_is_ahead_of_each() -> None:
    labels = ("clip", "gap", OURS, "scm (nameless)")
    means = [{"label": label, "method": label.split()[0]} for label in labels]
    rows = [(OURS, "clip", 0, 0.1, 0.01), ("gap", OURS, 0, -0.1, 0.01), (OURS, "clip", 1, 0.1, 0.01)]
    rows += [(OURS, "gap", 1, 0.1, 0.2), (OURS, "clip", 3, -0.1, 0.01), (OURS, "gap", 3, 0.1, 0.01)]
    found = {"means": means, "differences": compared(*rows)["differences"]}
    assert "method at 0 shots, by" in ahead_of_all(found)
    assert "method at no shot count, by" in ahead_of_all({"means": means, "differences": []})


def test_who_beats_whom_counts_shots() -> None:
    metrics = compared(("gap", "clip", 1, 0.1, 0.01), ("gap", "clip", 3, 0.1, 0.2), ("clip", "gcrdp", 5, -0.1, 0.01))
    assert who_beats_whom(metrics).splitlines()[2:] == [
        "| clip |  |  |  |",
        "| gap | 1 |  |  |",
        "| gcrdp | 5 |  |  |",
    ]
