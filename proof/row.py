"""One proof: what was tried, how often, and how often it held."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Proof:
    """What was claimed, how often it was tried, how often it held; a note on what was met on the way."""

    what: str
    tried: int
    held: int
    note: str = ""


def part_of(count: int, share: float) -> int:
    """A share of a full count, at least 1."""
    return max(1, round(count * share))
