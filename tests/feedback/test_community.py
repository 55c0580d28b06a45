import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthalign.core.errors import UserError
from synthalign.feedback.community import answer_pairs, answer_score, load, plain


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
    return {"text": text, "score": answer_score(votes, accepted)}


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


ANSWER = {"text": "In the forest.", "votes": 7, "accepted": True}


def test_a_file_of_votes_is_read_with_its_scores(tmp_path):
    pd.DataFrame([{"question": "Where?", "answers": [ANSWER, ANSWER | {"votes": -2}]}], index=[9]).to_parquet(
        tmp_path / "qa.parquet"
    )

    [found] = load(tmp_path / "qa.parquet")

    assert found == {
        "question": "Where?",
        "answers": [{"text": "In the forest.", "score": 3 + 1}, {"text": "In the forest.", "score": -1}],
    }


def test_votes_that_pandas_made_floats_are_whole_numbers(tmp_path):
    rows = [{"question": "Where?", "answers": [ANSWER | {"votes": 7.0}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "qa.parquet")

    assert load(tmp_path / "qa.parquet")[0]["answers"][0]["score"] == 3 + 1


def test_stack_exchange_preferences_are_read_as_they_are_with_their_html_made_text(tmp_path):
    """The layout of HuggingFaceH4/stack-exchange-preferences, whose pm_score is `answer_score` already."""
    answer = {"answer_id": 1, "author": "kim", "author_id": 2, "author_profile": "x", "pm_score": 4, "selected": True}
    row = {"qid": 3, "question": "<p>Is 1 &lt; 2?</p>", "answers": [answer | {"text": "<p>Yes.</p>"}], "date": "y"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "qa.parquet")

    assert load(tmp_path / "qa.parquet") == [{"question": "Is 1 < 2?", "answers": [{"text": "Yes.", "score": 4}]}]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>One <a href='x'>two</a>,\n <code>a &lt; b</code> <b>three</b>.</p>\n\n<p>four</p>",
         "One two, a < b three.\n\nfour"),
        ("<ul>\n<li>one</li>\n<li>two</li>\n</ul>", "- one\n- two"),
        ("<ol>\n<li><p>one</p>\n\n<p>more</p></li>\n<li>\n<p>two</p></li>\n</ol>", "- one\n\nmore\n\n- two"),
        ("<p>See:</p>\n<pre><code>for x in y:\n    z\n</code></pre>\n<p>one<br>two</p>",
         "See:\n\nfor x in y:\n    z\n\none\ntwo"),
    ],
)  # fmt: skip
def test_html_becomes_plain_text(html, text):
    assert plain(html) == text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"text": None}, "row 2, answer 1: not a community file: text is None where a text belongs"),
        ({"votes": None}, "row 2, answer 1: not a community file: votes is None where a whole number belongs"),
        ({"votes": 1.5}, "votes is 1.5 where a whole number belongs"),
        ({"accepted": None}, "row 2, answer 1: not a community file: accepted is None where a yes or no belongs"),
    ],
)
def test_a_null_is_named_with_file_row_and_column(tmp_path, change, told):
    rows = [{"question": "Where?", "answers": [answer]} for answer in (ANSWER, ANSWER | change)]
    pq.write_table(pa.Table.from_pylist(rows if "votes" not in change else rows[::-1]), tmp_path / "qa.parquet")
    if "votes" in change:
        told = told.replace("row 2", "row 1")

    with pytest.raises(UserError, match=rf"qa.parquet, .*{told}"):
        load(tmp_path / "qa.parquet")


def test_all_rows_with_a_null_are_named_at_once(tmp_path):
    rows = [{"question": question, "answers": answers} for question, answers in [("a", None), (None, [ANSWER])] * 9]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "qa.parquet")

    with pytest.raises(UserError) as caught:
        load(tmp_path / "qa.parquet")

    told = str(caught.value).splitlines()
    assert "row 1: not a community file: answers is 'None'" in told[0]
    assert "row 2: not a community file: question is None" in told[1]
    assert (len(told), told[-1]) == (11, "… and 8 more")
