"""A reporter that remembers what it was told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stages.progress import Silent


@dataclass
class Listener(Silent):
    """What was said, warned of and failed; of each piece of work how it was started and how far it came.

    failed: (message, exit code, traceback); on_advance: called with a piece of work as it comes on."""

    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    failed: list[tuple[str, int, str]] = field(default_factory=list)
    started: dict[str, tuple[int, int]] = field(default_factory=dict)
    advanced: dict[str, int] = field(default_factory=dict)
    on_advance: Callable[[str], None] = str

    @property
    def failures(self) -> list[str]:
        """The lines on what failed."""
        return [message for message, _, _ in self.failed]

    @property
    def done(self) -> int:
        """How many items of all work are done."""
        return sum(self.advanced.values())

    def start(self, what: str, total: int, done: int = 0) -> None:
        self.started[what] = (total, done)

    def advance(self, what: str, items: int, megabytes: float = 0.0, failed: int = 0) -> None:  # noqa: ARG002
        self.advanced[what] = self.advanced.get(what, 0) + items
        self.on_advance(what)

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)

    def fail(self, message: str, code: int, trace: str) -> None:
        self.failed.append((message, code, trace))
