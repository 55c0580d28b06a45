import pytest

from synthalign.feedback.filters import REASONS, reject_reason

CASES = {
    # reason: (a text that has it, the nearest text that has none)
    "too_short": ("It is red it is.", "It is red, it is red."),  # 16 and 21 characters, where 20 are asked for
    "ends_with_question_or_colon": ("Why do you want to know that?", "Why do you want to know that!"),
    "starts_with_well": ("WELL, it may live in a forest.", "Wellington lies by the sea there."),
    "no_final_stop": ("The red fox lives in the forest and", "The red fox lives in the forest and."),
    "does_not_know": ("I do not know where it lives.", "I do not say where it lives."),
    "human_marker": ("It eats berries. Human: And then.", "It eats berries. A human: and then."),
    "image_tag": ("Look at it: <img src=fox.png> here.", "Look at it: imagine a red fox here."),
}


@pytest.mark.parametrize("hyphen", "-\u2010\u2011")
def test_a_word_that_begins_with_well_and_a_hyphen_is_no_dodge(hyphen):
    assert reject_reason(f"Well{hyphen}known foxes live in the forest.", min_characters=20) is None
    assert reject_reason("Well \u2014 foxes live in the forest.", min_characters=20) == "starts_with_well"


def test_every_reason_has_a_case():
    assert set(CASES) == set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_a_response_is_rejected_for_the_reason_it_has(reason):
    with_it, without_it = CASES[reason]

    assert reject_reason(with_it, min_characters=20) == reason
    assert reject_reason(without_it, min_characters=20) is None


@pytest.mark.parametrize(
    "text", ["I don't know that animal.", "I don\u2019t know that animal.", "We DO NOT KNOW that animal."]
)
def test_not_knowing_is_found_with_any_apostrophe_and_case(text):
    assert reject_reason(text, min_characters=20) == "does_not_know"


@pytest.mark.parametrize("text", ["See ![a fox](fox.png) and go.", "See <IMAGE src=x> and then go."])
def test_a_picture_is_found_in_html_and_in_markdown(text):
    assert reject_reason(text, min_characters=20) == "image_tag"


def test_a_colon_at_the_end_is_an_announcement():
    assert reject_reason("Here are the three steps:", min_characters=20) == "ends_with_question_or_colon"


def test_the_first_reason_that_holds_is_the_one_given():
    assert reject_reason("Well?", min_characters=20) == "too_short"  # of three that hold
    assert reject_reason("Well, why do you ask me that?", min_characters=20) == "ends_with_question_or_colon"
    assert reject_reason("Well, I do not know that", min_characters=20) == "starts_with_well"


def test_the_length_asked_for_is_enough_and_blanks_do_not_count():
    assert reject_reason("a" * 49 + ".", min_characters=50) is None  # 50 >= 50
    assert reject_reason("a" * 48 + ".  \n ", min_characters=50) == "too_short"  # 49 < 50
    assert reject_reason("   ", min_characters=1) == "too_short"


@pytest.mark.parametrize(
    "text",
    [
        "它住在森林里。", "森に住む．", "森に住む｡", "太好了！", "वह जंगल में रहता है।", "وہ جنگل میں رہتا ہے۔",
        "「森に住んでいます。」", "『森。』）", "Sie sagte: „Er lebt im Wald.“", "« Il vit dans la forêt. »",
        "Он живёт в лесу…", "She said “yes.”", "It is here (see above.)", 'It is "here."',
        "သူသည်တောတွင်နေသည်။", "Նա ապրում է անտառում։",
        "มันอาศัยอยู่ในป่า",  # Thai has no full stop
    ],
)  # fmt: skip
def test_a_sentence_ends_with_the_mark_of_its_script_behind_which_quotes_and_brackets_close(text):
    assert reject_reason(text, min_characters=1) is None


@pytest.mark.parametrize("text", ["它住在森林里", "Он живёт в", "वह जंगल में", "「森に」", "He said (as above)", "“”"])
def test_a_closing_bracket_or_letter_alone_is_no_end(text):
    assert reject_reason(text, min_characters=1) == "no_final_stop"


@pytest.mark.parametrize("text", ["它住在哪里？", "أين يعيش؟", "步骤如下：", "「どこに？」", "Is it “there?”"])
def test_a_question_or_an_announcement_is_one_in_any_script(text):
    assert reject_reason(text, min_characters=1) == "ends_with_question_or_colon"
