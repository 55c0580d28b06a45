import pytest

from synthalign.feedback.community import answer_pairs, answer_score


@pytest.mark.parametrize(
    ("votes", "accepted", "score"),
    [
        (-1, False, -1),
        (-3, True, -1),  # the mark of one person does not lift what many voted down
        (0, False, 0),  # log2 1
        (0, True, 0 + 1),
        (1, False, 1),  # log2 2
        (2, False, 2),  # log2 3 = 1.58
        (4, False, 2),  # log2 5 = 2.32
        (5, False, 3),  # log2 6 = 2.58
        (7, True, 3 + 1),  # log2 8
    ],
)
def test_an_answers_score_grows_with_the_logarithm_of_its_votes(votes, accepted, score):
    assert answer_score(votes, accepted) == score


def answer(text, votes, accepted=False):
    return {"text": text, "votes": votes, "accepted": accepted}


def test_every_strict_order_gives_a_pair_and_a_tie_gives_none():
    answers = [answer("low", 1), answer("high", 7), answer("also low", 1), answer("hated", -2)]

    pairs = answer_pairs("q", answers, limit=10, seed=0)

    # scores 1, 3, 1, -1
    assert pairs == [(0, 3), (1, 0), (1, 2), (1, 3), (2, 3)]


def test_equal_texts_give_no_pair():
    assert answer_pairs("q", [answer("same", 7), answer(" same ", 0)], limit=10, seed=0) == []


def test_a_question_with_many_answers_gives_no_more_than_the_limit():
    answers = [answer(f"answer {votes}", 2**votes - 1) for votes in range(6)]  # 6 × 5 / 2 = 15 strict orders

    pairs = answer_pairs("q", answers, limit=10, seed=0)

    assert len(pairs) == len(set(pairs)) == 10
    assert all(better > worse for better, worse in pairs)
    assert pairs != answer_pairs("q", answers, limit=10, seed=1)


def test_the_choice_depends_on_the_texts_and_not_on_their_places():
    answers = [answer(f"answer {votes}", 2**votes - 1) for votes in range(6)]
    backwards = answers[::-1]

    chosen = {(answers[one]["text"], answers[two]["text"]) for one, two in answer_pairs("q", answers, limit=4, seed=0)}

    assert chosen == {
        (backwards[one]["text"], backwards[two]["text"]) for one, two in answer_pairs("q", backwards, limit=4, seed=0)
    }
