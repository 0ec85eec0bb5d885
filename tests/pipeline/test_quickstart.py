"""docs/quickstart.md in a fresh clone: every fenced command, in order; then every example of docs/python.md there.

Two things are not as a reader has them: the clone's .venv holds the programs that run the tests, and its params.yaml
asks for fewer pictures and steps, since CI has minutes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proof.checkout import ROOT, environment, run, set_params

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of a page of docs/ that are of a kind."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [block for name, block in BLOCK.findall(text) if name == kind]


def bash(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run lines as a person types them into one shell, up to the first that fails."""
    return run(folder, "bash", "-c", f"set -e\n{script}")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the repository, with what is not committed yet, and the programs of the present environment."""
    programs = Path(sys.executable).parent
    if not (ROOT / ".git").exists() or not (programs / "activate").exists():
        pytest.skip("needs a git checkout and a virtual environment, as `make test` has both")
    here = tmp_path_factory.mktemp("quickstart") / "clone"
    assert run(ROOT, "git", "clone", "-q", str(ROOT), str(here)).returncode == 0
    for name in run(ROOT, "git", "ls-files", "--modified", "--others", "--exclude-standard").stdout.splitlines():
        if (ROOT / name).is_file():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, here / name)
    set_params(here, ingest__max_per_class=20, train__selection__draws=1, train__gap__steps=10, train__gcrdp__steps=10)
    (here / ".venv").mkdir()
    (here / ".venv/bin").symlink_to(programs)
    (here / ".venv/.ready").touch()  # newer than what it is made from: `make install` finds it done
    return here


@pytest.fixture(scope="module")
def done(clone: Path) -> subprocess.CompletedProcess[str]:
    return bash(clone, "".join(blocks("quickstart.md", "")))


def test_every_command_of_the_quickstart_runs_in_order_in_a_fresh_clone(
    clone: Path, done: subprocess.CompletedProcess[str]
) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ +1 +scm \(names\) +\d", done.stdout, re.MULTILINE)
    assert re.search(r"^ +5 +0\.\d+ ", done.stdout, re.MULTILINE)  # the fifth hit
    assert done.stdout.splitlines()[-1] == str(clone / "runs/results/report.html")
    made = ("found.html", "vectors.parquet", "card.md", "results/report.html")
    assert all((clone / "runs" / name).stat().st_size > 1000 for name in made)
    assert not (clone / "runs/search").exists()  # search and export took the head that train made
    assert "draws of the supports (2 of them" in (clone / "runs/card.md").read_text()
    assert not run(clone, "git", "status", "--porcelain", "--", "data", "runs", "results").stdout


def table(text: str) -> dict[str, list[float]]:
    """The figures of each method in a table as `train` prints it, mAP first."""
    rows = re.findall(r"^ +1 +(\w+)(?: \(names\))? +([\d. ]+)$", text, re.MULTILINE)
    return {name: [float(cell) for cell in cells.split()] for name, cells in rows}


def test_the_first_table_of_the_readme_is_one_that_train_prints(done: subprocess.CompletedProcess[str]) -> None:
    """The same columns and rows; the figures here are of fewer pictures."""
    (header,) = re.findall(r"^shots  method .* mAP .*$", done.stdout, re.MULTILINE)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert header.split() in [line.split() for line in readme.splitlines()]
    assert list(table(readme)) == list(table(done.stdout)) == ["chance", "cca", "gap", "gcrdp", "scm"]


def test_every_example_of_the_python_page_runs_behind_it(clone: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0
    script = "\n".join(blocks("python.md", "python"))
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=clone, env=environment(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    first, *_, last = ran.stdout.splitlines()
    assert re.fullmatch(r"(\d+) pictures, \(\1, 1280\)", first)
    assert re.search(r"^scm +1 [2-6]\d\.\d$", ran.stdout, re.MULTILINE)
    assert "nothing" in last
