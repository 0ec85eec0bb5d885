"""What a person sees: progress and remarks on stderr, tables and JSON on stdout, one line for an error."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table

from cache.errors import UserError, harmless

LOG_EVERY = 10.0  # seconds between two lines of progress where stderr is no terminal
INTERRUPTED = 130  # the exit code of a command that Ctrl-C stopped: 128 and the signal's number
WIDE = 10_000  # columns: a table that goes to a file or a pipe is never cut or wrapped

Cell = str | int | float | None


class ConsoleReporter:
    """Progress and remarks on stderr: bars at a terminal, a line every ten seconds in a log.

    Both are drawn from a thread of their own, so that they come while a worker is silent over a long shard, too.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars: dict[str, TaskID] = {}
        self._work: dict[str, _Work] = {}
        self._progress: Progress | None = None
        self._log_ends: threading.Event | None = None
        self._failures: list[tuple[str, int, str]] = []

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Begin a piece of work of `total` items, `done` of them there already."""
        self._work[what] = work = _Work(total, done)
        if self._console.is_terminal:
            progress = self._progress or self._open()
            self._bars[what] = progress.add_task(harmless(what), total=total, completed=done, work=work)
        elif self._log_ends is None:
            self._log_ends = threading.Event()
            threading.Thread(target=self._log, args=(self._log_ends,), daemon=True).start()

    def advance(self, what: str, items: int, megabytes: float = 0.0, failed: int = 0) -> None:
        """Some more items are done."""
        self._work[what].add(items, megabytes, failed)
        if self._progress:
            self._progress.advance(self._bars[what], items)

    def finish(self, what: str) -> None:
        """A piece of work is over; the last one takes the bars away."""
        self._work.pop(what, None)
        if self._work:
            return
        if self._progress:
            self._progress.stop()
            self._progress = None
            self._bars.clear()
        if self._log_ends:
            self._log_ends.set()
            self._log_ends = None

    def say(self, message: str) -> None:
        """One line for the log."""
        self._console.print(harmless(message), markup=False)

    def warn(self, message: str) -> None:
        """One line that a person should not miss."""
        self._console.print(f"warning: {harmless(message)}", style="yellow", markup=False)

    def fail(self, message: str, code: int, trace: str) -> None:
        """One line on a part that failed, kept for the end: see `tell_failures`."""
        self._failures.append((message, code, trace))

    def tell_failures(self, debug: bool) -> int:
        """Say what failed while the rest went on, a line each, and where `debug` its traceback before it; the exit code
        of all that, 0 for nothing."""
        for message, _, trace in self._failures:
            print(trace * debug + _one_row(message), file=sys.stderr)
        return max((code for _, code, _ in self._failures), default=0)

    def _log(self, ends: threading.Event) -> None:
        """A line for each piece of work, every ten seconds until all are over."""
        while not ends.wait(LOG_EVERY):
            for what, work in list(self._work.items()):
                self.say(f"{what}: {work.done}/{work.total}, {work.rate()}, {work.left()}")

    def _open(self) -> Progress:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[work].rate_text}", markup=False),
            TextColumn("{task.fields[work].left_text}", markup=False),
        )
        self._progress = Progress(*columns, console=self._console, transient=True, expand=True)
        self._progress.start()
        return self._progress


class _Work:
    """How far a piece of work has come."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.fresh, self.megabytes, self.failed = total, done, 0, 0.0, 0
        self.begun = time.monotonic()

    def add(self, items: int, megabytes: float, failed: int) -> None:
        """Count some more items."""
        self.done += items
        self.fresh += items
        self.megabytes += megabytes
        self.failed += failed

    def rate(self) -> str:
        """Items, and megabytes where there are any, a second, of what was done since the start; failures so far."""
        seconds = max(time.monotonic() - self.begun, 1e-6)
        parts = [f"{_short(self.fresh / seconds)}/s"]
        parts += [f"{_short(self.megabytes / seconds)} MB/s"] if self.megabytes else []
        return ", ".join([*parts, f"{self.failed} failed"])

    def left(self) -> str:
        """The time that the rest takes at the rate so far; unknown while nothing is done."""
        if self.done >= self.total:
            return "0 s left"
        if not self.fresh:
            return "-- left"
        return f"{clock((time.monotonic() - self.begun) / self.fresh * (self.total - self.done))} left"

    rate_text, left_text = property(rate), property(left)  # as a column of the bars asks for them


def _short(rate: float) -> str:
    """A rate with a decimal where it is small."""
    return f"{rate:.1f}" if rate < 99.95 else f"{rate:.0f}"


def clock(seconds: float) -> str:
    """A time for a person: `42 s`, `3:07` minutes, `12:03:07` hours."""
    whole = max(0, round(seconds))  # a clock may have been set back
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{whole} s"
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


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


def guarded(run: Callable[[], object], debug: bool) -> int:
    """Run a command; an error becomes one line on stderr and an exit code, with its traceback only where `debug`."""
    try:
        return _exit_code(run)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        message, code = explain(error)
        print(_one_row(message), file=sys.stderr)
        return code


def _one_row(message: str) -> str:
    return harmless(" ".join(message.split("\n")))


def _exit_code(run: Callable[[], object]) -> int:
    """The exit code of a command that came to its end; KeyboardInterrupt where Ctrl-C was that end.

    Typer tells of Ctrl-C in other words from release to release: it returns 130, or raises Exit(130) or Abort.
    """
    try:
        ended = run()
    except (typer.Exit, typer.Abort) as error:
        ended = getattr(error, "exit_code", INTERRUPTED)
    if ended == INTERRUPTED:
        raise KeyboardInterrupt
    return ended if isinstance(ended, int) else 0


def explain(error: BaseException) -> tuple[str, int]:
    """An error as one line for a person, and the exit code that goes with it."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if hasattr(error, "format_message"):  # typer's own: an unknown command or flag, a value of the wrong type
        return f"{str(error.format_message()).rstrip('.')}; see 'python -m pipeline --help'", 2
    if isinstance(error, KeyboardInterrupt):
        return "stopped; what was finished is kept, and the same command goes on from there", INTERRUPTED
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1
    return (
        f"unexpected {type(error).__name__}: {error}; run it again with --debug and report what it prints",
        1,
    )
