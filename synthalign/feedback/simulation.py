"""Dialogues in which models play both sides: who says what next, and which candidate becomes the assistant's turn.

Guided by a reward model this is RMSP, without one and with one candidate it is the Self-Play baseline (ALMoST section
2.2). What models say and how a reward model scores it comes from outside; here it becomes dialogues.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import pyarrow as pa

from synthalign.core import measures
from synthalign.core.ids import content_id
from synthalign.core.tables import MESSAGES, Row
from synthalign.dialogue import chat, endings
from synthalign.dialogue.chat import Message

CANDIDATES = pa.schema(
    [
        ("query_id", pa.string()),
        ("turn", pa.int64()),
        ("sample_index", pa.int64()),
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("reward", pa.float64()),
        ("is_best", pa.bool_()),
    ]
)
"""Everything that the assistant could have said; the reward is NULL where no reward model was asked."""

DEMONSTRATIONS = pa.schema(
    [
        ("demonstration_id", pa.string()),
        ("query_id", pa.string()),
        ("messages", MESSAGES),
        ("finish_reason", pa.string()),
        ("reward", pa.float64()),
        ("taught", pa.int64()),
    ]
)
"""What was said; finish_reason (NULL: a person's) and reward are those of the last answer, all before it ended.

taught  how many answers, the last ones, are to be learned; NULL for all
"""


class Said(NamedTuple):
    """What a speaker said, and how it ended (`endings`)."""

    text: str
    finish_reason: str


def worth(one: Said, reward: float) -> tuple[bool, bool, float]:
    """What `best` goes by: what says anything before what does not, what ended before what was cut off, the reward."""
    spoken = bool(one.text.strip())
    return spoken, spoken and endings.is_whole(one.finish_reason), reward if spoken else 0.0


def best(said: Sequence[Said], rewards: Sequence[float] | None) -> int:
    """The place of the best candidate: the highest reward among those that say anything and ended, the first of equals.

    Without rewards (Self-Play) it is the first of them. When none ended, the best of those that were cut off; when
    none says anything, place 0.
    """
    places = range(len(said))
    return max(places, key=lambda place: (worth(said[place], rewards[place] if rewards else 0.0), -place))


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

        self.ended_early: Counter[str] = Counter()
        """Why dialogues did not go on: nothing_said or cut_off, with the speaker."""

        self._last: dict[str, tuple[str, float | None]] = {}

    def prompts(self, turn: int) -> list[str]:
        """What the speaker of the turn continues, for every open dialogue in its order."""
        prompt = chat.prompt if turn % 2 else user_prompt
        return [prompt(self.dialogues[query]) for query in self.open]

    def options(self, said: Mapping[str, Sequence[Said]]) -> list[list[Message]]:
        """The open dialogues with each of the assistant's candidates, for a reward model to score."""
        return [
            [*self.dialogues[query], {"role": "assistant", "content": one.text}]
            for query in self.open
            for one in said[query]
        ]

    def ask(self, said: Mapping[str, Said]) -> None:
        """The user asks on; a user who says nothing, or is cut off, ends the dialogue before that."""
        self.open = [query for query in self.open if self._goes_on("user", said[query])]
        for query in self.open:
            self.dialogues[query].append({"role": "user", "content": said[query].text})

    def answer(self, turn: int, said: Mapping[str, Sequence[Said]], rewards: Sequence[float] | None) -> None:
        """The assistant answers with the best candidate. When none says anything, the dialogue ends before it; when
        it was cut off, the dialogue ends with it.

        rewards  of `options(said)`, in their order; None without a reward model
        """
        scores = iter(rewards or [])
        going_on = []
        for query in self.open:
            worth = None if rewards is None else [round(next(scores), 6) for _ in said[query]]
            place = best(said[query], worth)
            for index, one in enumerate(said[query]):
                row = {"query_id": query, "turn": turn, "sample_index": index, **one._asdict()}
                self.candidates.append(row | {"reward": worth[index] if worth else None, "is_best": index == place})
            chosen = said[query][place]
            if chosen.text:
                self.dialogues[query].append({"role": "assistant", "content": chosen.text})
                self._last[query] = chosen.finish_reason, worth[place] if worth else None
            if self._goes_on("assistant", chosen):
                going_on.append(query)
        self.open = going_on

    def _goes_on(self, speaker: str, one: Said) -> bool:
        """Whether a dialogue goes on after this, counted where it does not."""
        if one.text and endings.is_whole(one.finish_reason):
            return True
        self.ended_early[f"{speaker}:{'cut_off' if one.text else 'nothing_said'}"] += 1
        return False

    def demonstrations(self, guide: str) -> list[Row]:
        """Rows of `DEMONSTRATIONS`: every dialogue up to its last answer, those without an answer left out."""
        rows = []
        for query, messages in self.dialogues.items():
            said = messages if messages[-1]["role"] == "assistant" else messages[:-1]
            if said:
                name = content_id("demonstration", guide, query, *(message["content"] for message in said))
                finish_reason, reward = self._last[query]
                row = {"demonstration_id": name, "query_id": query, "messages": said}
                rows.append(row | {"finish_reason": finish_reason, "reward": reward, "taught": None})
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
        "candidates_cut_off": sum(row["finish_reason"] == "length" for row in play.candidates),
        "ended_early": dict(play.ended_early),
    }
    first: dict[str, list[tuple[bool, bool, float]]] = {}
    rewards: dict[str, list[float]] = {}
    for row in play.candidates:
        if row["turn"] == 1 and row["reward"] is not None:
            first.setdefault(row["query_id"], []).append(worth(Said(row["text"], row["finish_reason"]), row["reward"]))
            rewards.setdefault(row["query_id"], []).append(row["reward"])
    if first:
        values["reward_of_best_of"] = {
            str(n): round(fmean(measures.expected_best(first[query], rewards[query], n) for query in first), 6)
            for n in range(1, len(next(iter(first.values()))) + 1)
        }
    return values
