"""From a dialogue to the tokens that every trainer and reward model reads: prompt, answer, end of sequence."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.dialogue.chat import Message

Encoded = tuple[list[int], list[int]]
"""The tokens of the prompt, and those of the answer with the end-of-sequence token where it has one."""


def split(messages: Sequence[Message]) -> tuple[list[Message], str]:
    """The context and the answer of a dialogue; UserError unless its last message is an assistant's."""
    if not messages or messages[-1]["role"] != "assistant":
        last = messages[-1]["role"] if messages else "nothing"
        raise UserError(f"a dialogue to train on or to score ends with an assistant message; this one with {last!r}")
    return list(messages[:-1]), messages[-1]["content"]


def replies(messages: Sequence[Message]) -> list[list[Message]]:
    """One dialogue for each assistant message, ending with it: what a policy has to write, given what was before."""
    return [list(messages[: place + 1]) for place, message in enumerate(messages) if message["role"] == "assistant"]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    dialogues: Sequence[Sequence[Message]],
    ends: Sequence[bool] | None = None,
) -> list[Encoded]:
    """Tokenize dialogues that end with an answer.

    ends  whether each answer is followed by the end-of-sequence token (`endings`); None: all are. An answer without
          any other token always is.

    Prompt and answer are tokenized as one text, so that tokens are those of the whole; the answer begins
    where the prompt's own tokens end or, with a tokenizer that merges across that border, differ.
    """
    parts = [split(messages) for messages in dialogues]
    prompts = [chat.prompt(context) for context, _ in parts]
    wholes = [text + chat.completion(answer) for text, (_, answer) in zip(prompts, parts, strict=True)]
    encoded = []
    for place, (before, tokens) in enumerate(
        zip(tokenize(tokenizer, prompts), tokenize(tokenizer, wholes), strict=True)
    ):
        same = 0
        while same < min(len(before), len(tokens)) and before[same] == tokens[same]:
            same += 1
        answer, end = tokens[same:], [tokenizer.eos_token_id]
        encoded.append((tokens[:same], answer + end if not answer or ends is None or ends[place] else answer))
    return encoded


def fitting(
    tokenizer: PreTrainedTokenizerBase,
    dialogues: Sequence[Sequence[Message]],
    max_length: int,
    ends: Sequence[bool] | None = None,
) -> list[Encoded]:
    """The dialogues as tokens (see `encode`), each at most `max_length`: a longer prompt loses its beginning, a
    dialogue whose answer leaves no room for a prompt is left out."""
    rooms = ((prompt, answer, max_length - len(answer)) for prompt, answer in encode(tokenizer, dialogues, ends))
    return [(prompt[-room:], answer) for prompt, answer, room in rooms if room > 0]


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of each text, less an end-of-sequence token that the tokenizer adds by itself."""
    if not texts:
        return []
    rows = tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
    return [row[:-1] if row and row[-1] == tokenizer.eos_token_id else row for row in rows]
