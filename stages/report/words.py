"""Figures as people read them: per cent with one decimal, intervals, lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
SIGNIFICANT = 0.05


def percent(value: float) -> str:
    """A fraction as per cent, one decimal, without the sign for per cent: 0.4763 is 47.6."""
    return f"{100 * value:.1f}".replace("-", MINUS)


def points(value: float) -> str:
    """A difference of fractions in points, with its sign: 0.02 is +2.0; what rounds to nothing has no sign."""
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", MINUS)


def between(interval: Sequence[float] | None, signed: bool) -> str:
    """An interval of fractions, `40.1 to 54.9`; a dash where there is none."""
    if interval is None:
        return NONE
    say = points if signed else percent
    return f"{say(interval[0])} to {say(interval[1])}"


def plus_minus(interval: Sequence[float] | None) -> str:
    """Half the width of a symmetric interval, `± 1.2`; empty where there is none."""
    return "" if interval is None else f"± {percent((interval[1] - interval[0]) / 2)}"


def p_value(p: float) -> str:
    """A p value with three decimals, never 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def listed(words: Sequence[Any]) -> str:
    """`1, 3 and 5`."""
    texts = [str(word) for word in words]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def shots(counts: Sequence[int]) -> str:
    """`1 shot`, `1, 3 and 5 shots`."""
    return f"{listed(counts)} shot{'' if list(counts) == [1] else 's'}"


def winner(difference: dict[str, Any]) -> str | None:
    """Which of two methods is better, where the class interval leaves out 0 and Holm's p agrees; else None."""
    low, high = difference["class"]
    if difference["p_holm"] >= SIGNIFICANT or low <= 0 <= high:
        return None
    return str(difference["a"] if low > 0 else difference["b"])
