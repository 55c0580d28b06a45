import pytest

from synthalign.errors import UserError
from synthalign.judging import KEY, SCHEMA, Answer, both_orders, matched, summary, verdict


def judged(question, score_a, score_b, sample=0):
    return both_orders(
        question_id=question,
        sample_index=sample,
        policy_a="ppo",
        policy_b="base",
        judge="oracle",
        score_a=score_a,
        score_b=score_b,
    )


def pair(question, characters_a, characters_b):
    return Answer(question, 0, "x" * characters_a, characters_a), Answer(question, 0, "y" * characters_b, characters_b)


def test_the_higher_score_wins_equal_ones_tie_and_a_missing_one_is_no_tie():
    assert verdict(2.0, 1.0) == "a"
    assert verdict(-1.0, 0.0) == "b"
    assert verdict(0.5, 0.5) == "tie"
    assert verdict(None, 1.0) == verdict(1.0, None) == verdict(None, None) == "unjudged"


def test_both_orders_are_recorded_and_speak_of_the_same_policies():
    rows = judged("q", 2.0, 1.0)

    assert [(row["order"], row["verdict"], row["score_a"]) for row in rows] == [("ab", "a", 2.0), ("ba", "a", 2.0)]
    assert set(rows[0]) == set(SCHEMA.names) > set(KEY)


def test_eighty_questions_in_both_orders_are_160_judgements_and_80_samples():
    rows = [row for question in range(80) for row in judged(f"q{question}", 1.0, 0.0)]
    pairs = [pair(f"q{question}", 5, 5) for question in range(80)]

    assert len(rows) == 2 * 80
    assert summary(rows, pairs, seed=0)["win_rate"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 80}


def test_a_summary_by_hand():
    rows = [
        *judged("q1", 2.0, 1.0),  # a wins with 30 characters against 20
        *judged("q2", 0.0, 1.0),  # b wins with 11 against 10: lengths are similar
        *judged("q3", 1.0, 1.0),  # a tie
        *judged("q4", None, 1.0),  # unjudged
    ]
    pairs = [pair("q1", 30, 20), pair("q2", 10, 11), pair("q3", 50, 20), pair("q4", 10, 9)]

    result = summary(rows, pairs, seed=0)

    assert result["unjudged"] == 2
    assert (result["win"], result["tie"], result["loss"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-6)
    assert result["win_rate"]["value"] == (1 + 0 + 0.5) / 3
    assert result["win_rate"]["n"] == 3
    assert result["similar_length"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 1}  # q2 alone
    assert result["longer_wins"] == 1.0  # in q1 and in q2
    assert (result["characters_a"], result["characters_b"]) == ((30 + 10 + 50 + 10) / 4, (20 + 11 + 20 + 9) / 4)


def test_lengths_are_similar_up_to_a_fifth():
    rows = [*judged("q1", 1.0, 0.0), *judged("q2", 1.0, 0.0)]

    assert summary(rows, [pair("q1", 12, 10), pair("q2", 10, 13)], seed=0)["similar_length"]["n"] == 1


def test_where_nothing_could_be_judged_there_is_no_win_rate():
    result = summary(judged("q1", None, None), [pair("q1", 5, 5)], seed=0)

    assert result["unjudged"] == 2
    assert "win_rate" not in result


def test_answers_are_matched_by_question_and_sample():
    a = [Answer("q1", 0, "a", 1), Answer("q1", 1, "b", 1)]
    b = [Answer("q1", 1, "c", 1), Answer("q1", 0, "d", 1)]

    both = matched(a, b, policy_a="a", policy_b="b")

    assert [(one.text, other.text) for one, other in both] == [("a", "d"), ("b", "c")]


def test_answers_to_different_questions_are_refused():
    with pytest.raises(UserError, match=r"1 are in one of them only, the first \('q2', 0\)"):
        matched(
            [Answer("q1", 0, "a", 1)], [Answer("q1", 0, "a", 1), Answer("q2", 0, "a", 1)], policy_a="x", policy_b="y"
        )
    with pytest.raises(UserError, match="has no rows"):
        matched([], [], policy_a="x", policy_b="y")
