"""Dialogues in which models play both sides: who says what next, and which candidate becomes the assistant's turn.

Guided by a reward model this is RMSP, without one and with one candidate it is the Self-Play baseline (ALMoST section
2.2). What models say and how a reward model scores it comes from outside; here it becomes dialogues.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa

from synthalign.core import measures
from synthalign.core.ids import content_id
from synthalign.core.tables import MESSAGES, Row
from synthalign.dialogue import chat
from synthalign.dialogue.chat import Message

CANDIDATES = pa.schema(
    [
        ("query_id", pa.string()),
        ("turn", pa.int64()),
        ("sample_index", pa.int64()),
        ("text", pa.string()),
        ("reward", pa.float64()),
        ("is_best", pa.bool_()),
    ]
)
"""Everything that the assistant could have said; the reward is NULL where no reward model was asked."""

DEMONSTRATIONS = pa.schema(
    [("demonstration_id", pa.string()), ("query_id", pa.string()), ("messages", MESSAGES), ("reward", pa.float64())]
)
"""What was said; the reward is that of the last answer."""


def best(texts: Sequence[str], rewards: Sequence[float] | None) -> int:
    """The place of the best candidate: the highest reward among those that say anything, the first of equals.

    Without rewards (Self-Play) it is the first that says anything; when none does, place 0.
    """
    usable = [place for place, text in enumerate(texts) if text.strip()] or [0]
    if rewards is None:
        return usable[0]
    return max(usable, key=lambda place: (rewards[place], -place))


def user_prompt(messages: Sequence[Message]) -> str:
    """What a model continues as the user who answers the assistant's last message; no blank at its end."""
    return f"{chat.dialogue(messages)}{chat.TURN}{chat.HUMAN}"


class Play:
    """Dialogues by query id, from the query on: the assistant's turns are 1, 3, ..., the user's 2, 4, ..."""

    def __init__(self, queries: Mapping[str, str]) -> None:
        self.dialogues: dict[str, list[Message]] = {
            query: [{"role": "user", "content": text}] for query, text in queries.items()
        }
        self.candidates: list[Row] = []
        """Rows of `CANDIDATES`."""

        self.open = list(queries)
        """The queries whose dialogues go on."""

        self._rewards: dict[str, float | None] = {}

    def prompts(self, turn: int) -> list[str]:
        """What the speaker of the turn continues, for every open dialogue in its order."""
        prompt = chat.prompt if turn % 2 else user_prompt
        return [prompt(self.dialogues[query]) for query in self.open]

    def options(self, texts: Mapping[str, Sequence[str]]) -> list[list[Message]]:
        """The open dialogues with each of the assistant's candidates, for a reward model to score."""
        return [
            [*self.dialogues[query], {"role": "assistant", "content": text}]
            for query in self.open
            for text in texts[query]
        ]

    def ask(self, texts: Mapping[str, str]) -> None:
        """The user asks on; a user who says nothing ends the dialogue."""
        for query in self.open:
            if texts[query]:
                self.dialogues[query].append({"role": "user", "content": texts[query]})
        self.open = [query for query in self.open if self.dialogues[query][-1]["role"] == "user"]

    def answer(self, turn: int, texts: Mapping[str, Sequence[str]], rewards: Sequence[float] | None) -> None:
        """The assistant answers with the best candidate; when none says anything, the dialogue ends before it.

        rewards  of `options(texts)`, in their order; None without a reward model
        """
        scores = iter(rewards or [])
        for query in self.open:
            worth = None if rewards is None else [round(next(scores), 6) for _ in texts[query]]
            chosen = best(texts[query], worth)
            for index, text in enumerate(texts[query]):
                row = {"query_id": query, "turn": turn, "sample_index": index, "text": text}
                self.candidates.append(row | {"reward": worth[index] if worth else None, "is_best": index == chosen})
            if texts[query][chosen]:
                self.dialogues[query].append({"role": "assistant", "content": texts[query][chosen]})
                self._rewards[query] = worth[chosen] if worth else None
        self.open = [query for query in self.open if self.dialogues[query][-1]["role"] == "assistant"]

    def demonstrations(self, guide: str) -> list[Row]:
        """Rows of `DEMONSTRATIONS`: every dialogue up to its last answer, those without an answer left out."""
        rows = []
        for query, messages in self.dialogues.items():
            said = messages if messages[-1]["role"] == "assistant" else messages[:-1]
            if said:
                name = content_id("demonstration", guide, query, *(message["content"] for message in said))
                row = {"demonstration_id": name, "query_id": query, "messages": said}
                rows.append(row | {"reward": self._rewards[query]})
        return rows


def summary(play: Play) -> dict[str, Any]:
    """How many dialogues, how long, and the mean reward of the best of 1, 2, ... candidates for the first answer."""
    kept = [messages for messages in play.dialogues.values() if len(messages) > 1]
    answers = [message["content"] for messages in kept for message in messages if message["role"] == "assistant"]
    values: dict[str, Any] = {
        "queries": len(play.dialogues),
        "demonstrations": len(kept),
        "utterances": round(fmean(map(len, kept)), 3),
        "characters": round(fmean(map(len, answers)), 3),
    }
    first: dict[str, list[float]] = {}
    for row in play.candidates:
        if row["turn"] == 1 and row["reward"] is not None:
            first.setdefault(row["query_id"], []).append(row["reward"])
    if first:
        values["reward_of_best_of"] = {
            str(n): round(fmean(measures.expected_best(rewards, rewards, n) for rewards in first.values()), 6)
            for n in range(1, len(next(iter(first.values()))) + 1)
        }
    return values
