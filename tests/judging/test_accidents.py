import pytest

from synthalign.judging.accidents import in_a_loop, of, rates


@pytest.mark.parametrize(
    "text",
    [
        "How to code? How to code? How to code?",
        "1. How to code? 2. How to code? 3. How to code?",
        "It is red. " + "No, it is not red at all. " * 3,
        "ha " * 8,
    ],
)
def test_a_passage_three_times_in_a_row_is_a_loop(text):
    assert in_a_loop(text)


@pytest.mark.parametrize(
    "text",
    ["", "It is very, very, very good.", "How to code? How to code? Nobody knows how to code.", "ha " * 7],
)
def test_twice_a_short_run_and_a_passage_that_comes_again_later_are_none(text):
    assert not in_a_loop(text)


def test_a_response_may_be_several_accidents():
    found = of({"text": "How to code? " * 3, "finish_reason": "length"})

    assert {name for name, holds in found.items() if holds} == {"cut_off", "loop", "ends_with_question_or_colon"}
    assert {name for name, holds in of({"text": " ", "finish_reason": "stop"}).items() if holds} == {
        "next_turn",
        "empty",
    }


def test_a_next_turn_is_no_accident_by_itself():
    fine, empty = "In the forest.", ""
    responses = [
        {"query_id": query, "text": text, "finish_reason": "stop"}
        for query, text in [("q1", fine), ("q1", empty), ("q2", fine), ("q2", fine)]
    ]

    found = rates(responses, seed=0)

    assert found["next_turn"]["value"] == 1.0
    assert (found["any"]["value"], found["empty"]["value"], found["any"]["n"]) == (0.25, 0.25, 2)
