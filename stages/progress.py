"""What a stage tells the person who waits: progress, remarks, warnings. The command line installs a reporter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Reporter(Protocol):
    """Where progress goes; `pipeline.console` has the one that draws."""

    def start(self, what: str, total: int, done: int = 0) -> None:
        """A piece of work begins, `done` of its `total` items being there already."""

    def advance(self, what: str, items: int, megabytes: float = 0.0, failed: int = 0) -> None:
        """Some more items of a piece of work are done."""

    def finish(self, what: str) -> None:
        """A piece of work is over."""

    def say(self, message: str) -> None:
        """One line for the log."""

    def warn(self, message: str) -> None:
        """One line that a person should not miss."""

    def fail(self, message: str, code: int, trace: str) -> None:
        """One line on a part that failed while the rest goes on; told at the end, and the command has failed with this
        exit code. trace: where in the code, for those who ask."""


class Silent:
    """Says nothing; the reporter of a library call."""

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Nothing."""

    def advance(self, what: str, items: int, megabytes: float = 0.0, failed: int = 0) -> None:
        """Nothing."""

    def finish(self, what: str) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Nothing."""

    def warn(self, message: str) -> None:
        """Nothing."""

    def fail(self, message: str, code: int, trace: str) -> None:
        """Nothing."""


_current: Reporter = Silent()


def report_to(reporter: Reporter) -> Reporter:
    """Install a reporter for this process; returns the one before it."""
    global _current
    before, _current = _current, reporter
    return before


def reporter() -> Reporter:
    """The reporter in force."""
    return _current


@contextmanager
def working(what: str, total: int, done: int = 0) -> Iterator[None]:
    """A piece of work from its start to its end, which is told however it ends: no bar and no line of progress
    outlives work that an error stopped."""
    told = reporter()
    told.start(what, total, done)
    try:
        yield
    finally:
        told.finish(what)
