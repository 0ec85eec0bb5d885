"""What a row has over another, against plain loops; who is compared with whom."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import t

from cache.episodes import Episode
from cache.errors import UserError
from pipeline.ablation.experiment import BEFORE, ExperimentSection, RunSection
from pipeline.ablation.figures import Cell, compared_with, difference, name_of, read_cells, table_of
from stages.stats import holm

QUERIES = [f"q{i:02}" for i in range(12)]
CLASSES = ["a", "b", "c"] * 4


def cell(seed: int = 0, *, label: str = "gcrdp", run: str = "", against: str | None = None, shots: int = 5) -> Cell:
    ap = np.random.default_rng(seed).uniform(size=(4, len(QUERIES)))
    section = RunSection(name=run, against=against)
    return Cell(section, "gcrdp", "default", label, shots, [0, 1, 2, 3], QUERIES, CLASSES, ap, 0.1)


def section(**more: object) -> ExperimentSection:
    return ExperimentSection.model_validate({"question": "?", "paper": "?", "axis": "part", **more})


def test_a_difference_is_the_mean_over_seeds_and_queries_with_a_t_interval_over_seeds() -> None:
    a, b = cell(0), cell(1)
    by_seed = [
        sum(a.ap[s][q] - b.ap[s][q] for q in range(len(QUERIES))) / len(QUERIES) for s in range(4)
    ]  # by hand, seed for seed
    mean = sum(by_seed) / 4
    spread = math.sqrt(sum((value - mean) ** 2 for value in by_seed) / 3 / 4) * t.ppf(0.975, 3)
    found = difference(a, b, 200)
    assert found["difference"] == pytest.approx(mean, abs=1e-6)
    assert (found["support_low"], found["support_high"]) == pytest.approx((mean - spread, mean + spread), abs=1e-6)


def test_the_class_interval_draws_classes_then_queries() -> None:
    a, b = cell(0), cell(1)
    apart = (a.ap - b.ap).mean(axis=0)
    rng, drawn = np.random.default_rng(7), []
    for _ in range(4000):
        picked = rng.choice(["a", "b", "c"], 3)
        own = [apart[rng.choice([i for i, c in enumerate(CLASSES) if c == name], 4)] for name in picked]
        drawn.append(np.concatenate(own).mean())
    found = difference(a, b, 4000)
    assert (found["class_low"], found["class_high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


def test_rows_are_paired_by_seed_and_query_whatever_their_order() -> None:
    a, b = cell(0), cell(1)
    turned = replace(b, seeds=[3, 2, 1, 0], ap=b.ap[::-1], queries=QUERIES[::-1], classes=CLASSES[::-1])
    assert difference(a, replace(turned, ap=turned.ap[:, ::-1]), 200) == difference(a, b, 200)


def test_a_row_without_seeds_stands_beside_every_seed() -> None:
    a, b = cell(0), cell(1)
    one = replace(b, seeds=[0], ap=b.ap[:1])
    assert difference(a, one, 200)["difference"] == pytest.approx(float((a.ap - b.ap[0]).mean()), abs=1e-6)
    assert difference(one, one, 200)["support_low"] is None


def test_only_queries_that_both_were_asked_count() -> None:
    a, b = cell(0), cell(1)
    fewer = replace(b, queries=QUERIES[:6], classes=CLASSES[:6], ap=b.ap[:, :6])
    assert difference(a, fewer, 200)["difference"] == pytest.approx(float((a.ap - b.ap)[:, :6].mean()), abs=1e-6)
    with pytest.raises(UserError, match="asked no query in common"):
        difference(a, replace(b, queries=[f"other {name}" for name in QUERIES]), 200)


def test_who_is_compared_with_whom() -> None:
    gap, own = cell(label="gap"), cell(label="gcrdp")
    other = cell(label="gcrdp", run="random", against="")
    fewer, fewest = cell(label="gcrdp", shots=3), cell(label="gcrdp", shots=1)
    cells = [gap, own, other, fewer, fewest]
    named = [name for name, _ in compared_with(own, cells, section(reference=["clip", "gap"]))]
    assert named == ["gap"]
    assert compared_with(gap, cells, section(reference=["gap"])) == []
    assert [one for _, one in compared_with(other, cells, section(reference=["gap"]))] == [own]
    assert compared_with(own, cells, section(before=True)) == [(BEFORE, fewer)]
    assert compared_with(fewest, cells, section(before=True)) == []


def test_a_row_is_called_by_what_tells_it_apart() -> None:
    one, three = cell(run="K=1"), cell(run="K=3")
    assert [name_of(own, [one, three]) for own in (one, three)] == ["K=1", "K=3"]
    both = [cell(label="gap"), cell(), cell(run="random")]
    assert [name_of(own, both) for own in both] == ["gap", "gcrdp", "gcrdp, random"]


def test_p_is_corrected_over_the_comparisons_of_a_shot_count() -> None:
    cells = [cell(i, label=f"row {i}", shots=shots) for shots in (1, 5) for i in range(4)]
    rows = table_of(cells, section(reference=["row 0"]), 200)
    for shots in (1, 5):
        own = [row for row in rows if row["shots"] == shots and row["against"]]
        apart = [difference(cells[i], cells[0], 200)["p"] for i in range(1, 4)]
        assert [row["p_holm"] for row in own] == pytest.approx(holm(apart), abs=1e-6)
    assert [row["against"] for row in rows] == [None, "row 0", "row 0", "row 0"] * 2


def test_cells_are_read_off_the_queries_of_a_run() -> None:
    base = {"access": "inductive", "names": False, "gallery": "target", "method": "gap", "variant": "v", "shots": 1}
    places = [(s, d, q) for q in ("y", "x") for d in ("i2t", "t2i") for s in (1, 0)]
    aps = dict(zip(places, np.linspace(0, 1, 8), strict=True))
    rows = [{**base, "seed": s, "direction": d, "query": q, "ap": ap} for (s, d, q), ap in aps.items()]
    rows += [{**row, "gallery": "rest", "ap": 9.0} for row in rows]
    roles = {"test": ["x", "y"], "support": []}
    labels = {"x": ("source", "b"), "y": ("a",)}
    episode = Episode("parity", 0, 1, 0, roles, labels, ["source"], ["a", "b"])
    [found] = read_cells(RunSection(), pa.Table.from_pylist(rows), [episode], {1: 0.2})
    assert (found.label, found.seeds, found.queries, found.classes) == ("gap (v)", [0, 1], ["x", "y"], ["b", "a"])
    wanted = [[(aps[s, "i2t", q] + aps[s, "t2i", q]) / 2 for q in ("x", "y")] for s in (0, 1)]
    assert found.ap == pytest.approx(np.array(wanted))
