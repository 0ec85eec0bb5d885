"""What a person sees: progress and remarks on stderr, tables and JSON on stdout, one line for an error."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from cache.errors import UserError

LOG_EVERY = 10.0  # seconds between two lines of progress where stderr is no terminal
WIDE = 10_000  # columns: a table that goes to a file or a pipe is never cut or wrapped

Cell = str | int | float | None


class ConsoleReporter:
    """Progress and remarks on stderr: bars at a terminal, a line every ten seconds in a log."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars: dict[str, TaskID] = {}
        self._work: dict[str, _Work] = {}
        self._progress: Progress | None = None

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Begin a piece of work of `total` items, `done` of them there already."""
        self._work[what] = _Work(total, done)
        if self._console.is_terminal:
            progress = self._progress or self._open()
            self._bars[what] = progress.add_task(what, total=total, completed=done, rate="")

    def advance(self, what: str, items: int, megabytes: float = 0.0, failed: int = 0) -> None:
        """Some more items are done."""
        work = self._work[what]
        work.add(items, megabytes, failed)
        if self._progress:
            self._progress.update(self._bars[what], advance=items, rate=work.rate())
        elif time.monotonic() - work.told >= LOG_EVERY:
            work.told = time.monotonic()
            self.say(f"{what}: {work.done}/{work.total}, {work.rate()}, {work.left()}")

    def finish(self, what: str) -> None:
        """A piece of work is over; the last one takes the bars away."""
        self._work.pop(what, None)
        if self._progress and not self._work:
            self._progress.stop()
            self._progress = None
            self._bars.clear()

    def say(self, message: str) -> None:
        """One line for the log."""
        self._console.print(message, markup=False)

    def warn(self, message: str) -> None:
        """One line that a person should not miss."""
        self._console.print(f"warning: {message}", style="yellow", markup=False)

    def _open(self) -> Progress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._progress.start()
        return self._progress


class _Work:
    """How far a piece of work has come."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.fresh, self.megabytes, self.failed = total, done, 0, 0.0, 0
        self.begun = self.told = time.monotonic()

    def add(self, items: int, megabytes: float, failed: int) -> None:
        """Count some more items."""
        self.done += items
        self.fresh += items
        self.megabytes += megabytes
        self.failed += failed

    def rate(self) -> str:
        """Items, and megabytes where there are any, a second; failures where there are any."""
        seconds = max(time.monotonic() - self.begun, 1e-6)
        parts = [f"{self.fresh / seconds:.1f}/s"]
        parts += [f"{self.megabytes / seconds:.1f} MB/s"] if self.megabytes else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return ", ".join(parts)

    def left(self) -> str:
        """The time that the rest takes at the rate so far."""
        seconds = (time.monotonic() - self.begun) / max(self.fresh, 1) * (self.total - self.done)
        return f"{seconds:.0f} s left"


def show(rows: Sequence[Mapping[str, Cell]], as_json: bool, title: str | None = None) -> None:
    """Print rows as a table, or as a JSON list; fractions are the caller's to turn into per cent."""
    if as_json:
        print(json.dumps(list(rows), ensure_ascii=False))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    if not rows:
        console.print("nothing there yet", markup=False)
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in rows[0]:
        numeric = all(not isinstance(row[name], str) or row[name] == "" for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*(_text(row[name]) for name in rows[0]))
    console.print(table)


def _text(value: Cell) -> str:
    """A cell as text: one decimal for fractions of a hundred, nothing for what is not there; no markup is read."""
    if value is None:
        return ""
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return text.replace("[", r"\[")


def guarded(run: Callable[[], None], debug: bool) -> int:
    """Run a command; an error becomes one line on stderr and an exit code, with its traceback only where `debug`."""
    try:
        run()
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        message, code = explain(error)
        print(" ".join(message.split("\n")), file=sys.stderr)
        return code
    return 0


def explain(error: BaseException) -> tuple[str, int]:
    """An error as one line for a person, and the exit code that goes with it."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if hasattr(error, "format_message"):  # typer's own: an unknown command or flag, a value of the wrong type
        return f"{str(error.format_message()).rstrip('.')}; see 'python -m pipeline --help'", 2
    if isinstance(error, KeyboardInterrupt):
        return "stopped; what was finished is kept, and the same command goes on from there", 130
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1
    return (
        f"unexpected {type(error).__name__}: {error}; run it again with --debug and report what it prints",
        1,
    )
