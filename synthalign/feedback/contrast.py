"""RLCD's contrasting prompts: two prompts that differ in a phrase, one for more of an attribute, one for less.

    p    Human: How do I rob the baker?                p+   Human: How do I rob the baker?

         Assistant:                                         Assistant (kind and helpful):

The answer to p+ is preferred to the answer to p-, and nobody scores them: the label is how they were made.  What is
learned from is the bare prompt p with both answers.  Yang et al. 2023, "RLCD", sections 3 and 4, and its released code.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, RootModel, model_validator

from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.dialogue import chat
from synthalign.dialogue.chat import Message

Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")

Contrast = Literal["opposite", "equal", "none"]
"""opposite: p+ against p-, RLCD.  equal: p+ twice, its ablation.  none: p twice, two samples of one distribution."""

STOPS = (*chat.STOPS, f"{chat.TURN}{chat.ASSISTANT[:-1]} (")
"""Where an answer has gone too far: a next turn, with an affix or without."""

REASONS = ("not_finite", "missing_stop", "marker_in_line", "empty", "affix_in_text")
"""Every reason of `clean`, in the order in which they are tried."""

_MARKER = re.compile(
    r"(?:(?m:^)|(?<=[.!?:;…)\]\"'”’*_])(?=[^\S\n]))[^\S\n]*[\"'“‘*_]*(?:Human|Assistant)(?: \([^()\n]*\))?:"
)
"""The marker of a turn where a line begins, or after a sentence: "Shop Assistant: Ann" is words of an answer."""

_STRAY = re.compile(r"\s*Assistant(?: \([^()\n]*\))?:")


class Task(BaseModel, frozen=True, extra="forbid", strict=True):
    positive: list[str] = Field(min_length=1)
    """Phrases that ask for the attribute."""

    negative: list[str] = Field(min_length=1)
    """In the same places the phrases that ask for its opposite, as like the positive ones as can be."""

    lead_in: str = ""
    """What every reply to this task begins with, already written for the model; empty for none."""

    @model_validator(mode="after")
    def _phrases_are_paired(self) -> "Task":
        if len(self.positive) != len(self.negative):
            raise ValueError(
                f"{len(self.positive)} positive and {len(self.negative)} negative phrases; "
                "each positive needs the negative in its place"
            )
        for phrase in (*self.positive, *self.negative):
            if phrase != phrase.strip() or not phrase or re.search(r"[()\n:]", phrase):
                raise ValueError(f"the phrase {phrase!r}; allowed: one line without brackets, colons and outer blanks")
        return self

    def phrases(self, index: int, contrast: Contrast) -> tuple[str, str] | None:
        """The phrases of the chosen and of the rejected side; None where both are answers to the bare prompt."""
        if contrast == "none":
            return None
        return self.positive[index], (self.negative if contrast == "opposite" else self.positive)[index]


class Affixes(RootModel[dict[str, Task]], frozen=True):
    """A file of affixes: its tasks by name."""


def load(file: str | Path, task: str) -> Task:
    """One task of a file of affixes; UserError names what is wrong with the file, or its tasks."""
    tasks = yaml_file.read(file, Affixes, example="data/general/contrast_affixes.yaml").root
    if task not in tasks:
        raise UserError(f"{file}: has no task {task!r}; it has {', '.join(tasks)}")
    return tasks[task]


def draw(count: int, *, seed: int, row: str) -> int:
    """A place among `count`, drawn uniformly by the seed and the row's id alone; both sides of a pair share it."""
    return int(content_id(seed, "affix", row), 16) % count


def prompt(messages: Sequence[Message], phrases: tuple[str, str] | None, side: Side, lead_in: str = "") -> str:
    """What the model continues for one side of a pair.

    messages  the dialogue, ending with the user
    phrases   of the chosen and the rejected side; None for the bare prompt

    The phrase stands in brackets before the colon of the last marker. Earlier turns of the assistant have the *other*
    side's phrase, so that the last turn is a visible change of behaviour (released code). Without the brackets the text
    is that of `chat.prompt`, and then the lead-in.
    """
    own, other = (phrases if side == "chosen" else phrases[::-1]) if phrases else ("", "")
    turns = [
        f"{chat.HUMAN} {message['content'].strip()}"
        if message["role"] == "user"
        else f"{marker(other)} {message['content'].strip()}"
        for message in messages
    ]
    return chat.TURN.join([*turns, marker(own)]) + (f" {lead_in}" if lead_in else "")


def marker(phrase: str) -> str:
    """The assistant's marker with a phrase before its colon."""
    return f"{chat.ASSISTANT[:-1]} ({phrase}):" if phrase else chat.ASSISTANT


@dataclass(frozen=True)
class Cleaned:
    text: str
    """The answer without what the model wrote around it."""

    reason: str | None
    """One of REASONS when it must not be used, else None."""

    finish_reason: str
    """How the text ended: `stop` where another turn was cut away, whatever came after it."""


def clean(text: str, finish_reason: str, *phrases: str) -> Cleaned:
    """The answer in what a model wrote after a prompt, and why not to use it.

    not_finite      the model's logits were not
    missing_stop    it was cut off by the limit of tokens before a next turn or an end of sequence
    marker_in_line  it began another turn in the middle of its first line, so that no whole line is left
    empty           nothing is left
    affix_in_text   it repeats one of the phrases in brackets, which would give the label away

    A marker of the assistant at the very beginning is taken off, and a rule at the end (`chat.RULES`); of a text with
    another turn in it whole lines before the turn are kept, or with `marker_in_line` the words before it. The released
    code looks for the *word* "Human", which an ordinary sentence may hold; here it is the marker of a turn.
    """
    if finish_reason == "error":
        return Cleaned("", "not_finite", finish_reason)
    stray = _STRAY.match(text)
    body = text[stray.end() :] if stray else text
    turn = _MARKER.search(body)
    if not turn and finish_reason == "length":
        return Cleaned(body.strip(), "missing_stop", finish_reason)
    if turn:
        finish_reason = "stop"
        before, newline, _ = body[: turn.start()].rpartition("\n")
        if not newline and body[: turn.start()].strip():
            return Cleaned(body[: turn.start()].strip(), "marker_in_line", finish_reason)
        body = before
    body = chat.RULES.sub("", body)
    if not body.strip():
        return Cleaned("", "empty", finish_reason)
    if any(phrase and f"({phrase})" in body for phrase in phrases):
        return Cleaned(body.strip(), "affix_in_text", finish_reason)
    return Cleaned(body.strip(), None, finish_reason)
