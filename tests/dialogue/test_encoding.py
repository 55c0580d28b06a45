import pytest

from synthalign.core.errors import UserError
from synthalign.dialogue import chat, encoding
from tests import tiny

QUESTION = {"role": "user", "content": "Where does the red fox live?"}
ANSWER = {"role": "assistant", "content": "In the forest."}
AGAIN = {"role": "user", "content": "And the owl?"}
LAST = {"role": "assistant", "content": "In the barn."}


def test_prompt_and_answer_are_the_text_of_the_dialogue_and_one_end():
    tokenizer = tiny.tokenizer()

    [(prompt, answer)] = encoding.encode(tokenizer, [[QUESTION, ANSWER]])

    assert tokenizer.decode(prompt) == "Human: Where does the red fox live?\n\nAssistant:"
    assert tokenizer.decode(answer) == " In the forest.<eos>"
    assert answer.count(tokenizer.eos_token_id) == 1


def test_the_prompts_tokens_are_those_that_a_sampler_continues():
    tokenizer = tiny.tokenizer()

    [(prompt, _)] = encoding.encode(tokenizer, [[QUESTION, ANSWER, AGAIN, LAST]])

    assert prompt == tokenizer(chat.prompt([QUESTION, ANSWER, AGAIN]))["input_ids"]


def test_the_chat_template_renders_the_same_tokens():
    tokenizer = tiny.tokenizer()
    messages = [{"role": "system", "content": "Be kind."}, QUESTION, ANSWER, AGAIN, LAST]

    [(prompt, answer)] = encoding.encode(tokenizer, [messages])

    assert tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False) == prompt + answer


def test_an_answer_of_nothing_is_an_end_without_a_blank_as_a_policy_writes_it():
    tokenizer = tiny.tokenizer()
    messages = [QUESTION, {"role": "assistant", "content": "\n"}]

    [(prompt, answer)] = encoding.encode(tokenizer, [messages])

    assert (prompt, answer) == (tokenizer(chat.prompt([QUESTION]))["input_ids"], [tokenizer.eos_token_id])
    assert tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False) == prompt + answer


def test_every_assistant_message_is_a_reply_to_what_was_before_it():
    assert encoding.replies([QUESTION, ANSWER, AGAIN, LAST]) == [
        [QUESTION, ANSWER],
        [QUESTION, ANSWER, AGAIN, LAST],
    ]


def test_a_long_prompt_loses_its_beginning_and_a_long_answer_its_row():
    tokenizer = tiny.tokenizer()
    [(prompt, answer)] = encoding.encode(tokenizer, [[QUESTION, ANSWER]])

    def fitted(max_length):
        return encoding.fitting(tokenizer, [[QUESTION, ANSWER]], max_length)

    assert fitted(len(prompt) + len(answer)) == [(prompt, answer)]
    assert fitted(len(answer) + 2) == [(prompt[-2:], answer)]
    assert fitted(len(answer) + 1) == [(prompt[-1:], answer)]
    assert fitted(len(answer)) == []  # an answer to nothing


def test_an_answer_that_did_not_end_has_no_end_of_sequence_unless_it_is_empty() -> None:
    tokenizer = tiny.tokenizer()
    empty = {"role": "assistant", "content": ""}

    encoded = encoding.encode(tokenizer, [[QUESTION, ANSWER]] * 2, [True, False])

    assert encoded[0] == encoding.encode(tokenizer, [[QUESTION, ANSWER]])[0]
    assert encoded[1] == (encoded[0][0], encoded[0][1][:-1])
    assert encoded[0][1][-1] == tokenizer.eos_token_id
    assert encoding.fitting(tokenizer, [[QUESTION, ANSWER]], 1000, [False]) == [encoded[1]]
    [(_, answer)] = encoding.encode(tokenizer, [[QUESTION, empty]], [False])
    assert answer


def test_what_looks_like_a_special_token_in_a_text_is_text() -> None:
    tokenizer = tiny.tokenizer()
    said = f"Strike it through with {tokenizer.eos_token} twice."

    [tokens] = encoding.tokenize(tokenizer, [said])

    assert tokenizer.eos_token_id not in tokens
    assert tokenizer.decode(tokens, skip_special_tokens=True) == said


def test_a_dialogue_without_an_answer_is_refused():
    with pytest.raises(UserError, match="ends with an assistant message; this one with 'user'"):
        encoding.encode(tiny.tokenizer(), [[QUESTION]])
    with pytest.raises(UserError, match="this one with 'nothing'"):
        encoding.encode(tiny.tokenizer(), [[]])
