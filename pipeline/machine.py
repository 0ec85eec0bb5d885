"""The machine that a command runs on, and the software."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.tables import sized

PROJECT = "fewshot-crossmodal-retrieval"
DECISIVE = ("torch", "numpy", "scipy", "matplotlib")  # what stage two computes and draws with


def software() -> dict[str, str]:
    """Versions: this project's, Python's, and of the libraries that stage two computes with, as far as installed."""
    found = {"this project": _version(PROJECT), "python": platform.python_version()}
    return {**found, **{name: _version(name) for name in DECISIVE}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name, the cores that may be used, and the memory."""
    import joblib

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = cpuinfo()
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name}, {joblib.cpu_count()} cores to use, {sized(memory)} memory"


def cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; {} where the system has no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
