"""Figures as people read them."""

from __future__ import annotations

import pytest

from stages.report import words


def test_fractions_read_as_per_cent_with_one_decimal():
    assert [words.percent(value) for value in (0.4763, 1, 0, 0.00049)] == ["47.6", "100.0", "0.0", "0.0"]


def test_differences_carry_their_sign_unless_they_round_to_nothing():
    assert [words.points(value) for value in (0.02, -0.0123, 0.0004, -0.0004)] == ["+2.0", "−1.2", "0.0", "0.0"]  # noqa: RUF001


def test_intervals_say_from_where_to_where():
    assert words.between([0.401, 0.549], signed=False) == "40.1 to 54.9"
    assert words.between([-0.01, 0.02], signed=True) == "−1.0 to +2.0"  # noqa: RUF001
    assert words.between(None, signed=True) == "–"  # noqa: RUF001
    assert (words.plus_minus([0.41, 0.43]), words.plus_minus(None)) == ("± 1.0", "")


def test_p_is_never_nothing():
    assert [words.p_value(p) for p in (0.0001, 0.0123, 1.0)] == ["< 0.001", "0.012", "1.000"]


def test_lists_and_shots_read_as_english():
    assert words.listed([0, 1, 3]) == "0, 1 and 3"
    assert [words.shots(counts) for counts in ([1], [0], [1, 5])] == ["1 shot", "0 shots", "1 and 5 shots"]


@pytest.mark.parametrize(
    ("interval", "p_holm", "expected"),
    [
        ([0.01, 0.02], 0.01, "a"),
        ([-0.02, -0.01], 0.01, "b"),
        ([-0.01, 0.02], 0.01, None),
        ([0.01, 0.02], 0.05, None),
        ([0, 0.02], 0.01, None),
    ],
)
def test_a_winner_needs_both_the_class_interval_and_the_corrected_p(interval, p_holm, expected):
    assert words.winner({"a": "a", "b": "b", "class": interval, "p_holm": p_holm}) == expected
