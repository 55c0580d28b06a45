"""Conversations as people's files have them: lists of messages, and texts with our own markers in them.

[{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
[{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}]             ShareGPT
"\\n\\nHuman: Hi.\\n\\nAssistant: Hello."                                               HH-RLHF
"""

import re
from collections.abc import Sequence
from typing import Any

from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.dialogue.chat import Message

SHAREGPT = {"human": "user", "gpt": "assistant"}
"""What ShareGPT's names for the two say in ours."""

ROLES = ("system", "user", "assistant")


class NoDialogue(Exception):
    """A text with markers is no dialogue; the message says why, the same words for all texts of the kind."""


def messages(value: Any, place: str, *, begins: str | None = None, ends: str) -> list[Message]:
    """A list of messages with our roles; UserError, with place, number and value, unless user and assistant take turns.

    begins, ends  the roles of the first and the last message; without `begins` a system message may come first

    Keys beside role and content are left out.
    """
    if not isinstance(value, list) or not value:
        raise UserError(f"{place}: messages is {str(value)[:60]!r}; write a list of messages")
    found: list[Message] = []
    for number, given in enumerate(value, start=1):
        at = f"{place}, message {number}"
        names = ("from", "value") if isinstance(given, dict) and "role" not in given else ("role", "content")
        if not isinstance(given, dict) or not given.keys() >= {*names}:
            raise UserError(f"{at}: {str(given)[:60]!r}; it needs role and content")
        role, content = (given[name] for name in names)
        role = SHAREGPT.get(role, role) if isinstance(role, str) else role
        before = found[-1]["role"] if found else None
        if role not in ROLES:
            known = ", ".join([*ROLES, *SHAREGPT])
            raise UserError(f"{at}: role is {role!r}; allowed: {known}")
        wanted = {None: begins, "system": "user", "user": "assistant", "assistant": "user"}[before]
        if wanted is not None and role != wanted:
            first = f", the {begins} first" if begins else ""
            raise UserError(
                f"{at}: role is {given[names[0]]!r} where {wanted!r} must come; user and assistant take turns{first}"
            )
        if not isinstance(content, str) or not content.strip():
            raise UserError(f"{at}: content is {content!r}; write the {role}'s text")
        found.append({"role": role, "content": content})
    if (last := found[-1]["role"]) != ends:
        step = {"assistant": "add the assistant's answer", "user": "leave out what it shall be answered with"}[ends]
        raise UserError(f"{place}: the dialogue ends with the {last}; {step}")
    return found


def parsed(text: str) -> list[Message]:
    """The messages of a text that begins with a marker; each content without blanks around it.

    NoDialogue unless the two take turns and say something each.
    """
    before, *parts = re.split(rf"{chat.TURN}({chat.HUMAN}|{chat.ASSISTANT})", f"{chat.TURN}{text.strip()}")
    roles = ["user" if marker == chat.HUMAN else "assistant" for marker in parts[::2]]
    contents = [said.strip() for said in parts[1::2]]
    if before.strip() or not roles:
        raise NoDialogue("text stands before the first marker")
    if any(role == following for role, following in zip(roles, roles[1:], strict=False)):
        raise NoDialogue("one side has two turns in a row")
    if not all(contents):
        raise NoDialogue("a turn is empty")
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]


def begins_with_a_marker(text: str) -> bool:
    """Whether a text is written with our markers: a whole dialogue, or a turn of one."""
    return text.lstrip().startswith((chat.HUMAN, chat.ASSISTANT))


def without_cue(text: str) -> str:
    """A prompt without the `Assistant:` at its end, which waits for the answer."""
    return re.sub(rf"\s*{chat.ASSISTANT}\s*\Z", "", text)


def stripped(conversation: Sequence[Message]) -> list[Message]:
    """The messages without blanks around their contents, as every model reads them."""
    return [message | {"content": message["content"].strip()} for message in conversation]
