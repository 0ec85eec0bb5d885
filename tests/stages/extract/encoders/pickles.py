"""A pickle that shows whether it ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Writes:
    """Writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)
