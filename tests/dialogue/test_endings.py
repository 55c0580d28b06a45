"""The rule for what ended and what was cut off."""

import pytest

from synthalign.dialogue import endings


@pytest.mark.parametrize(
    ("finish_reason", "whole", "end"),
    [
        ("eos", True, True),
        ("stop", True, False),  # another turn began, so it was over; but its end was not written
        ("length", False, False),
        ("error", False, False),
        (None, True, True),  # a person's
    ],
)
def test_what_ended_is_taught_with_an_end_and_pushed_away_with_one_that_was_written(
    finish_reason: str | None, whole: bool, end: bool
) -> None:
    assert endings.is_whole(finish_reason) == whole
    assert endings.has_end(finish_reason) == end


def test_an_answer_is_complete_when_it_ends_by_itself_and_says_something() -> None:
    assert endings.is_complete("eos", "Yes.")
    assert not endings.is_complete("eos", " \n")
    assert not endings.is_complete("stop", "Yes.")
    assert not endings.is_complete("length", "Ye")


def test_where_another_turn_is_an_end_what_stands_before_it_is_complete() -> None:
    assert endings.is_complete("stop", "Yes.", turn_ends=True)
    assert endings.is_complete("eos", "Yes.", turn_ends=True)
    assert not endings.is_complete("stop", "", turn_ends=True)
    assert not endings.is_complete("length", "Ye", turn_ends=True)
    assert not endings.is_complete("error", "", turn_ends=True)
