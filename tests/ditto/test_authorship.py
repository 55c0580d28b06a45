"""Worked examples of telling authors apart: a class that is plain to see, folds, and what cannot be learned from."""

import pytest

from synthalign.core.errors import UserError
from synthalign.ditto.authorship import NOBODY, Judge, learned

SHOUTS = ["AHOY THERE", "ALL HANDS ON DECK", "HOIST THE SAIL", "DROP THE ANCHOR", "MAN THE PUMPS", "LAND AHEAD"]
SAYS = ["good morning", "please sit down", "thank you kindly", "see you later", "come on in", "a cup of tea"]


def test_a_text_in_capitals_is_taken_for_the_author_who_writes_in_capitals():
    judge = Judge({"bosun": SHOUTS, NOBODY: SAYS})

    loud, quiet = judge.styles("bosun", ["LOWER THE BOATS", "would you like some tea"])

    assert loud > 0.5 > quiet
    assert judge.styles("bosun", []) == []


def test_the_styles_of_a_text_over_all_classes_come_to_one():
    judge = Judge({"bosun": SHOUTS, NOBODY: SAYS})

    whole = sum(judge.styles(name, ["All hands to tea"])[0] for name in ("bosun", NOBODY))

    assert whole == pytest.approx(1, abs=2e-6)


def test_accuracy_is_of_texts_that_were_not_shown_and_has_the_commonest_class_beside_it():
    found = Judge({"bosun": SHOUTS, NOBODY: SAYS[:5]}).accuracy(seed=0)

    assert found["n"] == 11
    assert found["chance"] == round(6 / 11, 6)
    assert found["value"] > found["chance"]
    right = 6 * found["by_class"]["bosun"] + 5 * found["by_class"][NOBODY]
    assert found["value"] == pytest.approx(right / 11, abs=1e-6)
    assert found["low"] <= found["value"] <= found["high"]


def test_texts_that_say_nothing_of_their_author_are_told_apart_no_better_than_by_chance():
    found = Judge({"one": ["the same"] * 10, "other": ["the same"] * 10}).accuracy(seed=0)

    assert found["value"] == found["chance"] == 0.5


@pytest.mark.parametrize(
    ("texts", "told"),
    [({"bosun": SHOUTS}, "takes two classes"), ({"bosun": SHOUTS, NOBODY: SAYS[:4]}, "nobody: 4 texts are too few")],
)
def test_too_little_to_learn_from_is_an_error(texts, told):
    with pytest.raises(UserError, match=told):
        Judge(texts)


def test_a_file_that_is_not_there_is_named_with_the_setting(tmp_path):
    with pytest.raises(UserError, match="away.txt: cannot be read.*score_ditto.texts"):
        learned({"bosun": str(tmp_path / "away.txt")}, str(tmp_path / "away.txt"))
