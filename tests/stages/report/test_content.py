"""What the page says, against the figures that it was given."""

from __future__ import annotations

from copy import deepcopy

import pyarrow as pa
import pytest

from cache.scores import SCORES
from stages.choices import choices_of
from stages.report import content, words
from tests.stages.report import build


@pytest.fixture(scope="module")
def metrics():
    return build.metrics()


@pytest.fixture(scope="module")
def figures(metrics):
    return content.mean_figures(pa.Table.from_pylist(build.score_rows(), SCORES), metrics)


def test_the_main_table_holds_chance_and_every_method(metrics):
    rows = content.main_table(metrics)
    assert [row.label for row in rows] == ["chance", "cca", "gap", "gcrdp"]
    assert [cell.text for cell in rows[0].cells] == ["9.8"] * 4


def test_a_row_of_which_nothing_could_be_evaluated_is_empty(metrics):
    lacking = [{"label": "cmm", "shots": build.SHOTS[0], "draws": 0, "of": 5}]
    *others, last = content.main_table({**metrics, "lacking": lacking})
    assert (last.label, {cell.text for cell in last.cells}) == ("cmm", {words.NONE})
    assert others == content.main_table(metrics)


def test_what_was_chosen_stands_by_key_and_shot_count(metrics):
    groups = content.chosen_groups(choices_of(build.SELECTIONS), metrics)
    assert list(groups) == ["gap", "gap (nameless)"]
    for rows in groups.values():
        assert {row.label: [cell.text for cell in row.cells] for row in rows} == {
            "tau": ["0.05", "0.05", "0.05", "0.1"],
            "covariance": ["within", "within", "within (2) or total (1)", "within"],
        }


def test_a_shot_count_without_a_choice_has_none_and_rows_list_their_own_keys(metrics):
    other = {**build.SELECTIONS[0], "method": "cca", "values": {"power": True}}
    (row,) = content.chosen_groups(choices_of([*build.SELECTIONS, other]), metrics)["cca"]
    assert (row.label, [cell.text for cell in row.cells]) == ("power", ["true", words.NONE, words.NONE, words.NONE])


def test_a_row_that_the_scores_know_is_called_as_they_call_it(metrics):
    named = {**metrics, "means": [{**entry, "label": f"{entry['label']} (names)"} for entry in metrics["means"]]}
    assert list(content.chosen_groups(choices_of(build.SELECTIONS), named)) == ["gap (names)", "gap (nameless)"]


def test_the_best_of_each_column_is_marked(metrics):
    marked = {row.label: [cell.best for cell in row.cells] for row in content.main_table(metrics)}
    assert marked == {"chance": [False] * 4, "cca": [False] * 4, "gap": [False] * 4, "gcrdp": [True] * 4}


def test_a_deterministic_row_prints_no_plus_minus(metrics):
    cca, gap = content.main_table(metrics)[1:3]
    assert cca.cells[0].support == ""
    assert gap.cells[0].support.startswith("± ")
    assert " to " in cca.cells[0].spread


def test_methods_that_saw_more_are_never_marked_best(metrics):
    changed = deepcopy(metrics)
    for entry in changed["means"]:
        if entry["label"] == "gcrdp":
            entry["access"] = "semi"
    rows = {row.label: row for row in content.main_table(changed)}
    assert not any(cell.best for cell in rows["gcrdp"].cells)
    assert all(cell.best for cell in rows["gap"].cells)
    assert content.best_method(changed)["label"] == "gap"


def test_the_metric_table_agrees_with_the_main_table(metrics, figures):
    main = {row.label: [cell.text for cell in row.cells] for row in content.main_table(metrics)}
    for place, group in enumerate(content.metric_groups(figures, metrics)):
        for row in group.rows:
            assert row.cells[0].text == main[row.label][place]


def test_what_was_not_measured_is_a_dash(metrics, figures):
    without = {key: value for key, value in figures.items() if key[4] != "recall@1"}
    rows = content.metric_groups(without, metrics)[0].rows
    place = content.METRICS.index("recall@1")
    assert {row.cells[place].text for row in rows} == {"–"}  # noqa: RUF001


def test_galleries_come_with_the_main_one_first(figures):
    assert content.galleries(figures) == ["target", "rest", "all"]
    assert content.galleries({key: v for key, v in figures.items() if key[2] != "target"}) == ["rest", "all"]


def test_the_findings_name_the_best_and_every_pair(metrics):
    first, *others = content.findings(metrics)
    best = content.mean_of(metrics, "gcrdp", 5)["mAP"]
    assert first == (
        f"At 5 shots, gcrdp has the highest mAP, {100 * best:.1f}; a random order of the gallery would have 9.8."
    )
    assert len(others) == 3


def test_a_finding_says_who_wins_where_and_where_nobody_does():
    entries = [
        {"a": "new", "b": "old", "shots": s, "difference": d, "class": [d - 0.01, d + 0.01], "p_holm": p}
        for s, d, p in ((0, 0.001, 0.9), (1, 0.02, 0.01), (3, 0.031, 0.01), (5, -0.02, 0.01))
    ]
    assert content._contest(entries, "new", "old") == (
        "new beats old at 1 and 3 shots, by 2.0 to 3.1 points; old beats new at 5 shots, by 2.0 points;"
        " no difference between new and old is shown at 0 shots."
    )
    assert content._contest(entries[:1], "new", "old") == "No difference between new and old is shown at 0 shots."


def test_with_many_pairs_only_those_of_the_best_are_told(metrics):
    changed = deepcopy(metrics)
    other = [{**e, "a": f"{e['a']}-{i}", "b": f"{e['b']}-{i}"} for e in metrics["differences"] for i in range(2)]
    changed["differences"] += other
    assert all("gcrdp" in sentence for sentence in content.findings(changed))


def test_the_question_is_told_in_one_sentence(metrics):
    assert content.asked(metrics) == (
        "214 query pairs from 11 target classes, asked in both directions; 0, 1, 3 and 5 shots, 5 draws of the support."
    )


def test_nested_parameters_read_as_dotted_names():
    values = {"train": {"gcrdp": {"lambda": 10.0}}, "shots": [0, 1], "path": None}
    expected = [("train.gcrdp.lambda", "10.0"), ("shots", "0, 1"), ("path", "–")]  # noqa: RUF001
    assert content.flat(values) == expected


def test_the_mixture_table_counts_collapsed_items_and_their_share():
    image, text = content.mixture_table(build.DIAGNOSTICS)
    assert [cell.text for cell in image.cells] == ["1,042", "3.00", "12 (1.2 %)", "0", "0.71"]
    assert text.label == "text"
    alone = {"image": {**build.DIAGNOSTICS["image"], "cosine": None}}
    assert content.mixture_table(alone)[0].cells[-1].text == "–"  # noqa: RUF001
