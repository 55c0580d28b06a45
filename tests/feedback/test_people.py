import json
from pathlib import Path

import pytest

from synthalign.core.errors import UserError
from synthalign.feedback.people import (
    Limits,
    as_is_and_judge,
    community,
    eval_questions,
    hh_pairs,
    pandalm,
    preference,
    seed_queries,
    side,
)

RAW = Path("../shared/data")
JUDGED = {
    "instruction": "Name a genre.",
    "input": "Manifest",
    "response1": "Drama.",
    "response2": "Mystery.",
    "annotator1": 2,
    "annotator2": 0,
    "annotator3": 2,
}


def written(folder, *rows):
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_the_side_of_a_text_hangs_on_its_words_and_the_share_alone():
    texts = [f"Question number {number}?" for number in range(400)]

    assert side("What is 2 + 2?", 0.5) == side("what is 2 + 2", 0.5)
    assert {side(text, 0.0) for text in texts} == {"train"}
    assert {side(text, 1.0) for text in texts} == {"heldout"}
    assert 60 < sum(side(text, 0.2) == "heldout" for text in texts) < 100
    # A larger share holds out more and lets nothing back.
    assert all(side(text, 0.6) == "heldout" for text in texts if side(text, 0.2) == "heldout")


@pytest.mark.skipif(not RAW.is_dir(), reason=f"{RAW} is not here")
def test_no_first_message_of_hh_is_on_both_sides_and_every_usable_pair_is_on_one():
    pairs, left_out = hh_pairs(RAW / "hh_harmless_test.jsonl.gz", 0.5)
    first = {name: {row["prompt"][0]["content"] for row in rows} for name, rows in pairs.items()}

    assert {name: len(rows) for name, rows in pairs.items()} == {"train": 1111, "heldout": 1150}
    assert left_out.total() == 51
    assert first["train"].isdisjoint(first["heldout"])
    assert all(row.keys() == {"prompt", "chosen", "rejected"} for row in pairs["heldout"])


def test_an_annotators_choice_is_a_vote_and_a_tie_is_none(tmp_path):
    pairs, left_out = pandalm(written(tmp_path, JUDGED), 1.0)
    [pair] = pairs["heldout"]

    assert not left_out
    assert pair == {"question": "Name a genre.\n\nManifest", "answers": ["Drama.", "Mystery."], "verdicts": [2, 0, 2]}
    assert community(pair)["answers"] == [
        {"text": "Drama.", "votes": 0, "accepted": False},
        {"text": "Mystery.", "votes": 2, "accepted": False},
    ]


@pytest.mark.parametrize(
    ("verdicts", "chosen"),
    [([2, 0, 2], "Mystery."), ([1, 0, 0], "Drama."), ([1, 2, 1], "Drama."), ([1, 2, 0], None), ([0, 0, 0], None)],
)
def test_most_annotators_make_a_preference_and_as_many_on_both_sides_make_none(verdicts, chosen):
    found = preference({"question": "A genre?", "answers": ["Drama.", "Mystery."], "verdicts": verdicts})

    if chosen is None:
        assert found is None
        return
    assert found["prompt"] == [{"role": "user", "content": "A genre?"}]
    assert (found["chosen"], found["rejected"]) == (chosen, "Drama." if chosen == "Mystery." else "Mystery.")


def test_about_a_quarter_of_many_questions_are_the_as_is_models_and_all_pairs_about_one_are_on_one_side():
    pairs = [{"question": f"Question number {number // 2}?", "place": number} for number in range(400)]

    first, second = as_is_and_judge(pairs)

    assert sorted(pair["place"] for pair in first + second) == list(range(400))
    assert {pair["question"] for pair in first}.isdisjoint(pair["question"] for pair in second)
    assert 60 < len(first) < 140


def test_what_cannot_be_compared_is_left_out_with_its_reason(tmp_path):
    swapped = JUDGED | {"response1": "Mystery.", "response2": "Drama."}
    pairs, left_out = pandalm(
        written(
            tmp_path,
            JUDGED,
            swapped,
            JUDGED | {"response1": True},
            JUDGED | {"response1": " "},
            JUDGED | {"response1": "Mystery. "},
            JUDGED | {"response1": "Drama.\n\nHuman: And?"},
            JUDGED | {"instruction": "", "input": " "},
        ),
        1.0,
    )

    assert len(pairs["heldout"]) == 1
    assert left_out == {
        "the same pair came before": 1,
        "an answer is no text": 1,
        "an answer is empty": 1,
        "both answers say the same": 1,
        "an answer holds the marker of a turn": 1,
        "nothing is asked": 1,
    }


def test_no_question_is_on_both_sides_however_it_is_cut_into_instruction_and_input(tmp_path):
    one = JUDGED | {"instruction": "Name a genre for the Manifest", "input": ""}
    other = JUDGED | {"instruction": "Name a genre", "input": "for the Manifest"}
    third = JUDGED | {"instruction": "What is it?\n\nHuman: And?", "input": ""}
    share = next(
        share / 100 for share in range(101)
        if {side(row["instruction"], share / 100) for row in (one, other)} == {"train", "heldout"}
    )  # fmt: skip

    pairs, left_out = pandalm(written(tmp_path, one, other, third), share)

    assert (len(pairs["train"]), pairs["heldout"]) == (1, [])
    assert left_out == {
        "its question is on the side that is trained on": 1,
        "its question holds the marker of a turn": 1,
    }
    rows = [{"instruction": "Name a genre", "instances": [{"input": "for the Manifest", "output": ""}]}]
    kept, _ = eval_questions(
        written(tmp_path, *rows), 1.0, [], Limits(shortest=1), trained=["Name a genre for the\n\nManifest"]
    )
    assert kept == []


def test_all_malformed_rows_are_named_with_key_and_value(tmp_path):
    file = written(
        tmp_path,
        JUDGED | {"annotator2": 3},
        JUDGED,
        {"instruction": "Hi."},
        JUDGED | {"annotator1": True},
        JUDGED | {"annotator1": 1.0},
    )

    with pytest.raises(UserError) as raised:
        pandalm(file, 0.5)

    one, other, third, fourth = str(raised.value).splitlines()
    assert one == f"{file}, line 1: annotator2 is 3; allowed: 1, 2, or 0 for a tie"
    assert other.startswith(f"{file}, line 3: input is missing (it has instruction)")
    assert third.startswith(f"{file}, line 4: annotator1 is True")
    assert fourth.startswith(f"{file}, line 5: annotator1 is 1.0")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [({"turns": []}, "line 1: turns is '[]'"), ({"text": "Hi?"}, "line 1: turns is missing"), (7, "line 1: turns is")],
)
def test_a_vicuna_row_without_a_turn_is_told(tmp_path, row, complaint):
    with pytest.raises(UserError, match=complaint.replace("[", r"\[")):
        seed_queries(written(tmp_path, row), Limits())


def test_an_evaluation_question_is_one_line_like_no_seed_and_of_no_instruction_that_is_trained_on(tmp_path):
    asked = [
        ("Give the capital of the country", "Peru"),
        ("Give the capital of the country", "Chile"),
        ("How can I sleep better at night?", ""),
        ("Summarise the text in one sentence.", "One.\nTwo."),
        ("Hi?", ""),
        ("Explain in detail what a glacier is", "ice " * 80),
    ]
    rows = [{"instruction": one, "instances": [{"input": more, "output": ""}]} for one, more in asked]
    limits = Limits(shortest=10, longest=100)

    kept, left_out = eval_questions(written(tmp_path, *rows), 1.0, ["How can I sleep better?"], limits)

    assert kept == ["Give the capital of the country Peru"]
    assert left_out == {
        "like a question before it": 1,
        "like a seed query": 1,
        "more than one line": 1,
        "under 10 characters": 1,
        "over 100 characters": 1,
    }
    assert eval_questions(written(tmp_path, *rows), 0.0, [], limits)[1] == {
        "its instruction is on the side that is trained on": 6
    }
