"""Errors meant for a person: one line that says what, where and what to do."""

from __future__ import annotations

import difflib
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
