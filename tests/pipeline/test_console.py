"""What a person sees: one line for an error, whole tables in a pipe, JSON on request."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pytest
import typer

from cache.errors import ParamsError, UserError
from pipeline.console import LOG_EVERY, ConsoleReporter, _Work, clock, guarded, show
from proof.checkout import ROOT, environment
from stages.progress import report_to, working


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a: b"), 1, "a: b"),
        (ParamsError("-S: no"), 2, "-S: no"),
        (KeyboardInterrupt(), 130, "stopped; what was finished is kept, and the same command goes on from there"),
        (OSError(28, "No space left on device", "/x"), 1, "/x: No space left on device"),
        (ValueError("two\nlines"), 1, "unexpected ValueError: two lines; run it again with --debug"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: fail(error), debug=False) == code
    printed = capsys.readouterr()
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == 1
    assert printed.out == ""


HOSTILE = "'\x1b[31m\x9b2J\u202ename\x07\ud800' of a file,\ntwo lines"


def test_what_a_file_is_called_never_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    told = ConsoleReporter()
    told.say(HOSTILE)
    told.warn(HOSTILE)
    told.fail(HOSTILE, 1, "")
    told.tell_failures(debug=False)
    guarded(lambda: fail(UserError(HOSTILE)), debug=False)
    safe = r"'\x1b[31m\x9b2J\u202ename\x07\ud800' of a file,"
    said, more, *others = capsys.readouterr().err.splitlines()
    assert (said, more) == (safe, "two lines")  # `demo` says several lines at once
    assert others == [f"warning: {safe}", "two lines", *[f"{safe} two lines"] * 2]


@pytest.mark.parametrize("error", [typer.Exit(130), typer.Abort(), KeyboardInterrupt(), None])
def test_ctrl_c_is_one_line_and_130_however_typer_tells_it(
    error: BaseException | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """None: as the release that is pinned does, which returns 130."""
    assert guarded(lambda: fail(error) if error else 130, debug=False) == 130
    assert capsys.readouterr().err == "stopped; what was finished is kept, and the same command goes on from there\n"


@pytest.mark.parametrize("end", [lambda: None, lambda: 0, lambda: fail(typer.Exit())])
def test_a_command_that_came_to_its_end_says_nothing(
    end: Callable[[], object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(end, debug=False) == 0
    assert capsys.readouterr().err == ""


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: fail(UserError("a: b")), debug=True) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.endswith("a: b\n")


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500 + " " + "[red]" * 10
    show([{"name": long, "value": 12.345}], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert long in lines[1]
    assert "12.3" in lines[1]


def test_json_holds_the_rows_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "é", "value": 12.345, "none": None}]
    show(rows, as_json=True)
    assert json.loads(capsys.readouterr().out) == rows


def test_no_rows_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    show([], as_json=False)
    assert capsys.readouterr().out == "nothing there yet\n"


def test_progress_in_a_log_goes_to_stderr_a_line_at_a_time_also_while_nothing_advances(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.console.LOG_EVERY", 0.2)
    reporter = ConsoleReporter()
    reporter.start("images", 10, done=2)
    time.sleep(0.3)
    reporter.advance("images", 4, megabytes=1.0, failed=1)
    time.sleep(0.3)
    reporter.finish("images")
    reporter.warn("careful")
    time.sleep(0.3)
    printed = capsys.readouterr()
    assert printed.out == ""
    first, *_, second, last = printed.err.splitlines()
    assert first == "images: 2/10, 0.0/s, 0 failed, -- left"
    assert re.fullmatch(r"images: 6/10, [\d.]+/s, [\d.]+ MB/s, 1 failed, [01] s left", second)
    assert last == "warning: careful"


def test_a_log_is_told_every_ten_seconds() -> None:
    assert LOG_EVERY == 10


def test_rates_and_the_time_left_are_those_of_what_was_done_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("pipeline.console.time.monotonic", lambda: now[0])
    work = _Work(100_000, done=60_000)  # a run that goes on
    assert (work.rate(), work.left()) == ("0.0/s, 0 failed", "-- left")
    now[0] += 100
    assert work.left() == "-- left"
    work.add(1000, 250.0, 3)
    assert (work.rate(), work.left()) == ("10.0/s, 2.5 MB/s, 3 failed", "1:05:00 left")
    work.add(39_000, 0.0, 0)
    assert (work.rate(), work.left()) == ("400/s, 2.5 MB/s, 3 failed", "0 s left")
    assert _Work(0, 0).left() == "0 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (187, "3:07"), (3600, "1:00:00"), (360_007, "100:00:07")],
)
def test_times_are_as_long_as_they_need(seconds: float, text: str) -> None:
    assert clock(seconds) == text


TERMINAL = """
import time
from pipeline.console import ConsoleReporter
reporter = ConsoleReporter()
reporter.start("flickr8k-core20 images", 1000000, done=512000)
for _ in range(4):
    reporter.advance("flickr8k-core20 images", 64, 9.1, 1)
    time.sleep(0.15)
reporter.warn("a [red] remark")
reporter.finish("flickr8k-core20 images")
"""


def at_a_terminal(code: str, width: int) -> list[str]:
    """What a real terminal of some width is sent, its drawing commands left out."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    env = {k: v for k, v in environment(TERM="xterm").items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    child = subprocess.Popen([sys.executable, "-c", code], stderr=follower, env=env, cwd=ROOT)
    os.close(follower)
    sent = b""
    with contextlib.suppress(OSError):  # what a terminal says at its end
        while block := os.read(leader, 1 << 16):
            sent += block
    os.close(leader)
    assert child.wait() == 0
    return [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent.decode())) if line]


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_rates_time_left_and_failures_on_one_line(width: int) -> None:
    lines = at_a_terminal(TERMINAL, width)
    bars = [line for line in lines if line.startswith("flickr8k-core20 images")]
    assert max(map(len, bars)) <= width
    assert re.search(r"━ +512256/1000000 \d+/s, [\d.]+ MB/s, 4 failed [\d:]+( s)? left", bars[-1]), bars[-1]
    assert "warning: a [red] remark" in lines


def test_a_piece_of_work_that_is_over_at_once_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    for name in ("one", "two"):
        reporter.start(name, 3)
    reporter.advance("two", 3)
    for name in ("one", "two"):
        reporter.finish(name)
    assert capsys.readouterr().err == ""


def test_work_that_an_error_stops_tells_no_more_of_its_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.console.LOG_EVERY", 0.1)
    before = report_to(ConsoleReporter())
    try:
        with pytest.raises(UserError), working("texts", 3):
            raise UserError("a: b")
    finally:
        report_to(before)
    time.sleep(0.4)
    assert capsys.readouterr().err == ""
