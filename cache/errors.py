"""Errors meant for a person: one line that says what, where and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class UserError(Exception):
    """Something a person can mend; printed as one line, exit code 1."""

    exit_code = 1


class UsageError(UserError):
    """The command or its parameters are wrong; exit code 2."""

    exit_code = 2


class ParamsError(UsageError):
    """A value of params.yaml, or of -S, is unknown or out of bounds."""


class MissingError(UserError):
    """Data or an artefact is not there; the message names the command or place that provides it."""


class DamagedError(UserError):
    """A file is not what its record says."""


class BusyError(UserError):
    """Another process holds the lock."""


def one_line(error: Exception) -> str:
    """What a library's error says, on one line."""
    return " ".join(str(error).split())


_STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """The text with what steers a terminal, turns the line round or is no whole character spelt out, as in `\\x1b`: the
    names of files and what stands in them go into messages. The end of a line stays one."""
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], text)


def shortened(text: str, most: int = 100) -> str:
    """The text, for a message, with `...` for what lies behind its first characters."""
    return text if len(text) <= most else f"{text[:most]}..."


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, or the list of what there is."""
    choices = sorted(known)
    return meant(name, choices) or f"; there are: {', '.join(choices) or 'none'}"


def meant(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, nothing where none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def counted(count: int, word: str, plural: str | None = None) -> str:
    """`1 class`, `2 classes`; thousands apart."""
    return f"{count:,} {word if count == 1 else plural or word + 's'}"
