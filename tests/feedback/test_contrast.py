"""Contrasting prompts, the answers to them, and the files of phrases."""

import difflib
import re
from pathlib import Path

import pytest

from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.feedback import contrast
from world.wording import DESCRIPTORS

FILES = {"general": "data/general/contrast_affixes.yaml", "embedded": "data/embedded/contrast_affixes.yaml"}
LONGER = {"general": (4, 0.5), "embedded": (5, 4)}
"""Characters by which a pair, and all pairs on average, may differ; the embedded world has few words to choose from."""
PHRASES = ("kind and helpful", "unhelpful and harmful")
QUESTION = [{"role": "user", "content": "How do I rob the baker?"}]
DIALOGUE = [
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "Ask me."},
    *QUESTION,
]


# -- prompts (check 5)


def test_the_phrase_stands_before_the_colon_of_the_last_marker():
    assert contrast.prompt(QUESTION, PHRASES, "chosen") == (
        "Human: How do I rob the baker?\n\nAssistant (kind and helpful):"
    )
    assert contrast.prompt(QUESTION, PHRASES, "rejected") == (
        "Human: How do I rob the baker?\n\nAssistant (unhelpful and harmful):"
    )


def test_earlier_turns_of_the_assistant_have_the_opposite_polarity():
    assert contrast.prompt(DIALOGUE, PHRASES, "chosen") == (
        "Human: Hello.\n\n"
        "Assistant (unhelpful and harmful): Good day.\n\n"
        "Human: And now?\n\n"
        "Assistant (unhelpful and harmful): Ask me.\n\n"
        "Human: How do I rob the baker?\n\n"
        "Assistant (kind and helpful):"
    )


@pytest.mark.parametrize("messages", [QUESTION, DIALOGUE])
def test_two_sides_differ_inside_the_brackets_alone_and_without_them_are_the_bare_prompt(messages):
    sides = [contrast.prompt(messages, PHRASES, side) for side in contrast.SIDES]

    assert sides[0] != sides[1]
    bare = {re.sub(r" \([^)]*\)", "", side) for side in sides}
    assert bare == {chat.prompt(messages)} == {contrast.prompt(messages, None, "chosen")}


def test_a_lead_in_is_where_every_reply_begins():
    begun = contrast.prompt(QUESTION, PHRASES, "chosen", "First, mix")

    assert begun == contrast.prompt(QUESTION, PHRASES, "chosen") + " First, mix"


def test_one_place_is_drawn_for_a_prompt_whatever_else_is_drawn_and_all_places_come_up():
    places = [contrast.draw(16, seed=3, row=f"q{number}") for number in range(4000)]

    assert places == [contrast.draw(16, seed=3, row=f"q{number}") for number in range(4000)]
    counts = [places.count(place) for place in range(16)]
    assert min(counts) > 250 - 4 * 16 and max(counts) < 250 + 4 * 16  # sqrt(4000 / 16) is about 16


def test_both_sides_share_the_place_and_equal_phrases_make_one_prompt():
    task = contrast.Task(positive=["a", "b"], negative=["c", "d"])

    assert task.phrases(1, "opposite") == ("b", "d")
    assert task.phrases(1, "equal") == ("b", "b")
    assert task.phrases(1, "none") is None


# -- answers (check 6)


@pytest.mark.parametrize(
    "text, finish_reason, expected",
    [
        (" I will not.", "stop", ("I will not.", None)),
        (" I will not.", "eos", ("I will not.", None)),
        (" I will", "length", ("I will", "missing_stop")),
        ("", "error", ("", "not_finite")),
        ("  \n", "stop", ("", "empty")),
        ("\n\nAssistant: Yes.", "eos", ("Yes.", None)),
        (" Assistant (kind and helpful): Yes.", "eos", ("Yes.", None)),
        (" Yes.\nHuman: And?", "eos", ("Yes.", None)),
        (" Yes.\nNo. Human: And?", "eos", ("Yes.", None)),
        (" Yes. Human: And?", "eos", ("Yes.", "marker_in_line")),
        ("\nHuman: And?", "eos", ("", "empty")),
        (" Yes.\n**Human:** And?", "eos", ("Yes.", None)),
        (' Yes.\n"Human: And?', "eos", ("Yes.", None)),
        (" Yes. (I think.) Human: And?", "eos", ("Yes. (I think.)", "marker_in_line")),
        (" Head Cook: Bob\nShop Assistant: Ann", "eos", ("Head Cook: Bob\nShop Assistant: Ann", None)),
        (" Be a Human: help others.", "eos", ("Be a Human: help others.", None)),
        (" Yes.\nHuman: And? I wou", "length", ("Yes.", None)),
        (" Yes.\n-----", "eos", ("Yes.", None)),
        (" Yes.\n-----\nHuman: And?", "stop", ("Yes.", None)),
        ("\n-----", "stop", ("", "empty")),
        (" To err is Human, and no Assistant does it.", "eos", ("To err is Human, and no Assistant does it.", None)),
        (" I (unhelpful and harmful) say no.", "eos", ("I (unhelpful and harmful) say no.", "affix_in_text")),
        (" Assistant: I will", "length", ("I will", "missing_stop")),
        (" I am unhelpful and harmful.", "eos", ("I am unhelpful and harmful.", None)),
    ],
)  # fmt: skip
def test_an_answer_is_cut_at_markers_and_dropped_with_a_reason(text, finish_reason, expected):
    cleaned = contrast.clean(text, finish_reason, "unhelpful and harmful")

    assert (cleaned.text, cleaned.reason) == expected


def test_an_answer_that_repeats_either_phrase_of_its_dialogue_gives_the_label_away():
    said = [contrast.clean(f"I was ({word}) now.", "eos", "kind", "rude") for word in ("kind", "rude", "other")]

    assert [one.reason for one in said] == ["affix_in_text", "affix_in_text", None]


def test_every_reason_is_listed():
    made = [("", "error"), ("a", "length"), ("a. Human: b", "eos"), ("", "eos"), ("(x) b", "eos")]

    assert tuple(contrast.clean(text, reason, "x").reason for text, reason in made) == contrast.REASONS


# -- files of phrases


@pytest.mark.parametrize(
    "text, told",
    [
        ("harmless: {positive: [a, b], negative: [c]}", "harmless: Value error, 2 positive and 1 negative phrases"),
        ("harmless: {positive: [], negative: []}", "harmless.positive = \\[\\]: List should have at least 1 item"),
        ("harmless: {positive: [a]}", "harmless.negative: Field required"),
        ("harmless: {positive: ['a (b)'], negative: [c]}", r"the phrase 'a \(b\)'; allowed: one line without brackets"),
        ("harmless: {positive: ['a:'], negative: [c]}", "the phrase 'a:'; allowed"),
        ("harmless: {positive: [3], negative: [c]}", "positive.0 = 3: Input should be a valid string"),
        ("helpful: {positive: [a], negative: [b]}", "has no task 'harmless'; it has helpful"),
        ("just words", "has no keys; compare with data/general/contrast_affixes.yaml"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_file_is_told_with_its_key(tmp_path, text, told):
    file = tmp_path / "affixes.yaml"
    file.write_text(text)

    with pytest.raises(UserError, match=told) as caught:
        contrast.load(file, "harmless")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("world", FILES)
@pytest.mark.parametrize("task", ["harmless", "helpful", "outline"])
def test_the_two_phrases_of_a_place_are_alike_in_form_and_length(world, task):
    given = contrast.load(FILES[world], task)
    pairs = list(zip(given.positive, given.negative, strict=True))

    for positive, negative in pairs:
        assert len(positive.split()) == len(negative.split())
        assert abs(len(positive) - len(negative)) <= LONGER[world][0]
        assert positive.count(",") == negative.count(",")
        small = re.compile(r"\b(?:a|an|of|and|that|is|for|very|reply|outline|person|the|premise)\b")
        assert small.findall(positive) == small.findall(negative)
        assert positive != negative
    similarity = [difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs]
    assert min(similarity) >= 0.4 and sum(similarity) / len(similarity) >= 0.6
    mean = sum(len(negative) - len(positive) for positive, negative in pairs) / len(pairs)
    assert abs(mean) <= LONGER[world][1]


def test_general_english_has_16_harmlessness_1_helpfulness_and_3_outline_pairs():
    counts = {task: len(contrast.load(FILES["general"], task).positive) for task in ("harmless", "helpful", "outline")}

    assert counts == {"harmless": 16, "helpful": 1, "outline": 3}
    assert re.search(r"\n1\.$", contrast.load(FILES["general"], "outline").lead_in)
    assert len(set(contrast.load(FILES["general"], "harmless").positive)) == 16


def test_phrases_of_the_embedded_world_are_words_its_models_have_read():
    good = {*DESCRIPTORS["faithful"], *DESCRIPTORS["plain"]}
    for task in ("harmless", "helpful", "outline"):
        given = contrast.load(FILES["embedded"], task)
        assert set(given.positive) <= good
        assert set(given.negative) <= set(DESCRIPTORS["rude"])


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml: cannot be read"):
        contrast.load(Path(tmp_path / "nowhere.yaml"), "harmless")
