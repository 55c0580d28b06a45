"""Demonstrations for few-shot prompts: a JSON-lines file of dialogues, checked when it is read.

    {"system": "A conversation between a person and a helpful assistant."}
    {"messages": [{"role": "user", "content": "Why is the sky blue?"}, {"role": "assistant", "content": "Because …"}]}
    {"conversations": [{"from": "human", "value": "Why is the sky blue?"}, {"from": "gpt", "value": "Because …"}]}

The first line may be a system paragraph; every other line is a dialogue, with our names or with those of ShareGPT.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthalign.core import json_lines
from synthalign.core.errors import UserError
from synthalign.dialogue import chat, transcripts
from synthalign.dialogue.chat import Message

KEYS = ("messages", "conversations")

MARKS = (chat.HUMAN, chat.ASSISTANT, chat.SEPARATOR.strip())
"""What no text of a demonstration may hold."""


@dataclass(frozen=True)
class Demonstrations:
    system: str
    """A paragraph in front of the dialogues; empty when there is none."""

    dialogues: list[list[Message]]
    path: str = ""

    def take(self, n: int) -> list[list[Message]]:
        """The first n dialogues, always the same ones: none for 0, UserError for more than there are.

        (In the released code of ALMoST 0 shots means all of them.)
        """
        if n < 0 or n > len(self.dialogues):
            raise UserError(
                f"{self.path}: shots = {n}, but it has {len(self.dialogues)} dialogues; lower `shots`, or add dialogues"
            )
        return self.dialogues[:n]


def load(path: str | Path) -> Demonstrations:
    """Read and check a file of demonstrations; UserError names its first wrong line."""
    system = ""
    dialogues: list[list[Message]] = []
    for number, entry in json_lines.entries(Path(path), "dialogue"):
        place = f"{path}, line {number}"
        if not isinstance(entry, dict) or len(entry) != 1 or not entry.keys() <= {"system", *KEYS}:
            found = sorted(entry) if isinstance(entry, dict) else str(entry)[:60]
            raise UserError(f"{place}: {found!r} where one key, messages (or system in line 1), is allowed")
        if "system" in entry:
            if number != 1:
                raise UserError(f"{place}: a system paragraph can only be the first line; move it up")
            if not isinstance(entry["system"], str):
                raise UserError(f"{place}: system is {entry['system']!r}; write it as text in quotes")
            if marker := chat.marker_in(entry["system"]):
                raise UserError(f"{place}: system brings {marker!r}, which marks turns; write it otherwise")
            system = entry["system"]
        else:
            [given] = entry.values()
            dialogues.append(_dialogue(given, place))
    return Demonstrations(system, dialogues, str(path))


def prefix(path: str | None, shots: int) -> str:
    """The few-shot text of the first `shots` dialogues of a file; empty without a file or shots."""
    if path is None:
        if shots:
            raise UserError(f"shots = {shots} without a file of demonstrations; name one, or set shots to 0")
        return ""
    given = load(path)
    return chat.few_shot(given.system, given.take(shots))


def _dialogue(given: Any, place: str) -> list[Message]:
    messages = transcripts.messages(given, place, begins="user", ends="assistant")
    for number, message in enumerate(messages, start=1):
        if marks := [mark for mark in MARKS if mark in message["content"]]:
            raise UserError(
                f"{place}, message {number}: the text holds {marks[0]!r}, which marks turns in the prompt; write it "
                "otherwise"
            )
    return messages
