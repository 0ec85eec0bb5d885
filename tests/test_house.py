"""The structure of the house: one direction, no stage imports another, short functions, light parameters."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"pipeline": 2, "stages": 1, "cache": 0}
STAGES = ("ingest", "extract", "split", "mixture", "train", "evaluate", "report")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sources("pipeline", "stages", "cache"), ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_imports_upwards(path: Path) -> None:
    floor = FLOORS[path.relative_to(ROOT).parts[0]]
    above = [name for name in imports(path) if FLOORS.get(name.split(".")[0], -1) > floor]
    assert not above


@pytest.mark.parametrize("stage", [*STAGES, "search"])
def test_no_stage_imports_another(stage: str) -> None:
    others = {f"stages.{name}" for name in (*STAGES, "search") if name != stage}
    found = {
        (path.name, name)
        for path in sources(f"stages/{stage}")
        for name in imports(path)
        if ".".join(name.split(".")[:2]) in others
    }
    assert not found


def files_read(stage: str) -> set[str]:
    """The files that a stage's code consists of, as far as they lie outside its own folder and cache/."""
    todo, seen = [p for p in sources(f"stages/{stage}") if p.name != "__init__.py"], set()
    while todo:
        path = todo.pop()
        for name in imports(path):
            file = ROOT / (name.replace(".", "/") + ".py")
            if name.startswith("stages.") and file.is_file() and file not in seen:
                seen.add(file)
                todo.append(file)
    names = {str(path.relative_to(ROOT)) for path in seen if f"stages/{stage}" not in str(path)}
    return names - {"stages/progress.py", "stages/section.py"}  # change no number


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_reruns_a_stage_when_code_that_it_uses_changes(stage: str) -> None:
    deps = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["deps"])
    assert {f"stages/{stage}", "cache"} <= deps
    assert {name for name in files_read(stage) if not {name, str(Path(name).parent)} & deps} == set()


def test_cache_and_parameters_never_import_torch() -> None:
    light = sources("cache") + [p for p in sources("stages", "pipeline") if p.name == "params.py"]
    assert not [path for path in light for name in imports(path) if name.split(".")[0] in {"torch", "open_clip"}]


def function_lengths() -> list[tuple[int, str]]:
    lengths = []
    for path in sources("pipeline", "stages", "cache", "bench", "proof"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = ast.get_docstring(node, clean=False)
                assert node.end_lineno
                size = node.end_lineno - node.lineno + 1 - (len(doc.splitlines()) if doc else 0)
                lengths.append((size, f"{path.relative_to(ROOT)}:{node.name}"))
    return sorted(lengths, reverse=True)


def test_functions_are_short() -> None:
    lengths = function_lengths()
    sizes = [size for size, _ in lengths]
    assert statistics.median(sizes) <= 10
    assert statistics.quantiles(sizes, n=10)[-1] <= 25
    assert sizes[0] <= 60, lengths[0]


def test_no_file_is_called_utils() -> None:
    everywhere = sources("pipeline", "stages", "cache", "tests", "bench", "proof")
    assert not [path for path in everywhere if "util" in path.stem]
