"""The dialogues that answers are sampled for: mined queries, or a file of one's own with earlier turns in it.

{"messages": [{"role": "user", "content": "Tell me a story outline about a lighthouse."}]}
{"messages": [{"role": "user", …}, {"role": "assistant", …}, {"role": "user", …}]}
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthalign.core import json_lines
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.dialogue.chat import Message


def load(file: str | Path) -> dict[str, list[Message]]:
    """The dialogues of a file by query id, each ending with the user; UserError names the first wrong line."""
    found: dict[str, list[Message]] = {}
    for number, entry in json_lines.entries(Path(file), "dialogue"):
        messages = _checked(entry.get("messages") if isinstance(entry, dict) else None, f"{file}, line {number}")
        found[content_id("query", *(message["content"] for message in messages))] = messages
    if not found:
        raise UserError(f"{file}: no dialogues; write one a line, or name data/queries.parquet")
    return found


def _checked(messages: Any, place: str) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise UserError(f"{place}: messages is {str(messages)[:60]!r}; write a list of messages")
    for turn, message in enumerate(messages):
        role = ("user", "assistant")[turn % 2]
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, str) or not content.strip() or message.get("role") != role:
            raise UserError(f"{place}, message {turn + 1}: {str(message)[:60]!r}; the {role} must say something here")
    if len(messages) % 2 == 0:
        raise UserError(f"{place}: the dialogue ends with the assistant, so nothing is left to answer")
    return messages


def chosen(dialogues: Mapping[str, list[Message]], *, matching: str | None, most: int) -> dict[str, list[Message]]:
    """At most `most` of the dialogues whose last message holds the regular expression, in the order of their ids.

    Ids are hashes of the content, so their order is a draw that does not change when others come or go. UserError when
    none is left, or the expression is none.
    """
    try:
        wanted = re.compile(matching or "")
    except re.error as error:
        raise UserError(f"matching = {matching!r} is no regular expression ({error}); null takes all") from error
    kept = {key: messages for key, messages in sorted(dialogues.items()) if wanted.search(messages[-1]["content"])}
    if not kept:
        raise UserError(f"none of {len(dialogues)} prompts holds matching = {matching!r}; null takes all")
    return dict(list(kept.items())[:most])
