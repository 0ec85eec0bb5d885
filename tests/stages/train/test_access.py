"""Rows with more access: what they see of target items, what they never do, and that they must be asked for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cache.episodes import read_episodes, write_episodes
from cache.errors import ParamsError, UsageError
from cache.files import digest_file
from cache.heads import HEAD
from cache.store import folder_of, read_ledger
from stages.heads.files import load_head
from stages.items import MODALITIES, Items, unit
from stages.train import chosen
from stages.train import run as stage
from stages.train.align import fit_cca
from stages.train.episode import TrainEpisode, space, train_episode
from stages.train.methods import scm
from stages.train.params import TrainParams
from stages.train.plan import Features, plan_jobs, rows_of, selection_content
from stages.train.selection import several
from tests.stages.train import build

MORE = {"semi-supervised": "target-rest", "transductive": "test"}
FEATURES = Features(False, "tiny", {name: name[0] * 32 for name in ("image", "text", "name")}, "first")


def seen(access: str, shots: int = 2, aligned: bool = True, given: Items | None = None) -> TrainEpisode:
    return train_episode(build.episode(shots), given or items(aligned), build.ALIGN, MORE.get(access))


def items(aligned: bool = True) -> Items:
    """The small world with vectors of the towers' own, so that both votes are cast."""
    known = build.items(aligned)
    rng = np.random.default_rng(4)
    raw = {
        m: (known.pooled[m] + 0.1 * rng.standard_normal(known.pooled[m].shape)).astype(np.float32) for m in MODALITIES
    }
    return replace(known, pooled_raw=raw, names={"joint": build.names(), "raw": build.names()}) if aligned else known


def section(**changes: Any):
    base = {"vote_image": 0.3, "vote_text": 0.4, "rounds": 3, "unlabelled_weight": 1.0, "unlabelled_tau": 0.3}
    return build.scm_section(**{**base, "unlabelled_space": False, **changes})


def tensors(access: str, shots: int = 2, aligned: bool = True, given: Items | None = None, **changes: Any):
    return scm.fit(seen(access, shots, aligned, given), section(access=access, **changes), 0).tensors()


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("access", ["inductive", *MORE])
def test_an_episode_lets_in_what_its_access_says_and_no_label_of_it(access):
    found = seen(access)
    drawn = build.episode(2)
    assert found.unlabelled.ids == (drawn.ids[MORE[access]] if access in MORE else [])
    assert set(found.unlabelled.labels) <= {()}
    assert found.items.ids == drawn.ids["source-train"] + drawn.ids["support"]
    assert found.paired == (access != "transductive")


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("access", sorted(MORE))
@pytest.mark.parametrize("idle", [{"rounds": 0, "unlabelled_space": True}, {"unlabelled_weight": 0.0}])
def test_without_a_round_or_a_weight_a_head_is_the_inductive_one_to_the_bit(idle, access, shots, aligned):
    assert same(tensors(access, shots, aligned, **idle), tensors("inductive", shots, aligned))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("access", sorted(MORE))
def test_unlabelled_items_move_target_prototypes_and_leave_those_of_source_classes(access, shots, aligned):
    before, after = tensors("inductive", shots, aligned), tensors(access, shots, aligned)
    count = len(build.TARGET)
    for name in (n for n in before if n.endswith("prototypes")):
        assert np.abs(before[name][:count] - after[name][:count]).max() > 1e-2
        assert np.array_equal(before[name][count:], after[name][count:])


@pytest.mark.parametrize("access", sorted(MORE))
@pytest.mark.parametrize("shots", [0, 2])
def test_prototypes_are_those_of_a_loop_over_items_and_classes(shots, access):
    fit, at = seen(access, shots), section(access=access)
    head, target, pairs = scm.fit(fit, at, 0), build.TARGET, fit.unlabelled
    white = {v.space: v.whiten for v in head.votes}
    share = {m: {"joint": 1 - b, "raw": b} for m, b in (("image", 0.3), ("text", 0.4))}
    known, z = {}, {}
    for where in ("joint", "raw"):
        rows = fit.items.pooled if where == "joint" else fit.items.pooled_raw
        more = pairs.pooled if where == "joint" else pairs.pooled_raw
        names = np.stack([unit(fit.items.names[where][name]) for name in [*fit.target, *fit.source]])
        named = unit((names - names.mean(axis=0)) @ white[where]["text"].map).astype(float)
        own = {m: unit(white[where][m](unit(rows[m]))).astype(float) for m in MODALITIES}
        z[where] = {m: unit(white[where][m](unit(more[m]))).astype(float) for m in MODALITIES}
        for m in MODALITIES:
            for c, name in enumerate(target):
                of = MODALITIES if where == "joint" else (m,)
                total = at.name_weight * named[c] * (where == "joint" or m == "text")
                for i, labels in enumerate(fit.items.labels):
                    total = total + sum(own[k][i] for k in of) * (name in labels)
                known[where, m, c] = total
    p = {place: total / max(np.linalg.norm(total), 1e-30) for place, total in known.items()}
    for _ in range(at.rounds):
        like = {
            m: np.array(
                [
                    [sum(share[m][w] * z[w][m][i] @ p[w, m, c] for w in share[m]) for c in range(len(target))]
                    for i in range(len(pairs))
                ]
            )
            for m in MODALITIES
        }
        if access == "semi-supervised":
            like = dict.fromkeys(MODALITIES, like["image"] + like["text"])
        post = {m: np.exp(v / at.unlabelled_tau) for m, v in like.items()}
        post = {m: v / v.sum(axis=1, keepdims=True) for m, v in post.items()}
        for w, m, c in known:
            of = MODALITIES if w == "joint" else (m,)
            total = known[w, m, c] + sum(post[k][i, c] * z[w][k][i] for k in of for i in range(len(pairs)))
            p[w, m, c] = total / np.linalg.norm(total)
    for vote in head.votes:
        assert dict(vote.weight) == {m: share[m][vote.space] for m in MODALITIES}
        for m in MODALITIES:
            for c in range(len(target)):
                assert vote.prototypes[m][c] == pytest.approx(p[vote.space, m, c], abs=5e-5)


def test_which_text_belongs_to_which_query_is_never_read():
    drawn, given = build.episode(2), items()
    rows = given.rows_of(drawn.ids["test"])
    order = rows[np.random.default_rng(0).permutation(len(rows))]

    def apart(values: dict[Any, np.ndarray]) -> dict[Any, np.ndarray]:
        texts = values["text"].copy()
        texts[rows] = values["text"][order]
        return {**values, "text": texts}

    other = replace(given, pooled=apart(given.pooled), pooled_raw=apart(given.pooled_raw or {}))
    for wide in (False, True):
        one, two = (tensors("transductive", given=g, unlabelled_space=wide) for g in (given, other))
        assert all(one[name] == pytest.approx(two[name], abs=1e-4) for name in one)


def test_without_a_support_or_a_name_there_is_nothing_that_an_item_could_be_like():
    assert same(tensors("semi-supervised", shots=0, names=False), tensors("inductive", shots=0, names=False))


def test_unlabelled_pairs_count_in_the_cca_of_two_towers_and_queries_never():
    semi, batch = (seen(access, aligned=False) for access in sorted(MORE))
    both = {m: np.concatenate([semi.items.pooled[m], semi.unlabelled.pooled[m]]) for m in MODALITIES}
    expected = fit_cca(both["image"], both["text"], build.ALIGN)
    assert np.array_equal(space(semi)["text"].map, expected["text"].map)
    alone = space(seen("inductive", aligned=False))
    assert np.array_equal(space(batch)["text"].map, alone["text"].map)
    narrow, wide = (
        scm.fit(semi, section(access="semi-supervised", unlabelled_space=on), 0).align for on in (False, True)
    )
    assert np.array_equal(narrow["text"].map, alone["text"].map)
    assert np.array_equal(wide["text"].map, expected["text"].map)


@pytest.mark.parametrize("access", sorted(MORE))
def test_unlabelled_items_count_in_the_middle_where_the_space_is_theirs_too(access):
    fit = seen(access)
    both = np.concatenate([unit(fit.items.pooled["text"]), unit(fit.unlabelled.pooled["text"])])
    found = tensors(access, unlabelled_space=True)["0.text.mean"]
    assert found == pytest.approx(both.mean(axis=0), abs=1e-6)
    alone = unit(fit.items.pooled["text"]).mean(axis=0)
    assert tensors(access)["0.text.mean"] == pytest.approx(alone, abs=1e-6)


def rows(admit: list[str], **values: Any):
    own = build.section(["scm"]).model_copy(update={"admit": admit, "scm": section(**values)})
    return rows_of(own), own


@pytest.mark.parametrize("access", sorted(MORE))
def test_a_row_that_was_not_asked_for_is_refused(access):
    with pytest.raises(UsageError) as caught:
        rows([name for name in MORE if name != access], access=access)
    assert str(caught.value) == (
        f"scm is {access}: it learns from target items without labels and is ranked apart;"
        f" pass -S train.admit=[{access}] to let it, or set its access to inductive"
    )


def with_variants(*values: dict[str, Any], admit: list[str]):
    asked = [{"method": "scm", "variant": f"v{i}", "values": own} for i, own in enumerate(values)]
    section = build.section(["scm"])
    return type(section).model_validate({**section.model_dump(by_alias=True), "variants": asked, "admit": admit})


def test_a_variant_that_was_not_asked_for_is_refused_by_its_name():
    with pytest.raises(UsageError, match=r"^row 'v0' of scm is transductive: "):
        rows_of(with_variants({"access": "transductive"}, admit=[]))


def test_no_other_access_can_be_had():
    with pytest.raises(ParamsError, match="access is 'all'; input should be 'inductive', 'semi-supervised' or"):
        rows_of(with_variants({"access": "all"}, admit=[]))


def planned(access: str, drawn=None, **values: Any):
    found, own = rows([access] if access in MORE else [], access=access, **values)
    return plan_jobs(found, [drawn or build.episode(2)], FEATURES, own.align, lambda row, _: row.section)[0]


@pytest.mark.parametrize("access", ["inductive", *MORE])
def test_a_head_says_its_access(access):
    assert planned(access).about["access"] == access


@pytest.mark.parametrize(("access", "role"), sorted(MORE.items()))
def test_ids_that_are_let_in_enter_the_key_and_their_labels_do_not(access, role):
    drawn = build.episode(2)
    fewer = replace(drawn, ids={**drawn.ids, role: drawn.ids[role][1:]})
    poisoned = replace(drawn, labels={**drawn.labels, **dict.fromkeys(drawn.ids[role], ("poison",))})
    assert planned(access, drawn).key != planned(access, fewer).key
    assert planned("inductive", drawn).key == planned("inductive", fewer).key
    assert planned(access, drawn).key == planned(access, poisoned).key


def test_an_inductive_key_knows_nothing_of_what_it_does_not_read():
    assert planned("inductive").key == planned("inductive", rounds=9, unlabelled_weight=0.1).key
    assert planned("transductive").key != planned("transductive", rounds=9).key


def test_inductive_rows_choose_nothing_of_what_they_do_not_read():
    listed = {"rounds": [1, 2], "unlabelled_tau": [0.1, 0.2], "unlabelled_space": [True, False]}
    (inductive,), _ = rows([], **listed)
    (semi,), _ = rows(["semi-supervised"], access="semi-supervised", **listed)
    assert inductive.section is not None
    assert semi.section is not None
    assert set(several(semi.section)) - set(several(inductive.section)) == set(listed)


def test_a_selection_is_of_its_access():
    found = []
    for access in MORE:
        (row,), own = rows([access], access=access)
        found.append(selection_content(row, build.episode(2), FEATURES, own))
    assert found[0] != found[1]


@pytest.mark.parametrize(("access", "role"), sorted(MORE.items()))
def test_selection_lets_in_items_of_source_classes_alone(tmp_path, monkeypatch, access, role):
    params = with_access(build.params(tmp_path, ["scm"]), access, unlabelled_tau=[0.3, 0.1])
    given: list[TrainEpisode] = []

    def watched(*asked):
        given.append(train_episode(*asked))
        return given[-1]

    monkeypatch.setattr(chosen, "train_episode", watched)
    (row,) = rows_of(params.section)
    episode = build.episode(2)
    own = params.section
    train = SimpleNamespace(section=own, selection=own.selection, align=own.align)
    judges = chosen.judges(train, row, episode, build.items())
    origin = {"target-rest": "source-train", "test": "source-test"}[role]
    assert len(judges) == len(given) == params.section.selection.draws
    for one in given:
        assert one.unlabelled.ids
        assert set(one.unlabelled.ids) <= set(episode.ids[origin])
        assert set(one.unlabelled.labels) == {()}


def with_access(params: TrainParams, access: str, **values: Any) -> TrainParams:
    own = section(access=access, vote_image=0.0, vote_text=0.0, **values)
    return replace(
        params, section=params.section.model_copy(update={"admit": [access] if access in MORE else [], "scm": own})
    )


def heads(params: TrainParams) -> dict[str, str]:
    keys = read_ledger(params.ledger).of("heads")
    return {
        str(sorted(key.about.items())): digest_file(folder_of(params.store, "heads", key.key) / HEAD) for key in keys
    }


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("access", sorted(MORE))
def test_labels_of_what_is_let_in_change_no_bit_of_any_head(tmp_path, access, aligned):
    clean, poisoned = (
        with_access(build.params(tmp_path / name, ["scm"], aligned), access, unlabelled_space=True)
        for name in ("clean", "poisoned")
    )
    wrong = []
    for episode in read_episodes(poisoned.episodes):
        hidden = {i for role in ("test", "source-test", "target-rest") for i in episode.ids[role]}
        turned = dict(zip(build.CLASSES, build.CLASSES[1:] + build.CLASSES[:1], strict=True))
        labels = {i: (turned[own[0]],) if i in hidden else own for i, own in episode.labels.items()}
        wrong.append(replace(episode, labels=labels))
    write_episodes(poisoned.episodes, wrong, "test")
    for params in (clean, poisoned):
        stage.run(params)
    assert heads(clean) == heads(poisoned)
    assert {key.about["access"] for key in read_ledger(clean.ledger).of("heads")} == {access}


def test_the_stage_refuses_before_it_writes_anything(tmp_path):
    params = with_access(build.params(tmp_path, ["scm"]), "transductive")
    refused = replace(params, section=params.section.model_copy(update={"admit": []}))
    with pytest.raises(UsageError, match=r"pass -S train.admit=\[transductive\]"):
        stage.run(refused)
    assert not params.ledger.exists()
    assert not (params.store / "heads").exists()


@pytest.mark.parametrize("access", sorted(MORE))
def test_the_stage_lets_in_what_the_row_may_see(tmp_path, access):
    params = with_access(build.params(tmp_path, ["scm"]), access)
    stage.run(with_access(params, "inductive"))
    found = [tensors_of(params, key.key) for key in read_ledger(params.ledger).of("heads")]
    stage.run(params)
    moved = [tensors_of(params, key.key) for key in read_ledger(params.ledger).of("heads")]
    assert not any(same(one, other) for one, other in zip(found, moved, strict=True))


def tensors_of(params: TrainParams, key: str) -> dict[str, np.ndarray]:
    return load_head(folder_of(params.store, "heads", key) / HEAD).tensors()
