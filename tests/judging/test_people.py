import json
from pathlib import Path

import pytest

from synthalign.core.errors import UserError
from synthalign.feedback import people as brought
from synthalign.judging.people import majority, preferred, report, voted

PANDALM = Path("../shared/data/pandalm_testset.json")

LONG, SHORT = "In the dark forest.", "Who knows."


def written(folder, *rows):
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def vote(question, *verdicts):
    return {"question": question, "answers": [LONG, SHORT], "verdicts": list(verdicts)}


def test_a_majority_is_more_than_half_of_the_annotators():
    assert majority([1, 1, 2]) == majority([0, 1, 1]) == 1
    assert majority([2, 2, 2]) == 2
    assert majority([0, 0, 1]) == majority([0, 1, 2]) == majority([1, 2]) == 0


def test_accuracy_counts_the_pairs_with_a_majority_and_the_longer_answer_is_the_rule_to_beat(tmp_path):
    held_out = voted(written(tmp_path, vote("A?", 1, 1, 1), vote("B?", 2, 2, 0), vote("C?", 0, 0, 0)))
    # Right on A, wrong on B; on C nobody is asked.
    scores = {"ours": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0], "theirs": [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]}

    found = report(held_out, scores, seed=0, subject="ours", upper_bound="theirs")

    assert (found["pairs"], found["without_majority"]) == (2, 1)
    scorers = found["scorers"]
    assert scorers["ours"]["accuracy"]["value"] == scorers["longer"]["accuracy"]["value"] == 0.5
    assert scorers["theirs"]["accuracy"] == {"value": 1.0, "low": None, "high": None, "n": 2, "why": "too few"}
    assert scorers["ours"]["minus_theirs"]["value"] == -0.5
    assert scorers["ours"]["ratio_to_upper_bound"]["value"] == 0.5
    assert scorers["theirs"]["ratio_to_upper_bound"]["value"] == 1.0
    assert "minus_ours" not in scorers["theirs"]


def test_so_many_pairs_are_measured_wherever_they_stand_in_the_file(tmp_path):
    votes = [vote(f"{number}?", 1, 1) for number in range(20)]
    pairs = [{"prompt": row["question"], "chosen": LONG, "rejected": SHORT} for row in votes]
    for read, rows in ((voted, votes), (preferred, pairs)):
        some = read(written(tmp_path, *rows), 5)
        others = read(written(tmp_path, *reversed(rows)), 5)

        assert len(some.pairs) == len(some.questions) == len(some.dialogues) / 2 == 5
        assert sorted(some.questions) == sorted(others.questions)
        assert len(read(written(tmp_path, *rows), 30).pairs) == 20


def test_alpha_falls_where_a_scorer_contradicts_people_and_rises_where_it_agrees(tmp_path):
    votes = [vote("A?", 1, 1, 1), vote("B?", 2, 2, 2), vote("C?", 1, 1, 0), vote("D?", 2, 2, 0)]
    held_out = voted(written(tmp_path, *votes))
    agreeing = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]

    alpha = report(held_out, {"same": agreeing, "opposite": [-one for one in agreeing]}, seed=0)["alpha"]

    assert alpha["opposite"]["value"] < alpha["people"]["value"] < alpha["same"]["value"] < 1
    assert set(alpha) == {"people", "longer", "same", "opposite"}
    assert {figure["n"] for figure in alpha.values()} == {4}


def test_pairs_of_one_conversation_are_one_question(tmp_path):
    pairs = [
        {"prompt": "Where does it live?", "chosen": LONG, "rejected": SHORT},
        {"prompt": "Where does it live?", "chosen": SHORT, "rejected": "Go away."},
        {"prompt": "What does it eat?", "chosen": SHORT, "rejected": LONG},
    ]
    held_out = preferred(written(tmp_path, *pairs))

    found = report(held_out, {"none": [0.0] * 6}, seed=0)

    assert (found["pairs"], found["scorers"]["longer"]["accuracy"]["n"]) == (3, 2)
    assert found["scorers"]["longer"]["accuracy"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["scorers"]["none"]["accuracy"]["value"] == 0.0  # equal scores have not found the better one
    assert "alpha" not in found


@pytest.mark.skipif(not PANDALM.exists(), reason=f"{PANDALM} is not here")
def test_the_three_annotators_of_pandalm_agree_as_its_authors_say(tmp_path):
    pairs, _ = brought.pandalm(PANDALM, 1.0)
    held_out = voted(written(tmp_path, *pairs["heldout"]))

    found = report(held_out, {"first": [1.0, 0.0] * len(held_out.questions)}, seed=0)

    assert found["pairs"] + found["without_majority"] == 837
    assert found["alpha"]["people"]["value"] > 0.85  # the paper has Cohen's kappas of .85, .86 and .88
    assert found["alpha"]["first"]["value"] < found["alpha"]["people"]["value"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"question": " "}, "question is ' '"),
        ({"answers": ["a"]}, r"answers is \"\['a'\]\""),
        ({"answers": ["a", True]}, "answers is"),
        ({"verdicts": []}, r"verdicts is '\[\]'"),
        ({"verdicts": [1, 3]}, r"verdicts is '\[1, 3\]'"),
        ({"verdicts": [True]}, r"verdicts is '\[True\]'"),
    ],
)
def test_a_vote_of_another_form_is_told_with_line_key_and_value(tmp_path, change, complaint):
    with pytest.raises(UserError, match=f"rows.jsonl, line 2: {complaint}"):
        voted(written(tmp_path, vote("A?", 1), vote("B?", 1) | change))


def test_a_file_without_any_majority_is_told(tmp_path):
    with pytest.raises(UserError, match="no pair has a majority"):
        voted(written(tmp_path, vote("A?", 1, 2)))
