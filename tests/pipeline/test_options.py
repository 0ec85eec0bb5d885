"""The shared flags: what they set, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import UsageError
from pipeline.commands.options import gather
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_an_access_is_set_and_admitted() -> None:
    section = gather(access="transductive", method="cca,scm").params.train
    assert (section.scm.access, section.admit) == ("transductive", ["transductive"])


@pytest.mark.parametrize("access", ["inductive", "semi-supervised"])
def test_an_access_that_no_row_takes_is_refused(access: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        gather(access=access, method="cca,gap")
    assert str(caught.value) == (
        f"--access {access} changes nothing: no row asked for takes it (cca, gap);"
        " add scm to --method, or leave --access out"
    )
    row = "train: {variants: [{method: scm, variant: a, values: {%s}}]}"
    (tmp_path / "takes.yaml").write_text(row % "names: false")
    (tmp_path / "own.yaml").write_text(row % "access: inductive")
    assert gather(access=access, method="cca", overlay=[tmp_path / "takes.yaml"]).params.train.scm.access == access
    with pytest.raises(UsageError, match="changes nothing"):
        gather(access=access, method="cca", overlay=[tmp_path / "own.yaml"])
