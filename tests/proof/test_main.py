"""The proofs' verdict, on made-up ones."""

from __future__ import annotations

import json
import os
import platform
import types
from importlib.metadata import version
from pathlib import Path

import pytest

import proof.__main__ as command
from proof import dvc_kills, kills
from proof.row import Proof, part_of


@pytest.mark.parametrize(
    ("made", "code", "said"),
    [
        (Proof("two", 5, 5), 0, ""),
        (Proof("two", 5, 4), 1, "two: held 4 of 5 times\n"),
        (Proof("two", 0, 0), 1, "two: held 0 of 0 times\n"),
    ],
)
def test_what_did_not_hold_is_named_after_both_files_are_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    made: Proof,
    code: int,
    said: str,
) -> None:
    rows = {"proof.one": Proof("one", 1, 1, "in passing"), "proof.two": made}
    modules = {
        name: types.SimpleNamespace(__doc__=f"How {name} goes.", prove=lambda share, row=row: [row] * int(share))
        for name, row in rows.items()
    }
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "MODULES", ("one", "two"))
    monkeypatch.setattr("proof.__main__.importlib.import_module", modules.__getitem__)
    assert command.main([]) == code
    assert capsys.readouterr().err == said
    assert [p["what"] for p in json.loads((tmp_path / "results/proof.json").read_text())["proofs"]] == ["one", "two"]
    text = (tmp_path / "docs/reliability.md").read_text()
    assert "| one | 1 | 1 | in passing |" in text
    assert "`proof/two.py`: How proof.two goes." in text
    told = text.partition("Machine: ")[2].splitlines()[0]
    for said in (f"{os.cpu_count()} cores", platform.platform(), f"dvc {version('dvc')}", f"h5py {version('h5py')}"):
        assert said in told
    assert "A kill is SIGKILL" in text


def test_a_proof_that_is_none_is_answered_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["flip"]) == 2
    assert capsys.readouterr().err == "no proof 'flip'; there are kills, dvc_kills, commits, flips\n"


def test_the_page_says_where_the_kills_landed_and_what_becomes_of_dvcs_own_files() -> None:
    rounds = [kills.Round(["recording", "computing"]), kills.Round(["computing"])]
    trials = [dvc_kills.Trial(parts, True, True, True, []) for parts in (1, 70)]
    made = [kills.told("kills", 3, rounds), *dvc_kills.told(trials)]
    about = {"cores": 2, "chip": "x", "system": "y", "python": "z", "libraries": {}}
    text = command.page(about, made, {"dvc_kills": dvc_kills.__doc__ or ""})
    assert "| kills | 3 | 3 | 2 stores; 2 while computing, 1 while recording |" in text
    assert "after 1 to 70 recorded parts" in text
    assert "`.dvc/tmp/rwlock`" in text


def test_a_share_is_never_nothing() -> None:
    assert [part_of(50, 1.0), part_of(50, 0.1), part_of(5, 0.1)] == [50, 5, 1]
