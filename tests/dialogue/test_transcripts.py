import pytest

from synthalign.core.errors import UserError
from synthalign.dialogue import transcripts
from synthalign.dialogue.transcripts import NoDialogue


def said(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def test_the_names_of_sharegpt_are_ours():
    given = [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello.", "weight": 1}]

    assert transcripts.messages(given, "here", ends="assistant") == said(("user", "Hi."), ("assistant", "Hello."))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            said(("user", "a"), ("bing", "b")),
            "here, message 2: role is 'bing'; allowed: system, user, assistant",
        ),
        (said(("user", "a"), ("user", "b")), "here, message 2: role is 'user' where 'assistant' must come"),
        (said(("user", "a"), ("gpt", "b"), ("gpt", "c")), "here, message 3: role is 'gpt' where 'user' must come"),
        (said(("user", "a"), ("system", "b")), "here, message 2: role is 'system' where 'assistant' must come"),
        (said(("system", "a"), ("assistant", "b")), "here, message 2: role is 'assistant' where 'user' must come"),
        (said(("user", "a"), ("assistant", "b"), ("user", "c")), "here: the dialogue ends with the user; add the"),
        (said(("user", "a"), ("assistant", None)), "here, message 2: content is None; write the assistant's text"),
        ([{"from": "human"}], "here, message 1: .*; it needs role and content"),
        ([["user", "a"]], "here, message 1: .*; it needs role and content"),
        ([], "here: messages is .*; write a list of messages"),
    ],
)
def test_a_wrong_role_is_told_with_place_and_number(given, told):
    with pytest.raises(UserError, match=told):
        transcripts.messages(given, "here", ends="assistant")


def test_a_text_is_taken_apart_at_its_markers():
    text = "\n\nHuman: Hi:\n\nHow?\n\nAssistant:  So. \n\nHuman: The Human: sign?"

    messages = said(("user", "Hi:\n\nHow?"), ("assistant", "So."), ("user", "The Human: sign?"))
    assert transcripts.parsed(text) == messages
    assert transcripts.parsed(text.strip()) == messages
    for cue in ("\n\nAssistant:", "\nAssistant: ", " Assistant:\n"):
        assert transcripts.parsed(transcripts.without_cue(text + cue)) == messages


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Hello", "text stands before the first marker"),
        ("Hello\n\nHuman: a", "text stands before the first marker"),
        ("Human: a\n\nHuman: b", "one side has two turns in a row"),
        ("Human: a\n\nAssistant: ", "a turn is empty"),
    ],
)
def test_a_text_that_is_no_dialogue_says_why(text, reason):
    with pytest.raises(NoDialogue, match=reason):
        transcripts.parsed(text)
