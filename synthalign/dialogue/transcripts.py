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
    """What is well formed is no dialogue.

    str(error)  why, the same words for all of the kind
    where       the place within, as `message 2 (user)`; may be empty
    """

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.where = where


def messages(value: Any, place: str, *, begins: str | None = None, ends: str) -> list[Message]:
    """A list of messages with our roles; UserError, with place, number and value, unless user and assistant take turns.

    begins, ends  the roles of the first and the last message; without `begins` a system message may come first

    Keys beside role and content are left out.
    """
    found = listed(value, place)
    if turn := out_of_turn(found, begins):
        number, wanted = turn
        first = f", the {begins} first" if begins else ""
        raise UserError(
            f"{place}, message {number}: role is {_role(value[number - 1])!r} where {wanted!r} must come; user and "
            f"assistant take turns{first}"
        )
    for number, message in enumerate(found, start=1):
        if not message["content"].strip():
            said, role = message["content"], message["role"]
            raise UserError(f"{place}, message {number}: content is {said!r}; write the {role}'s text")
    if (last := found[-1]["role"]) != ends:
        step = {"assistant": "add the assistant's answer", "user": "leave out what it shall be answered with"}[ends]
        raise UserError(f"{place}: the dialogue ends with the {last}; {step}")
    return found


def listed(value: Any, place: str) -> list[Message]:
    """A list of messages with our roles, in whatever order; UserError, with place, number and value, where it is none.

    A content may be blank.  Keys beside role and content are left out.
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
        if role not in ROLES:
            known = ", ".join([*ROLES, *SHAREGPT])
            raise UserError(f"{at}: role is {role!r}; allowed: {known}")
        if not isinstance(content, str):
            raise UserError(f"{at}: content is {content!r}; write the {role}'s text")
        found.append({"role": role, "content": content})
    return found


def _role(given: Any) -> Any:
    return given["role"] if "role" in given else given["from"]


def out_of_turn(found: Sequence[Message], begins: str | None = None) -> tuple[int, str] | None:
    """The number of the first message that is not of the role whose turn it is, and that role; None where all are."""
    wanted = begins
    for number, message in enumerate(found, start=1):
        if wanted is not None and message["role"] != wanted:
            return number, wanted
        wanted = {"system": "user", "user": "assistant", "assistant": "user"}[message["role"]]
    return None


def in_turns(found: list[Message]) -> list[Message]:
    """The same messages; NoDialogue with the first that does not take turns, where one does not."""
    if turn := out_of_turn(found):
        number, _ = turn
        before, role = (message["role"] for message in found[number - 2 : number])
        reason = "one side has two turns in a row"
        if role == "system":
            reason = "a system message is not the first"
        elif before == "system":
            reason = "the conversation begins with the assistant"
        raise NoDialogue(reason, f"message {number} ({role})")
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
    return full(in_turns([{"role": role, "content": said} for role, said in zip(roles, contents, strict=True)]))


def full(found: list[Message]) -> list[Message]:
    """The same messages; NoDialogue with the first that says nothing, where one does."""
    for number, message in enumerate(found, start=1):
        if not message["content"].strip():
            raise NoDialogue("a turn is empty", f"message {number} ({message['role']})")
    return found


def begins_with_a_marker(text: str) -> bool:
    """Whether a text is written with our markers: a whole dialogue, or a turn of one."""
    return text.lstrip().startswith((chat.HUMAN, chat.ASSISTANT))


def without_cue(text: str) -> str:
    """A prompt without the `Assistant:` at its end, which waits for the answer."""
    return re.sub(rf"\s*{chat.ASSISTANT}\s*\Z", "", text)


def stripped(conversation: Sequence[Message]) -> list[Message]:
    """The messages without blanks around their contents, as every model reads them."""
    return [message | {"content": message["content"].strip()} for message in conversation]
