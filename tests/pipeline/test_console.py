"""What a person sees: one line for an error, whole tables in a pipe, JSON on request."""

from __future__ import annotations

import json

import pytest

from cache.errors import ParamsError, UserError
from pipeline.console import ConsoleReporter, guarded, show


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


def test_progress_in_a_log_goes_to_stderr_a_line_at_a_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.console.LOG_EVERY", 0.0)
    reporter = ConsoleReporter()
    reporter.start("images", 10, done=2)
    reporter.advance("images", 4, megabytes=1.0, failed=1)
    reporter.finish("images")
    reporter.warn("careful")
    printed = capsys.readouterr()
    assert printed.out == ""
    first, second = printed.err.splitlines()
    assert first.startswith("images: 6/10, ")
    assert "1 failed" in first
    assert second == "warning: careful"
