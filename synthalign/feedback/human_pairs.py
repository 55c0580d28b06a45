"""Read a file of people's preferences as comparisons.

    {"prompt": "Where does the red fox live?", "chosen": "In the forest.", "rejected": "Who knows."}

Each of the three is a text or a conversational list of messages, as in most preference data sets of the hub.
"""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from synthalign.core import json_lines
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.core.tables import Row
from synthalign.dialogue.chat import Message
from synthalign.feedback.comparisons import text_of


def load(file: Path, *, feedback: str) -> list[Row]:
    """The pairs of a .jsonl or .parquet file as rows of a comparisons table.

    A pair that is there twice counts once, one with equal sides not at all. UserError names the file and the place of
    a pair that is not usable.
    """
    rows: dict[str, Row] = {}
    for place, pair in _given(file):
        prompt = _messages(pair, "prompt", "user", place)
        chosen = _messages(pair, "chosen", "assistant", place)
        rejected = _messages(pair, "rejected", "assistant", place)
        query_id = content_id("human", *(message["content"] for message in prompt))
        chosen_id, rejected_id = (content_id("human", query_id, text_of(side)) for side in (chosen, rejected))
        if chosen_id != rejected_id:
            comparison_id = content_id("comparison", chosen_id, rejected_id)
            rows[comparison_id] = {
                "comparison_id": comparison_id,
                "query_id": query_id,
                "prompt": prompt,
                "chosen": chosen,
                "rejected": rejected,
                "chosen_id": chosen_id,
                "rejected_id": rejected_id,
                "chosen_config": "human",
                "rejected_config": "human",
                "chosen_finish_reason": None,
                "rejected_finish_reason": None,
                "feedback": feedback,
                "p_chosen": 1.0,
            }
    return list(rows.values())


def _given(file: Path) -> list[tuple[str, Any]]:
    """The pairs with their places."""
    if file.suffix != ".parquet":
        return [(f"{file}, line {number}", pair) for number, pair in json_lines.entries(file, "pair")]
    try:
        rows = pq.read_table(file).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors too
        raise UserError(f"{file}: cannot be read as preferences: {error}") from error
    return [(f"{file}, row {number}", pair) for number, pair in enumerate(rows, start=1)]


def _messages(pair: Any, side: str, role: str, place: str) -> list[Message]:
    value = pair.get(side) if isinstance(pair, dict) else None
    if isinstance(value, str) and value.strip():
        return [{"role": role, "content": value}]
    if isinstance(value, list) and value and all(isinstance(message, dict) for message in value):
        messages = [{"role": message.get("role"), "content": message.get("content")} for message in value]
        if all(isinstance(text, str) and text.strip() for message in messages for text in message.values()):
            return messages
    raise UserError(f"{place}: {side!r} is {value!r}; it must be a text or a list of messages with role and content")
