"""One way from text to tokens: what a model is asked with begins what it was trained on, whatever a tokenizer adds."""

import ast
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from synthalign.dialogue import chat, encoding
from synthalign.feedback import option_tokens
from synthalign.generation import generate
from synthalign.generation.models import load_tokenizer
from synthalign.judging import benchmark_models
from synthalign.policies import dpo_training, prompting, rrhf_sources
from synthalign.reward import packing, pairwise, scoring
from tests import tiny

SYSTEM = {"role": "system", "content": " Be kind.\n"}
QUESTION = {"role": "user", "content": "\n Where does the red fox live? "}
ANSWER = {"role": "assistant", "content": " In the forest.\n\n"}
AGAIN = {"role": "user", "content": "And the owl?"}
LAST = {"role": "assistant", "content": "In the barn."}
PAIR = {"prompt": [QUESTION], "chosen": [LAST], "rejected": [LAST]}
PAIR |= {"chosen_finish_reason": None, "rejected_finish_reason": None}
DIALOGUES = [[QUESTION, ANSWER], [SYSTEM, QUESTION, ANSWER], [SYSTEM, QUESTION, ANSWER, AGAIN, LAST]]

ADDS = pytest.mark.parametrize("bos, eos", [(False, False), (True, False), (False, True), (True, True)])
"""What the tokenizer adds to every text."""


def marking(*, scheme: str) -> PreTrainedTokenizerFast:
    """A tokenizer of Llama 2's kind: BOS, and ▁ for blanks and, by the scheme, before a text's first word."""
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    trained.decoder = decoders.Metaspace(prepend_scheme=scheme)
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    trained.train_from_iterator(
        tiny.TEXT, trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    trained.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=trained, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@ADDS
def test_the_tokens_of_a_text_begin_as_the_tokenizer_begins_and_do_not_end(bos: bool, eos: bool) -> None:
    tokenizer = tiny.tokenizer(bos=bos, eos=eos)
    plain = tokenizer("The fox.", add_special_tokens=False)["input_ids"]

    assert encoding.tokenize(tokenizer, ["The fox.", ""]) == [[tokenizer.bos_token_id] * bos + plain, [2] * bos]
    assert tokenizer("The fox.")["input_ids"] == [2] * bos + plain + [0] * eos  # what others would train on


@ADDS
@pytest.mark.parametrize("messages", DIALOGUES)
def test_what_a_model_is_asked_with_is_what_its_training_begins_with(
    messages: list[chat.Message], bos: bool, eos: bool
) -> None:
    tokenizer = tiny.tokenizer(bos=bos, eos=eos)
    asked = chat.prompt(messages[:-1])

    [(prompt, answer)] = encoding.encode(tokenizer, [messages])

    shared, [own] = generate.tokenize(tokenizer, "", [asked])
    behind, [rest] = generate.tokenize(tokenizer, asked[:9], [asked[9:]])
    assert shared + own == behind + rest == prompt
    assert option_tokens.resolve(tokenizer, asked, ["A", "B"])[0] == prompt
    assert scoring.encode(tokenizer, messages) == prompt + answer
    assert answer.count(0) == 1 and 0 not in prompt


@ADDS
def test_the_prompts_of_ppo_groups_and_rrhf_are_those_of_sft(bos: bool, eos: bool) -> None:
    tokenizer = tiny.tokenizer(bos=bos, eos=eos)
    [(prompt, answer)] = encoding.encode(tokenizer, [[AGAIN, LAST]])
    row = {"query_id": "q", "sample_index": 0, "text": LAST["content"], "reward": 1.0, "finish_reason": "eos"}

    [made] = prompting.make_prompts([("q", AGAIN["content"])], tokenizer, longest=100)
    [query] = rrhf_sources.from_table([row], [made], tokenizer).values()
    [shown] = rrhf_sources.table([row], tokenizer)

    assert made.token_ids == query.prompt == prompt
    assert query.responses == [answer]
    assert shown["tokens"] == len(answer)
    assert prompting.make_prompts([("q", AGAIN["content"])], tokenizer, longest=len(prompt) - 1) == []


def test_an_end_that_the_text_brings_is_not_written_twice() -> None:
    tokenizer = tiny.tokenizer()

    marked, plain = ({"role": "assistant", "content": text} for text in ("So.<eos>\n", "So."))

    assert encoding.encode(tokenizer, [[QUESTION, marked]]) == encoding.encode(tokenizer, [[QUESTION, plain]])
    assert encoding.encode(tokenizer, [[QUESTION, plain]])[0][1].count(tokenizer.eos_token_id) == 1


# ------------------------------------------------------------------------------------------------ the chat template


@ADDS
@pytest.mark.parametrize("messages", DIALOGUES)
def test_a_server_sends_the_tokens_of_training(
    messages: list[chat.Message], bos: bool, eos: bool, tmp_path: Path
) -> None:
    folder = tiny.save(tmp_path / "model", tiny.causal(), tiny.tokenizer(bos=bos, eos=eos))
    tokenizer = load_tokenizer(folder)
    [(prompt, answer)] = encoding.encode(tokenizer, [messages])

    asked = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template(messages, return_dict=False)

    assert asked == prompt
    assert whole == prompt + answer


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_a_tokenizer_that_marks_words_gets_a_template_with_the_mark(scheme: str) -> None:
    tokenizer = marking(scheme=scheme)
    tokenizer.chat_template = encoding.chat_template(tokenizer)
    [(prompt, _)] = encoding.encode(tokenizer, [DIALOGUES[2]])

    asked = tokenizer.apply_chat_template(DIALOGUES[2][:-1], add_generation_prompt=True, return_dict=False)

    assert asked == prompt
    assert prompt[0] == tokenizer.bos_token_id


@ADDS
@pytest.mark.parametrize("prefix", ["Be kind.\n\nHuman: Why?\n\n", "Be kind.\n\nHuman: Why", "", "Human", "Human:\n\n"])
def test_a_prefix_that_is_read_once_has_with_each_suffix_the_tokens_of_the_whole_text(
    prefix: str, bos: bool, eos: bool
) -> None:
    tokenizer = tiny.tokenizer(bos=bos, eos=eos)
    suffixes = [f"{'owl ' * (row % 3)}{row}{end}" for row in range(encoding.MANY) for end in ("", "\n", "?\n\nHuman:")]

    made = encoding.continued(tokenizer, prefix, [*suffixes, "", "\n", " \n x"])

    assert made == encoding.tokenize(tokenizer, [prefix + suffix for suffix in [*suffixes, "", "\n", " \n x"]])


def test_where_a_token_goes_from_one_line_into_the_next_every_text_is_read_whole() -> None:
    lines = Tokenizer(models.BPE(unk_token="<unk>"))  # of whole texts: merges cross lines
    lines.train_from_iterator(
        ["a\nHuman", "b\nHuman"] * 9, trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=lines, unk_token="<unk>")
    suffixes = ["an"] * encoding.MANY

    made = encoding.continued(tokenizer, "a\nHum", suffixes)

    assert made == encoding.tokenize(tokenizer, ["a\nHuman"] * encoding.MANY)
    assert any("\nH" in token for token in tokenizer.convert_ids_to_tokens(made[0]))


def test_the_template_of_a_tokenizer_without_bos_is_the_plain_one() -> None:
    assert encoding.chat_template(tiny.tokenizer(eos=True)) == chat.CHAT_TEMPLATE
    assert encoding.chat_template(tiny.tokenizer(bos=True)) == "{{ bos_token }}" + chat.CHAT_TEMPLATE


def test_tokens_before_a_text_that_no_text_makes_are_told() -> None:
    tokenizer = tiny.tokenizer()
    blank = tokenizer.convert_tokens_to_ids("Ġ")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="Ġ $A", special_tokens=[("Ġ", blank)]
    )

    with pytest.warns(UserWarning, match="no chat template gives the tokens of training"):
        encoding.chat_template(tokenizer)

    assert encoding.tokenize(tokenizer, [""]) == [[blank]]


def test_a_model_is_saved_with_our_template_whatever_it_came_with(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    folder = tiny.save(tmp_path / "model", tiny.causal(), tokenizer)

    assert load_tokenizer(folder).chat_template == chat.CHAT_TEMPLATE


def test_the_template_refuses_a_role_that_training_refuses() -> None:
    with pytest.raises(Exception, match="allowed roles: system, user, assistant"):
        tiny.tokenizer().apply_chat_template([{"role": "tool", "content": "12"}])


# ------------------------------------------------------------------------------------------------ cutting


def test_a_text_that_is_cut_keeps_its_beginning_of_text() -> None:
    assert encoding.cut([2, 5, 6, 7], 4, keep=1) == [2, 5, 6, 7]
    assert encoding.cut([2, 5, 6, 7], 3, keep=1) == [2, 6, 7]
    assert encoding.cut([2, 5, 6, 7], 1, keep=1) == [2]
    assert encoding.cut([5, 6, 7, 8], 2, keep=0) == [7, 8]
    assert encoding.cut([5, 6, 7, 8], 0, keep=1) == []


@pytest.mark.parametrize("bos", [False, True])
def test_every_trainer_and_reward_model_cuts_a_long_prompt_behind_its_bos(bos: bool) -> None:
    tokenizer = tiny.tokenizer(bos=bos)
    messages = [QUESTION, LAST]
    [(prompt, answer)] = encoding.encode(tokenizer, [messages])
    pair = PAIR | {"p_chosen": 1.0}
    begin, longest = [2] * bos, len(answer) + 3 + bos
    kept = [*begin, *prompt[-3:]]

    assert encoding.fitting(tokenizer, [messages], longest) == [(kept, answer)]
    assert scoring.encode(tokenizer, messages, longest) == kept + answer
    assert packing.cut(prompt, answer, longest, bos) == (tuple(kept), tuple(answer))
    [row] = pairwise.tokenized([pair], tokenizer, longest)
    assert row["chosen_ids"] == row["rejected_ids"] == kept + answer
    [row] = dpo_training.tokenized([pair], tokenizer, longest)
    assert (row["prompt_ids"], row["chosen_ids"]) == (kept, answer)


@pytest.mark.parametrize("bos", [False, True])
def test_a_prompt_of_nothing_but_bos_is_no_prompt(bos: bool) -> None:
    tokenizer = tiny.tokenizer(bos=bos)
    [(_, answer)] = encoding.encode(tokenizer, [[QUESTION, LAST]])

    assert encoding.fitting(tokenizer, [[QUESTION, LAST]], len(answer) + bos) == []
    assert dpo_training.tokenized([PAIR], tokenizer, len(answer) + bos) == []


def test_an_answer_longer_than_the_context_is_scored_behind_bos() -> None:
    assert packing.cut([2, 5], [6, 7, 8, 0], 3, keep=1) == ((2,), (8, 0))
    assert packing.cut([5, 6], [7, 8, 9, 0], 3, keep=0) == ((), (8, 9, 0))


def test_the_probability_of_a_continuation_is_that_behind_bos_also_when_its_prefix_is_cut() -> None:
    tokenizer = tiny.tokenizer(bos=True, eos=True)
    model = tiny.causal(max_position_embeddings=12)
    prefix, end = "The red fox lives in the forest and the owl in the barn.", " It is old."
    whole = encoding.tokenize(tokenizer, [prefix + end])[0]
    added = len(whole) - len(encoding.tokenize(tokenizer, [prefix])[0])
    row = [2, *whole[-11:]]

    [found] = benchmark_models.continuation_log_probs(model, tokenizer, [(prefix, end)], batch_size=1)

    [scores] = benchmark_models.token_log_probs(model, [row], pad_token_id=1, batch_size=1)
    assert 1 < added < 11
    assert found == pytest.approx(float(scores[-added:].sum()))


# ------------------------------------------------------------------------------------------------ nobody else does it


def test_no_other_place_in_the_library_and_the_stages_calls_a_tokenizer() -> None:
    found = [
        f"{file}:{call.lineno}"
        for folder in ("synthalign", "stages")
        for file in sorted(Path(folder).rglob("*.py"))
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and calls_a_tokenizer(ast.unparse(call.func))
    ]

    assert {place.split(":")[0] for place in found} == {"synthalign/dialogue/encoding.py"}


def calls_a_tokenizer(name: str) -> bool:
    """Whether a call of this name turns text into tokens: a tokenizer itself, or one of its methods."""
    owner, _, method = name.rpartition(".")
    if owner.endswith("tokenizer"):
        return method in ("encode", "encode_plus", "batch_encode_plus", "tokenize", "apply_chat_template")
    return method in ("tokenizer", "judge_tokenizer")
