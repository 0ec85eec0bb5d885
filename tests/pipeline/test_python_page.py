"""docs/python.md against the code: the signatures and docstrings that it quotes are those of today.

`python -m tests.pipeline.test_python_page` writes them into the page; test_quickstart.py runs its examples.
"""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cached_property
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs/python.md"
QUOTED = re.compile(r"<!-- ([\w.]+) -->\n(?:(?:>.*)?\n)*")  # a name, and what stands under it as a quotation


def found(name: str) -> Any:
    """What a dotted name stands for: a class or function of a module, or an attribute of a class there."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            value = inspect.getattr_static(value, part)
        return value
    raise AssertionError(f"{name}: no such module")


def quoted(name: str) -> str:
    """The name as one calls it, its signature where it has one, and its docstring."""
    value = found(name)
    inner = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
    parents = [part for part in name.split(".")[:-1] if part[:1].isupper()]
    called = ".".join([*parents, name.rpartition(".")[2]])
    has_none = isinstance(value, property | cached_property | type)
    doc = inspect.getdoc(inner)
    assert doc, name
    lines = [f"**`{called}{'' if has_none else signature(inner)}`**", "", *doc.splitlines()]
    return "\n".join(f"> {line}".rstrip() for line in lines) + "\n"


def signature(function: Any) -> str:
    """A signature without `self` and the quotation marks of annotations."""
    whole = inspect.signature(function)
    kept = [one for name, one in whole.parameters.items() if name not in ("self", "cls")]
    return str(whole.replace(parameters=kept)).replace("'", "")


def written(page: str) -> str:
    """The page with the docstrings of today."""
    return QUOTED.sub(lambda match: f"<!-- {match[1]} -->\n{quoted(match[1])}\n", page)


def test_the_page_quotes_the_docstrings_of_today() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(QUOTED.findall(page)) > 15
    assert page == written(page), "run python -m tests.pipeline.test_python_page"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
