"""The shared flags: what they set, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import ParamsError, UsageError
from pipeline.commands.options import gather
from proof.checkout import make_folder, pipeline
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_an_access_is_set_and_admitted() -> None:
    section = gather(access="transductive", method=["cca,scm"]).params.train
    assert (section.scm.access, section.admit) == ("transductive", ["transductive"])


@pytest.mark.parametrize("how", ["-S", "overlay"])
def test_an_access_is_admitted_beside_what_else_is(how: str, tmp_path: Path) -> None:
    (tmp_path / "lets.yaml").write_text("train: {admit: [transductive]}")
    given = {"overlay": [tmp_path / "lets.yaml"]} if how == "overlay" else {"assign": ["train.admit=[transductive]"]}
    for access, admitted in (("semi-supervised", ["transductive", "semi-supervised"]), ("inductive", ["transductive"])):
        assert gather(access=access, method=["scm"], **given).params.train.admit == admitted
    assert gather(access="transductive", method=["scm"], **given).params.train.admit == ["transductive"]


@pytest.mark.parametrize(
    ("access", "near"), [("foo", ""), ("transdutive", "; did you mean 'transductive'?"), ("indutive", "inductive'?")]
)
def test_an_access_that_is_none_names_what_there_is_and_the_nearest(access: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        gather(access=access, method=["scm"])
    known = f"--access {access}: expected inductive, semi-supervised or transductive"
    assert str(caught.value).startswith(known)
    assert str(caught.value).endswith(near or known)


def test_methods_may_be_repeated_or_stand_side_by_side() -> None:
    assert gather(method=["scm", "cca, gap"]).params.train.methods == ["scm", "cca", "gap"]
    with pytest.raises(ParamsError, match="'cca' stands twice"):
        gather(method=["cca", "cca"])


def test_a_method_asked_for_at_the_prompt_is_not_lost_to_the_next(tmp_path: Path) -> None:
    done = pipeline(make_folder(tmp_path / "bare"), "train", "--method", "nix", "--method", "cca")
    assert (done.returncode, done.stderr.startswith("no method 'nix'")) == (2, True)


@pytest.mark.parametrize("access", ["inductive", "semi-supervised"])
def test_an_access_that_no_row_takes_is_refused(access: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        gather(access=access, method=["cca,gap"])
    assert str(caught.value) == (
        f"--access {access} changes nothing: no row asked for takes it (cca, gap);"
        " add scm to --method, or leave --access out"
    )
    row = "train: {variants: [{method: scm, variant: a, values: {%s}}]}"
    (tmp_path / "takes.yaml").write_text(row % "names: false")
    (tmp_path / "own.yaml").write_text(row % "access: inductive")
    assert gather(access=access, method=["cca"], overlay=[tmp_path / "takes.yaml"]).params.train.scm.access == access
    with pytest.raises(UsageError, match="changes nothing"):
        gather(access=access, method=["cca"], overlay=[tmp_path / "own.yaml"])
