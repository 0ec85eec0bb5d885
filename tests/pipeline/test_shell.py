"""What a shell sees of the command line: completion, colours, the version."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.commands.completion import SCRIPT
from pipeline.console import ConsoleReporter, show
from proof.checkout import ROOT, environment
from tests.pipeline.prompt import typed

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d)(?:;\d+)*m")


def completed(*words: str) -> list[str]:
    done = typed(ROOT, "complete", "--", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sea"], ["search"]),
        (["ex"], ["export", "extract"]),
        (["comple"], ["completion"]),  # not the hidden one that answers here
        (["train", "--sho"], ["--shots"]),
        (["extract", "--dataset", "wiki"], ["wikipedia"]),
        (["train", "--method", "gc"], ["gcrdp"]),
        (["train", "--method", "cca,gc"], ["cca,gcrdp"]),
        (["search", "--method", "gc"], ["gcrdp"]),
        (["extract", "--encoder", "lite"], ["lite0-minilm"]),
        (["datasets", "wiki"], ["wikipedia"]),
        (["ablate", "los"], ["losses"]),
        (["train", "-S", "mixture.comp"], ["mixture.components="]),
        (["train", "-S", "mixtur"], [f"mixture.{k}=" for k in sorted(
            ["components", "covariance", "floor", "groups", "iterations", "temperature"])]),
        (["search", "--page", "f"], []),  # a file: the shell's own affair
        (["search", "--json", "--to"], ["--tokens", "--top"]),  # no value stands behind --json
        (["nix", "--sho"], []),
    ],
)  # fmt: skip
def test_the_last_word_is_completed_by_what_there_is(words: list[str], expected: list[str]) -> None:
    assert completed(*words) == expected


def test_every_command_that_is_listed_is_completed() -> None:
    listed = set(re.findall(r"^. ([a-z][a-z-]+) ", typed(ROOT, "--help").stdout, re.MULTILINE))
    assert len(listed) > 15
    assert set(completed("")) == listed


def test_bash_asks_for_the_words_behind_the_module_and_for_no_other_python() -> None:
    assert typed(ROOT, "completion").stdout == SCRIPT + "\n"
    python = str(Path(sys.executable))
    ask = 'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _pipeline; printf "%s " "${COMPREPLY[@]}"'
    words = [f"{python} -m pipeline sea", f"{python} -m pipeline train --meth", f"{python} -m pip ins", f"{python} sea"]
    told = [f"COMP_WORDS=({line}); COMPREPLY=(); {ask}; echo" for line in words]
    run = subprocess.run(
        ["bash", "-c", "\n".join([SCRIPT, *told])],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split() for line in run.stdout.splitlines()] == [["search"], ["--method"], [], []]


def at_a_terminal(*arguments: str, **more: str) -> str:
    """What `python -m pipeline` writes where stdout is a terminal that knows colours."""
    leader, follower = pty.openpty()
    kept = {k: v for k, v in environment().items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    own = kept | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)} | more
    command = [sys.executable, "-m", "pipeline", *arguments]
    with subprocess.Popen(command, stdout=follower, stderr=follower, env=own, cwd=ROOT) as process:
        os.close(follower)
        text = b""
        try:
            while block := os.read(leader, 65536):
                text += block
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(leader)
    assert process.returncode == 0
    return text.decode()


def test_help_has_colours_and_none_where_no_color_is_set() -> None:
    assert COLOUR.search(at_a_terminal("--help"))
    assert not COLOUR.search(at_a_terminal("--help", NO_COLOR="1"))


def test_tables_bars_and_warnings_have_no_colours_where_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> str:
        reporter = ConsoleReporter()
        reporter.start("work", 2)
        reporter.advance("work", 1)
        reporter.warn("look at this")
        reporter.finish("work")
        show([{"name": "a", "value": 1.0}], as_json=False, title="What there is")
        return "".join(capsys.readouterr())

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich is concerned
    monkeypatch.setenv("TERM", "xterm-256color")
    assert COLOUR.search(told())
    monkeypatch.setenv("NO_COLOR", "1")
    plain = told()
    assert "look at this" in plain
    assert not COLOUR.search(plain)


def test_the_version_stands_in_one_place() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    name, version = re.findall(r'^(?:name|version) = "(.*)"$', text, re.MULTILINE)
    assert typed(ROOT, "--version").stdout == f"{name} {version}\n"
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    code = [path for folder in ("pipeline", "stages", "cache") for path in (ROOT / folder).rglob("*.py")]
    assert not [path for path in code if "__version__ =" in path.read_text(encoding="utf-8")]
    assert not re.search(r"^version:", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)


def test_make_help_tells_of_every_target() -> None:
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # this may run in one
    done = subprocess.run(["make", "help"], cwd=ROOT, env=alone, capture_output=True, text=True, check=True)
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert [line.split()[0] for line in done.stdout.splitlines()] == targets.split()
    assert all(len(line.split()) > 2 for line in done.stdout.splitlines())
