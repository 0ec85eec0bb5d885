"""Messages for people."""

from __future__ import annotations

from cache.errors import UsageError, UserError, counted, nearest, one_line


def test_the_nearest_name_is_offered() -> None:
    assert nearest("wikipedai", ["openmoji", "wikipedia"]) == "; did you mean 'wikipedia'?"


def test_where_nothing_is_near_all_names_are_listed() -> None:
    assert nearest("zzz", ["wikipedia", "openmoji"]) == "; there are: openmoji, wikipedia"


def test_a_message_of_several_lines_becomes_one() -> None:
    assert one_line(ValueError("No more data.\n  Reading failed.\n")) == "No more data. Reading failed."


def test_wrong_use_and_failure_have_different_exit_codes() -> None:
    assert (UserError.exit_code, UsageError.exit_code) == (1, 2)


def test_one_of_a_thing_is_no_plural() -> None:
    assert [counted(1, "class", "classes"), counted(2, "class", "classes")] == ["1 class", "2 classes"]
    assert [counted(0, "shot"), counted(1, "shot"), counted(1042, "item")] == ["0 shots", "1 shot", "1,042 items"]
