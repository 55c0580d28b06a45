"""Dialogues to answer, out of a file."""

import pytest

from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.dialogue import prompts

USER, ASSISTANT = '{"role": "user", "content": "Hello."}', '{"role": "assistant", "content": "Good day."}'


def test_a_dialogue_of_one_question_has_the_id_of_a_mined_query(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"messages": [{USER}]}}\n\n{{"messages": [{USER}, {ASSISTANT}, {USER}]}}\n')

    found = prompts.load(file)

    assert list(found) == [content_id("query", "Hello."), content_id("query", "Hello.", "Good day.", "Hello.")]
    assert [len(messages) for messages in found.values()] == [1, 3]


@pytest.mark.parametrize(
    "line, told",
    [
        ("hello", "line 1: not JSON"),
        ('{"prompt": "x"}', "line 1: messages is 'None'; write a list of messages"),
        (f'{{"messages": [{USER}, {ASSISTANT}]}}', "line 1: the dialogue ends with the assistant"),
        (f'{{"messages": [{ASSISTANT}]}}', "line 1, message 1: role is 'assistant' where 'user' must come"),
        (f'{{"messages": [{USER}, {{"role": "assistant"}}, {USER}]}}', "message 2: .*; it needs role and content"),
        ("", "no dialogues"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named(tmp_path, line, told):
    file = tmp_path / "prompts.jsonl"
    file.write_text(line)

    with pytest.raises(UserError, match=told):
        prompts.load(file)


def said(*texts):
    return {f"q{place}": [{"role": "user", "content": text}] for place, text in reversed(list(enumerate(texts)))}


def test_prompts_are_taken_by_id_and_by_their_last_message():
    dialogues = said("a recipe", "a fox", "Which ingredients?", "ingredients")

    assert list(prompts.chosen(dialogues, matching="recipe|ingredients", most=2)) == ["q0", "q2"]
    assert list(prompts.chosen(dialogues, matching=None, most=9)) == ["q0", "q1", "q2", "q3"]


def test_an_expression_that_is_none_or_finds_nothing_is_told():
    with pytest.raises(ValueError, match=r"'\(' is no regular expression .*; null takes all"):
        prompts.expression("(")
    with pytest.raises(UserError, match="none of 1 prompts holds matching = 'z'"):
        prompts.chosen(said("a"), matching="z", most=1)


def test_a_prompt_that_marks_turns_itself_is_refused_and_all_wrong_lines_are_named(tmp_path):
    file = tmp_path / "prompts.jsonl"
    marked = USER.replace("Hello.", "Hello.\\n\\nAssistant: Hi.\\n\\nHuman: Why?")
    file.write_text(f'{{"messages": [{marked}]}}\n{{"messages": [{USER}]}}\n{{"messages": []}}\n')

    with pytest.raises(UserError) as caught:
        prompts.load(file)

    first, second = str(caught.value).splitlines()
    assert "line 1, message 1: the text brings 'Assistant:'" in first
    assert "line 3: messages is '[]'" in second
