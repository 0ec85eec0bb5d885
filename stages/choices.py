"""What was chosen on source classes, for people: of the selections that a heads ledger names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """What was chosen for a row of the tables at some shot counts; values: key -> the value in words."""

    method: str
    variant: str
    shots: tuple[int, ...]
    values: dict[str, str]


def choices_of(selections: Iterable[Mapping[str, Any]]) -> list[Choice]:
    """A choice a row and shot count, rows in their order and shots rising; shot counts that choose alike are one.

    selections: what the ledger says of each: method, variant, half, shots, values. Where the class splits of a shot
    count chose differently, a key's value says how many of them chose what: `0.05 (7) or 0.1 (3)`."""
    places: dict[tuple[str, str], dict[int, list[Mapping[str, Any]]]] = {}
    for about in selections:
        counts = places.setdefault((about["method"], about["variant"]), {})
        counts.setdefault(about["shots"], []).append(about["values"])
    return [choice for row, counts in places.items() for choice in _alike(*row, counts)]


def _alike(method: str, variant: str, counts: Mapping[int, list[Mapping[str, Any]]]) -> list[Choice]:
    found: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for shots, halves in sorted(counts.items()):
        told = tuple((key, _tally([values[key] for values in halves])) for key in halves[0])
        found.setdefault(told, []).append(shots)
    return [Choice(method, variant, tuple(shots), dict(told)) for told, shots in found.items()]


def _tally(values: list[Any]) -> str:
    """The one value that all class splits chose, or every value with how many of them did, the commonest first."""
    counted = Counter(map(_word, values)).most_common()
    return counted[0][0] if len(counted) == 1 else " or ".join(f"{value} ({count})" for value, count in counted)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
