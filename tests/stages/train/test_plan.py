from __future__ import annotations

from dataclasses import replace

import pytest

from cache.errors import ParamsError, UsageError
from stages.train.methods import METHODS, find
from stages.train.params import TrainSection
from stages.train.plan import (
    Features,
    Row,
    choosing,
    decisive,
    may_be_scored,
    plan_jobs,
    require_space,
    rows_of,
    selection_content,
)
from tests.stages.train import build

FEATURES = Features(False, "tiny", {name: name[0] * 32 for name in ("image", "text", "name", "mixtures")}, "first")
DRAWN = [build.episode(2, seed) for seed in (0, 1)]


def keys(name: str, features: Features = FEATURES, drawn=DRAWN, section=None) -> list[str]:
    return [job.key for job in jobs_of([name], features, drawn, section or build.section([name]))]


def jobs_of(names, features=FEATURES, drawn=DRAWN, section=None):
    section = section or build.section(names)
    return plan_jobs(rows_of(section), drawn, features, section.align, lambda row, _: row.section)


def test_a_job_for_every_method_and_episode_in_that_order():
    jobs = jobs_of(["gap", "cca"])
    assert [(job.row.method.name, job.episode.seed) for job in jobs] == [("gap", 0), ("gap", 1), ("cca", 0), ("cca", 1)]
    assert jobs[0].about == {
        "method": "gap",
        "variant": "default",
        "access": "inductive",
        "names": False,
        "protocol": "parity",
        "half": 0,
        "shots": 2,
        "seed": 0,
    }


def test_the_seed_enters_the_key_of_trained_heads_only():
    drawn = [replace(DRAWN[0], seed=seed) for seed in (0, 1)]
    assert {name: len(set(keys(name, drawn=drawn))) for name in ("cca", "gap", "gcrdp")} == {
        "cca": 1,
        "gap": 2,
        "gcrdp": 2,
    }


def test_clip_has_one_head_for_all_episodes():
    assert len(set(keys("clip", replace(FEATURES, aligned=True)))) == 1


@pytest.mark.parametrize("name", sorted(METHODS))
def test_labels_that_may_not_be_read_do_not_enter_the_key(name):
    features = replace(FEATURES, aligned=True)
    hidden = {i for role in ("test", "source-test", "target-rest") for i in DRAWN[0].ids[role]}
    poisoned = {i: (("poison",) if i in hidden else own) for i, own in DRAWN[0].labels.items()}
    assert keys(name, features, [DRAWN[0]]) == keys(name, features, [replace(DRAWN[0], labels=poisoned)])


@pytest.mark.parametrize("name", ["cca", "gap", "gcrdp"])
def test_labels_that_are_learnt_from_enter_the_key(name):
    first = DRAWN[0].ids["support"][0]
    other = replace(DRAWN[0], labels={**DRAWN[0].labels, first: ("fox",)})
    assert keys(name, drawn=[DRAWN[0]]) != keys(name, drawn=[other])


@pytest.mark.parametrize("name", ["cca", "gap", "gcrdp"])
def test_theta_renews_gcrdp_alone(name):
    other = keys(name, section=build.section([name], theta=0.5))
    assert (other == keys(name)) == (name != "gcrdp")


@pytest.mark.parametrize(("name", "renewed"), [("cca", False), ("gap", False), ("gcrdp", True)])
def test_mixtures_renew_only_what_reads_views(name, renewed):
    other = replace(FEATURES, keys={**FEATURES.keys, "mixtures": "0" * 32})
    assert (keys(name, other) != keys(name)) == renewed


def test_mixtures_of_classes_need_no_mixture_of_items_and_name_none():
    section = build.section(["gcrdp"], over="class", retrieve="pooled")
    bare = replace(FEATURES, keys={name: key for name, key in FEATURES.keys.items() if name != "mixtures"})
    assert [row.uses_views for row in rows_of(section)] == [False]
    assert keys("gcrdp", bare, section=section) == keys("gcrdp", section=section)
    of_items = jobs_of(["gcrdp"])[0]
    assert of_items.row.uses_views
    assert of_items.content["features"] == {name: FEATURES.keys[name] for name in ("image", "text", "mixtures")}


@pytest.mark.parametrize(
    ("name", "aligned", "renewed"), [("gap", False, True), ("gap", True, False), ("cca", False, False)]
)
def test_the_alignment_renews_what_it_comes_before(name, aligned, renewed):
    features, section = replace(FEATURES, aligned=aligned), build.section([name])
    other = section.model_copy(update={"align": section.align.model_copy(update={"ridge": 9.0})})
    assert (keys(name, features, section=other) != keys(name, features, section=section)) == renewed


def test_captions_renew_where_they_change_the_texts():
    first, join, mean = (keys("cca", replace(FEATURES, captions=c)) for c in ("first", "join", "mean"))
    assert first == join != mean


def test_clip_is_refused_before_anything_is_trained():
    with pytest.raises(UsageError, match=r"^method 'clip' needs aligned features and tiny has none; use --method cca$"):
        require_space(rows_of(build.section(["gap", "clip"])), FEATURES)


@pytest.mark.parametrize(
    ("name", "dataset", "protocol", "fair"),
    [
        ("gap", "flickr8k-core20", "parity", True),
        ("gap", "flickr8k-core20", "random", False),
        ("gcrdp", "core20-masked", "random", False),
        ("cca", "flickr8k-core20", "random", True),
        ("gcrdp", "openmoji", "random", True),
    ],
)
def test_tuned_values_are_not_scored_on_classes_that_chose_them(name, dataset, protocol, fair):
    assert may_be_scored(Row(find(name), "default", None), dataset, protocol) == fair


@pytest.mark.parametrize(
    ("generated", "protocol", "fair"), [(3, "random", False), (3, "parity", True), (0, "random", True)]
)
def test_generated_shots_are_scored_where_trained_heads_are(generated, protocol, fair):
    row = Row(find("scm"), "default", build.scm_section(generated=generated))
    assert row.deterministic == (generated == 0)
    assert may_be_scored(row, "flickr8k-core20", protocol) == fair


def test_the_seed_enters_the_key_of_generated_shots_and_an_idle_generator_does_not():
    drawn = [replace(DRAWN[0], seed=seed) for seed in (0, 1)]

    def found(**changes) -> list[str]:
        section = build.section(["scm"]).model_copy(update={"scm": build.scm_section(**changes)})
        return keys("scm", drawn=drawn, section=section)

    other = build.generator_section(latent=9)
    assert [len(set(found(generated=count))) for count in (0, 3)] == [1, 2]
    assert found() == found(generator=other) == found(generated_weight=9.0)
    made = found(generated=3)
    assert not {*made} & {*found(generated=3, generator=other), *found(generated=3, generated_weight=9.0), *found()}


def varied(*variants: tuple[str, str, dict[str, object]], methods: tuple[str, ...] = ("scm",)) -> TrainSection:
    """The small section with variants, as params.yaml gives them."""
    told = [dict(zip(("method", "variant", "values"), one, strict=True)) for one in variants]
    return TrainSection.model_validate({**build.section(methods).model_dump(by_alias=True), "variants": told})


def test_variants_are_rows_after_the_methods_with_their_own_values_alone():
    section = varied(("scm", "nameless", {"names": False}), ("gcrdp", "no rdp", {"lambda": 0}), methods=("scm", "clip"))
    rows = rows_of(section)
    assert [(row.method.name, row.variant) for row in rows] == [
        ("scm", "default"),
        ("clip", "default"),
        ("scm", "nameless"),
        ("gcrdp", "no rdp"),
    ]
    default, clip, nameless, bare = (row.section for row in rows)
    assert clip is None
    assert default.names
    assert nameless == default.model_copy(update={"names": False, "name_weight": 0.0})
    assert bare == section.gcrdp.model_copy(update={"lambda_": 0.0})


@pytest.mark.parametrize(
    ("key", "values", "methods"),
    [
        ("flexclip", {"lr": 0.5}, {"flexclip"}),
        ("scm", {"tau": 0.7}, {"scm", "scm and a variant"}),
        ("scm", {"cosine": 0.7}, {"scm"}),  # the variant has one of its own
        ("gap", {"lr": 0.5}, {"gap"}),
        ("align", {"ridge": 9.0}, {"flexclip", "scm", "gap", "scm and a variant"}),
        ("selection", {"draws": 9}, {"scm", "scm and a variant"}),
    ],
)
def test_a_value_decides_over_the_rows_that_read_it_alone(key, values, methods):
    sections = {name: build.section([name]) for name in ("cca", "gap", "flexclip", "scm")}
    sections["scm and a variant"] = varied(("scm", "even", {"cosine": 0.5}), methods=("cca",))
    changed = {
        name: own.model_copy(update={key: getattr(own, key).model_copy(update=values)})
        for name, own in sections.items()
    }
    assert {name for name, own in sections.items() if decisive(changed[name]) != decisive(own)} == methods


def test_how_the_work_is_shared_out_decides_nothing():
    section = build.section(["gap"])
    assert decisive(section.model_copy(update={"workers": 3, "backend": "ray"})) == decisive(section)


def test_a_variant_of_a_method_that_is_not_asked_for_is_a_row_all_the_same():
    assert [row.variant for row in rows_of(varied(("gap", "long", {"steps": 9}), methods=("cca",)))] == [
        "default",
        "long",
    ]


@pytest.mark.parametrize(
    ("variants", "words"),
    [
        ([("scn", "a", {})], "no method 'scn'; did you mean 'scm'?"),
        ([("clip", "a", {})], "train.variants: 'clip' has no values that a variant could change"),
        (
            [("scm", "a", {"shrinkag": 0.5})],
            "train.variants: 'a' of scm: no key 'shrinkag'; did you mean 'shrinkage'?",
        ),
        (
            [("scm", "a", {"shrinkage": [0.5, 2]})],
            "train.variants: 'a' of scm: shrinkage is 2; input should be less than or equal to 1",
        ),
        (
            [("gcrdp", "a", {"theta": 2, "theta_kind": "quantile"})],
            "train.variants: 'a' of gcrdp: theta 2 is no quantile; pass 0 to 1, or theta_kind absolute",
        ),
        (
            [("gcrdp", "a", {"lambda": [1, 2]})],
            "train.variants: 'a' of gcrdp: lambda is [1, 2]; input should be a valid number",
        ),
        (
            [("scm", "a", {"names": False}), ("scm", "a", {"names": True})],
            "train.variants: 'scm (a)' stands twice, name each variant of a method once",
        ),
        (
            [("scm", "default", {"names": False})],
            "train.variants: 'scm (default)' stands twice, name each variant of a method once",
        ),
    ],
)
def test_a_wrong_variant_is_told_in_one_line(variants, words):
    with pytest.raises(UsageError) as caught:
        rows_of(varied(*variants))
    assert str(caught.value) == words
    assert isinstance(caught.value, ParamsError) == words.startswith("train.variants")


def test_variants_have_keys_of_their_own_and_equal_values_one_key():
    section = varied(("scm", "nameless", {"names": False}), ("scm", "same", {}))
    jobs = jobs_of(["scm"], section=section, drawn=DRAWN[:1])
    default, nameless, same = (job.key for job in jobs)
    assert default == same != nameless
    assert [(job.about["variant"], job.about["names"]) for job in jobs] == [
        ("default", True),
        ("nameless", False),
        ("same", True),
    ]


def test_what_names_weigh_is_nothing_to_a_row_that_reads_none():
    (row,) = rows_of(varied(("scm", "nameless", {"names": False, "name_weight": [2.0, 4.0]}), methods=("cca",)))[1:]
    (other,) = rows_of(varied(("scm", "nameless", {"names": False}), methods=("cca",)))[1:]
    assert row == other
    (named,) = rows_of(varied(("scm", "named", {"name_weight": [2.0, 4.0]}), methods=("cca",)))[1:]
    assert named.section.name_weight == [2.0, 4.0]


def test_whether_source_classes_are_judged_decides_heads_and_no_selection():
    section = varied(
        ("scm", "all", {"all_classes": True}), ("scm", "targets", {"all_classes": False}), methods=("cca",)
    )
    rows = rows_of(section)[1:]
    contents = [selection_content(choosing(row, True), DRAWN[0], FEATURES, section) for row in rows]
    assert contents[0] == contents[1]
    jobs = plan_jobs(rows, DRAWN[:1], FEATURES, section.align, lambda row, _: row.section)
    assert len({job.key for job in jobs}) == 2


def test_the_classes_whose_names_judge_enter_the_key():
    other = replace(DRAWN[0], source_classes=[*DRAWN[0].source_classes, "gnu"])
    assert [keys(name, drawn=[other]) == keys(name, drawn=[DRAWN[0]]) for name in ("scm", "gap")] == [False, True]


@pytest.mark.parametrize(("hidden", "told"), [(0, False), (4, True)])
def test_a_hidden_layer_s_key_tells_it_from_heads_whose_weights_and_batches_shared_their_numbers(hidden, told):
    section = build.section(["gap"])
    changed = section.model_copy(update={"gap": build.gap_section(hidden=hidden)})
    (job,) = jobs_of(["gap"], drawn=DRAWN[:1], section=changed)
    assert ("streams" in job.content) == told
