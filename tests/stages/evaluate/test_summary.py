"""metrics.json against the plain way to say the same."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from stages import stats
from stages.evaluate.plan import plan_tasks
from stages.evaluate.summary import _paired, _query_sums, label, summarise
from tests.stages.evaluate import build


def results_of(methods, drawn=None, galleries=("target", "rest")):
    drawn = build.episodes() if drawn is None else drawn
    tasks = plan_tasks(list(build.ledger_keys(methods, drawn)), drawn, list(galleries))
    return [build.result(t) for t in tasks]


@pytest.fixture(scope="module")
def results():
    return results_of(["raw", "spoilt"])


@pytest.fixture(scope="module")
def metrics(results):
    return summarise(results, 500)


def seed_values(results, method, shots):
    return [
        float(r.ap.mean())
        for r in results
        if r.task.contender["method"] == method and r.task.episode.shots == shots and r.task.gallery == "target"
    ]


def pair(metrics, shots):
    return next(entry for entry in metrics["differences"] if entry["shots"] == shots)


def test_the_main_figure_is_the_mean_over_seeds_on_the_target_gallery(results, metrics):
    assert metrics["mAP"]["spoilt"]["1"] == pytest.approx(np.mean(seed_values(results, "spoilt", 1)), abs=1e-6)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_of_the_pair_stands_beside_the_main_figure(results, metrics, k):
    own = [
        [ranked.figures[f"recall@{k}"].mean() for ranked in r.directions.values()]
        for r in results
        if (r.task.contender["method"], r.task.episode.shots, r.task.gallery) == ("spoilt", 2, "target")
    ]
    assert len(own) == build.SEEDS
    (entry,) = [e for e in metrics["means"] if (e["label"], e["shots"]) == ("spoilt", 2)]
    assert entry[f"recall@{k}"] == pytest.approx(np.mean(own), abs=1e-6)


def test_without_pairs_in_the_gallery_there_is_no_recall():
    metrics = summarise(results_of(["raw"], galleries=["rest"]), 200)
    assert not [name for entry in metrics["means"] for name in entry if name.startswith("recall")]


def test_a_difference_has_the_support_interval_of_its_paired_values(results, metrics):
    raw, spoilt = (np.array(seed_values(results, method, 1)) for method in ("raw", "spoilt"))
    entry = pair(metrics, 1)
    assert (entry["a"], entry["b"], len(raw), len(spoilt)) == ("spoilt", "raw", 1, 3)
    assert entry["difference"] == pytest.approx((spoilt - raw).mean(), abs=1e-6)
    assert entry["support"] == pytest.approx(stats.support_interval(spoilt - raw), abs=1e-6)


def test_a_deterministic_method_has_no_support_interval(metrics):
    entry = next(e for e in metrics["means"] if e["label"] == "raw" and e["shots"] == 1)
    assert entry["support"] is None
    assert entry["seeds"] == 1


def test_the_class_interval_surrounds_its_figure(metrics):
    for entry in metrics["means"]:
        assert entry["class"][0] < entry["mAP"] < entry["class"][1]


def test_the_class_interval_of_a_difference_is_paired(metrics):
    widths = {e["label"]: np.ptp(e["class"]) for e in metrics["means"] if e["shots"] == 1}
    assert np.ptp(pair(metrics, 1)["class"]) < sum(widths.values()) / 2


def as_another(result, **changes):
    """The same result under another name or access."""
    return replace(result, task=replace(result.task, contender={**result.task.contender, **changes}))


def test_a_method_against_its_twin_differs_by_nothing():
    raw = results_of(["raw"])
    entry = pair(summarise(raw + [as_another(result, method="twin") for result in raw], 200), 0)
    assert (entry["difference"], entry["class"], entry["p"]) == (0, [0, 0], 1)


def test_p_values_are_corrected_within_a_shot_count():
    metrics = summarise(results_of(["raw", "spoilt", "third"]), 300)
    for shots in build.SHOTS:
        family = [e for e in metrics["differences"] if e["shots"] == shots]
        assert len(family) == 3
        assert [e["p_holm"] for e in family] == pytest.approx(stats.holm([e["p"] for e in family]), abs=1e-6)


def test_methods_that_saw_more_are_never_ranked_with_inductive_ones():
    raw = results_of(["raw"])
    more = [as_another(result, access="semi") for result in raw]
    metrics = summarise(raw + more, 200)
    assert metrics["differences"] == []
    assert set(metrics["mAP"]) == {"chance", "raw", "raw (semi)"}


def test_class_splits_count_alike_in_means_and_intervals():
    drawn = build.episodes() + build.episodes(1, ["bee", "dog"])
    results = results_of(["raw"], drawn, ["target"])
    by_half = [np.mean([r.ap.mean() for r in results if r.task.episode.half == half]) for half in (0, 1)]
    metrics = summarise(results, 2000)
    assert metrics["mAP"]["raw"]["0"] == pytest.approx(np.mean(by_half), abs=1e-6)
    low, high = metrics["means"][0]["class"]
    assert low < np.mean(by_half) < high
    assert metrics["counts"]["halves"] == 2


def test_the_bootstrap_resamples_around_the_mean_of_the_class_splits():
    drawn = build.episodes() + build.episodes(1, ["bee", "dog"])
    results = [r for r in results_of(["raw"], drawn, ["target"]) if r.task.episode.shots == 0]
    queries = dict.fromkeys(query for r in results for query in r.queries)
    sums = _query_sums(results, {query: place for place, query in enumerate(queries)}, 20)
    assert [len(r.queries) for r in results] == [12, 8]
    assert sums.sum() / 20 == pytest.approx(np.mean([r.ap.mean() for r in results]))


def test_counts_say_what_was_asked(metrics):
    expected = {
        "queries": 12,
        "target_classes": 3,
        "seeds": 3,
        "halves": 1,
        "without_relevant": {"target": 0, "rest": 0},
    }
    assert metrics["counts"] == expected


def test_the_summary_is_json_and_the_same_again(results, metrics):
    assert json.loads(json.dumps(metrics)) == metrics
    assert summarise(results, 500) == metrics


def test_what_is_not_the_default_shows_in_the_name():
    assert label(("gcrdp", "default", "inductive", False)) == "gcrdp"
    assert label(("gcrdp", "K=5", "semi", True)) == "gcrdp (K=5, semi, names)"


def test_methods_are_compared_over_the_seeds_that_both_have():
    drawn = build.episodes()
    both = [r for r in results_of(["raw", "spoilt"], drawn, ["target"]) if r.task.episode.shots == 2]
    raw, spoilt = ([r for r in both if r.task.contender["method"] == name] for name in ("raw", "spoilt"))
    seeds = sorted({r.task.seed for r in spoilt})
    assert len(seeds) > 2
    lacking = [r for r in spoilt if r.task.seed != seeds[0]]
    pairs = _paired(spoilt, lacking)
    assert np.array_equal(pairs[0], pairs[1])
    assert len(pairs[0]) == len(seeds) - 1
    assert [len(values) for values in _paired(raw, lacking)] == [len(seeds) - 1] * 2


def test_a_contender_that_lacks_a_class_split_keeps_the_mean_of_the_others():
    drawn = build.episodes() + build.episodes(1, ["bee", "dog"])
    results = [r for r in results_of(["raw"], drawn, ["target"]) if r.task.episode.half == 1]
    results += results_of(["spoilt"], drawn, ["target"])
    metrics = summarise(results, 500)
    told = next(mean for mean in metrics["means"] if mean["label"] == "raw")
    assert told["class"][0] <= told["mAP"] <= told["class"][1]
