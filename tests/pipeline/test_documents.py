"""What the documents say exists: links lead to files and headings, commands parse, keys are those of params.yaml.

Nothing is run: a command line is parsed as far as it could be started."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.__main__ import app
from pipeline.params import Params as Model
from pipeline.params import known_keys, load_params, parse_override

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND = "python -m pipeline"
PLACEHOLDERS = {"N": "1"}  # what stands for a number in a line that is read by people
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE_LINE = re.compile(r"^(?: {4}|\t)\s*(\S.*)$", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def code_lines(page: Path) -> Iterator[str]:
    """Every line of a fenced or indented block, continued lines as one, and every code span."""
    text = page.read_text(encoding="utf-8")
    for block in FENCED.findall(text):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines()[1:-1])
    prose = FENCED.sub("", text)
    yield from CODE_LINE.findall(prose.replace("\\\n", " "))
    yield from SPAN.findall(prose)


def commands(page: Path) -> list[list[str]]:
    """The arguments of every `python -m pipeline` on a page that names a command."""
    lines = (line.removeprefix("$ ") for line in code_lines(page))
    found = [shlex.split(line.removeprefix(COMMAND), comments=True) for line in lines if line.startswith(COMMAND + " ")]
    return [[PLACEHOLDERS.get(word, word) for word in own] for own in found if own and own[0] not in ("...", "--help")]


def assignments(page: Path) -> list[str]:
    """Every KEY=VALUE behind a -S in code, of the command line or of DVC."""
    found = []
    for line in (line for line in code_lines(page) if "-S " in line):
        words = shlex.split(line, comments=True)
        found += [value for flag, value in pairwise(words) if flag == "-S"]
    return [one for one in found if not one.lower().startswith("key")]


@cache
def command_line() -> Any:
    """The commands, built once."""
    return typer.main.get_command(app)


def parse(arguments: list[str]) -> None:
    """Parse a command line, and go no further; click's UsageError says what there is not."""
    group = command_line()
    name, *rest = arguments
    with group.make_context("pipeline", [name, *rest]) as above:
        _, command, left = group.resolve_command(above, [name, *rest])
        with command.make_context(name, left, parent=above):
            pass


def slug(heading: str) -> str:
    """What a heading is called in a link to it."""
    bare = re.sub(r"[^\w\- ]", "", re.sub(r"&\w+;", "", heading).lower())
    return bare.replace(" ", "-")


@by_page
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    prose = FENCED.sub("", page.read_text(encoding="utf-8"))
    for link in (link for link in LINK.findall(prose) if "://" not in link):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link}: no such file"
        if heading:
            assert heading in {slug(own) for own in HEADING.findall(target.read_text(encoding="utf-8"))}, link


@by_page
def test_every_command_and_flag_exists(page: Path) -> None:
    for arguments in commands(page):
        parse(arguments)


@by_page
def test_every_key_that_is_set_is_one_of_params(page: Path) -> None:
    keys = set(known_keys(Model))
    for assignment in assignments(page):
        assert parse_override(assignment)[0] in keys, assignment


def test_the_values_that_the_quickstart_sets_are_taken() -> None:
    page = ROOT / "docs" / "quickstart.md"
    load_params(ROOT / "params.yaml", [], [parse_override(text) for text in assignments(page)], [])


@by_page
def test_every_target_of_make_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = (match for line in code_lines(page) for match in re.findall(r"^make ([a-z-]+)", line))
    assert set(called) <= targets


def test_the_pages_do_name_commands_links_and_keys() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 20
    assert sum(len(assignments(page)) for page in PAGES) > 5


@pytest.mark.parametrize("wrong", [["serch", "a dog"], ["train", "--shot-count", "1"], ["train", "--seeds", "many"]])
def test_a_command_that_does_not_exist_is_noticed(wrong: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such|valid integer"):
        parse(wrong)
