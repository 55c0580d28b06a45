"""From text to the tokens that every sampler, trainer and reward model reads: prompt, answer, end of sequence.

    [BOS] Human: What does the red fox eat?\n\nAssistant: | The red fox eats berries. [EOS]

`tokenize` is the only call of a tokenizer in the library and the stages, so that a policy is asked with the tokens that
it was trained on.
"""

import json
import re
import warnings
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
    answers = [unmarked(tokenizer, answer) for _, answer in parts]
    wholes = [text + chat.completion(answer) for text, answer in zip(prompts, answers, strict=True)]
    encoded = []
    for place, (before, tokens) in enumerate(
        zip(tokenize(tokenizer, prompts), tokenize(tokenizer, wholes), strict=True)
    ):
        same = 0
        while same < min(len(before), len(tokens)) and before[same] == tokens[same]:
            same += 1
        answer = tokens[same:]
        encoded.append(
            (tokens[:same], ended(tokenizer, answer) if not answer or ends is None or ends[place] else answer)
        )
    return encoded


def fitting(
    tokenizer: PreTrainedTokenizerBase,
    dialogues: Sequence[Sequence[Message]],
    max_length: int,
    ends: Sequence[bool] | None = None,
) -> list[Encoded]:
    """The dialogues as tokens (see `encode`), each at most `max_length`: a longer prompt is `cut`, a dialogue whose
    answer leaves no room for a prompt is left out."""
    keep = len(opening(tokenizer))
    rooms = ((prompt, answer, max_length - len(answer)) for prompt, answer in encode(tokenizer, dialogues, ends))
    return [(cut(prompt, room, keep), answer) for prompt, answer, room in rooms if room > keep]


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of each text behind those that the tokenizer puts before every text, a BOS or nothing.

    What it would add at the end is left off: after an EOS a policy has nothing to say, and a trainer adds its own. What
    looks like one of its special tokens in a text is text: no `<s>` of a person's question begins a document.
    """
    if not texts:
        return []
    begin = opening(tokenizer)
    rows = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        truncation=False,
        padding=False,
        verbose=False,
    )["input_ids"]
    return [begin + row for row in rows]


def continued(tokenizer: PreTrainedTokenizerBase, prefix: str, suffixes: Sequence[str]) -> list[list[int]]:
    """Tokens of prefix + suffix for each of the suffixes, as `tokenize` gives them.

    The prefix is read once, up to its last line that begins with a letter, where no token of the vocabulary goes from
    one line into the next.  Only what follows is read with every suffix.  The whole prefix, the longest and the
    shortest text are read as wholes too, and a tokenizer that says otherwise there reads all of them as wholes.
    """
    texts = [prefix + suffix for suffix in suffixes]
    starts = [place.start() for place in LINE.finditer(prefix)]
    if not starts or len(suffixes) < MANY:
        return tokenize(tokenizer, texts)
    start = starts[-1]
    over = tuple(end + prefix[start] for end in ("\n", "\u010a"))  # in a vocabulary of bytes a newline is U+010A
    if any(pair in token for token in tokenizer.get_vocab() for pair in over):
        return tokenize(tokenizer, texts)
    begin = len(opening(tokenizer))
    tried = [prefix, max(texts, key=len), min(texts, key=len)]
    whole = tokenize(tokenizer, tried)
    last, *rest = (row[begin:] for row in tokenize(tokenizer, [text[start:] for text in tried + texts]))
    before = whole[0][: len(whole[0]) - len(last)]
    rows = [before + row for row in [last, *rest]]
    return rows[len(tried) :] if rows[: len(tried)] == whole else tokenize(tokenizer, texts)


LINE = re.compile(r"(?<=\n)(?=[A-Za-z])")
"""Where a line begins with a letter: every pattern that tokenizers divide texts by ends a word there."""

MANY = 32
"""From so many suffixes on it pays to look through the vocabulary."""


def opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that the tokenizer itself puts before every text: its BOS, as a rule, or none."""
    whole, bare = (tokenizer(chat.ASSISTANT, add_special_tokens=added)["input_ids"] for added in (True, False))
    places = range(len(whole) - len(bare) + 1)
    return next((list(whole[:at]) for at in places if whole[at : at + len(bare)] == bare), [])


def unmarked(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text without the tokenizer's EOS at its end, where its writer wrote that out: the token comes by itself."""
    marked = text.rstrip()
    return marked.removesuffix(tokenizer.eos_token) if marked.endswith(tokenizer.eos_token) else text


def ended(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> list[int]:
    """The tokens with one EOS at the end."""
    end = tokenizer.eos_token_id
    return [*tokens] if tokens and tokens[-1] == end else [*tokens, end]


def cut(tokens: Sequence[int], most: int, keep: int) -> list[int]:
    """At most `most` tokens: the first `keep`, which are the tokenizer's `opening`, and the last of the others."""
    if len(tokens) <= most:
        return [*tokens]
    keep = min(keep, most)
    return [*tokens[:keep], *tokens[len(tokens) - (most - keep) :]]


def chat_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template with which `apply_chat_template` gives the tokens of `encode`: `chat.CHAT_TEMPLATE` behind the
    tokenizer's `opening`.

    A tokenizer that marks the beginning of a word, as Llama 2's does, may leave the mark off behind a special token;
    there a blank follows it. Warns where neither gives those tokens.
    """
    begin = opening(tokenizer)
    if not begin:
        return chat.CHAT_TEMPLATE
    text = json.dumps("".join(tokenizer.convert_ids_to_tokens(begin)), ensure_ascii=False)
    name = "bos_token" if begin == [tokenizer.bos_token_id] else text
    messages = [{"role": "user", "content": "Why?"}]
    [wanted] = tokenize(tokenizer, [chat.prompt(messages)])
    templates = [f"{{{{ {name}{blank} }}}}{chat.CHAT_TEMPLATE}" for blank in ("", " + ' '")]
    for template in templates:
        given = tokenizer.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, return_dict=False
        )
        if given == wanted:
            return template
    warnings.warn(
        f"{tokenizer.name_or_path}: no chat template gives the tokens of training; send its servers the prompt as text",
        stacklevel=2,
    )
    return templates[0]


def is_exact(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer's own chat template gives the tokens of `encode`, on a dialogue of four messages."""
    asked = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Why is the sky blue?\nAnd at night?"},
        {"role": "assistant", "content": "Air scatters blue light."},
        {"role": "user", "content": "Who said so, in 1871?"},
    ]
    whole = [*asked, {"role": "assistant", "content": "Lord Rayleigh did."}]
    prompt, answer = encode(tokenizer, [whole])[0]
    opened = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    taught = tokenizer.apply_chat_template(whole, return_dict=False)
    return taught == prompt + answer and opened == tokenize(tokenizer, [chat.prompt(asked)])[0]
