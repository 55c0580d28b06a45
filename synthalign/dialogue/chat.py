"""The one dialogue format: few-shot prompts, trained policies, reward models and evaluation all read and write it.

    Human: What does the red fox eat?

    Assistant: The red fox eats berries.

The released code of ALMoST leaves the "Human:" marker out of the reward model's input and not out of the policy's;
here every model sees the same text.
"""

import re
from collections.abc import Sequence

from synthalign.core.errors import UserError

Message = dict[str, str]

HUMAN = "Human:"
ASSISTANT = "Assistant:"
TURN = "\n\n"
SEPARATOR = "\n\n-----\n\n"
STOPS = (f"{TURN}{HUMAN}", f"{TURN}{ASSISTANT}", f"{TURN}-----")
"""Where an answer of a model that was never taught to stop has gone too far."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if not loop.first %}{{ '\n\n' }}{% endif %}"
    "{% set text = message['content'] | trim %}"
    "{% if message['role'] == 'system' %}{{ text }}"
    "{% elif message['role'] == 'user' %}{{ 'Human: ' + text }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant:' + (' ' + text if text or not loop.last else '') }}"
    "{% if loop.last %}{{ eos_token }}{% endif %}"
    "{% else %}{{ raise_exception('allowed roles: system, user, assistant') }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}"
)
"""The same text as `prompt` and `completion`, for tools that go through the tokenizer and its chat template.

They add no special tokens of their own, so `encoding.chat_template` puts a tokenizer's BOS in front of it."""


def dialogue(messages: Sequence[Message]) -> str:
    """The messages as text, without an end mark."""
    marker = {"system": "", "user": f"{HUMAN} ", "assistant": f"{ASSISTANT} "}
    for message in messages:
        if message["role"] not in marker:
            raise UserError(f"a message has the role {message['role']!r}; allowed: {', '.join(marker)}")
    return TURN.join(marker[message["role"]] + message["content"].strip() for message in messages)


def prompt(messages: Sequence[Message]) -> str:
    """What a model continues to answer the last message; no blank at its end."""
    return f"{dialogue(messages)}{TURN}{ASSISTANT}"


def completion(answer: str) -> str:
    """An answer as it follows `prompt`, nothing for an empty one: a policy that says nothing writes no blank either.

    The caller appends the end-of-sequence token.
    """
    return f" {answer.strip()}" if answer.strip() else ""


def few_shot(system: str, dialogues: Sequence[Sequence[Message]]) -> str:
    """The demonstrations in front of a prompt for a vanilla model; empty when there are none."""
    paragraph = f"{system.strip()}{SEPARATOR}" if system.strip() and dialogues else ""
    return paragraph + "".join(dialogue(messages) + SEPARATOR for messages in dialogues)


def marker_in(text: str) -> str | None:
    """The first marker of a turn that a text itself brings, at its beginning or after a blank line; None if none.

    A model would take it for the beginning of another turn.
    """
    found = re.search(f"{TURN}({HUMAN}|{ASSISTANT})", TURN + text.strip())
    return found[1] if found else None


def clean(text: str) -> str:
    """The answer in what a model wrote: all before the first sign of another turn, without rules at its end.

    Pretrained models put a rule of their own before the next turn, as often right below the text as after a blank line,
    or its marker on the next line, in quotes or bold.
    """
    return RULES.sub("", text[: _end(text)]).strip()


def ended(text: str, finish_reason: str) -> tuple[str, str]:
    """The answer in what a model wrote, and how it ended: by `stop` where another turn began, whatever followed."""
    return clean(text), finish_reason if _end(text) is None else "stop"


def _end(text: str) -> int | None:
    """Where another turn begins; None where the answer is all."""
    ends = [text.find(stop) for stop in STOPS if stop in text] + [found.start() for found in MARKED.finditer(text)]
    return min(ends, default=None)


MARKED = re.compile(f"\n[ \\t]*[\"'*_]*({HUMAN}|{ASSISTANT})")
RULES = re.compile(r"((^|\n)[ \t]*-{3,}\s*)+$")
