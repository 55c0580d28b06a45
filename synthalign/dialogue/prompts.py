"""The dialogues that answers are sampled for: mined queries, or a file of one's own with earlier turns in it.

{"messages": [{"role": "user", "content": "Tell me a story outline about a lighthouse."}]}
{"messages": [{"role": "user", …}, {"role": "assistant", …}, {"role": "user", …}]}
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthalign.core import json_lines
from synthalign.core.errors import UserError, each
from synthalign.core.ids import content_id
from synthalign.dialogue import chat, transcripts
from synthalign.dialogue.chat import Message


def load(file: str | Path) -> dict[str, list[Message]]:
    """The dialogues of a file by query id, each ending with the user; UserError names the wrong lines."""

    def dialogue(numbered: tuple[int, Any]) -> list[Message]:
        number, entry = numbered
        return _checked(entry.get("messages") if isinstance(entry, dict) else None, f"{file}, line {number}")

    dialogues = each(json_lines.entries(Path(file), "dialogue"), dialogue)
    found = {content_id("query", *(message["content"] for message in messages)): messages for messages in dialogues}
    if not found:
        raise UserError(f"{file}: no dialogues; write one a line, or name data/queries.parquet")
    return found


def _checked(given: Any, place: str) -> list[Message]:
    messages = transcripts.messages(given, place, begins="user", ends="user")
    for number, message in enumerate(messages, start=1):
        if marker := chat.marker_in(message["content"]):
            raise UserError(
                f"{place}, message {number}: the text brings {marker!r}, which marks turns; make each turn "
                "a message of its own"
            )
    return messages


def expression(text: str) -> re.Pattern[str]:
    """What a text says as a regular expression; ValueError when it is none, as settings are refused."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error}); null takes all") from error


def chosen(dialogues: Mapping[str, list[Message]], *, matching: str | None, most: int) -> dict[str, list[Message]]:
    """At most `most` of the dialogues whose last message holds the regular expression, in the order of their ids.

    Ids are hashes of the content, so their order is a draw that does not change when others come or go. UserError when
    none is left.
    """
    wanted = expression(matching or "")
    kept = {key: messages for key, messages in sorted(dialogues.items()) if wanted.search(messages[-1]["content"])}
    if not kept:
        raise UserError(f"none of {len(dialogues)} prompts holds matching = {matching!r}; null takes all")
    return dict(list(kept.items())[:most])
