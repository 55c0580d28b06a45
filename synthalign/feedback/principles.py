"""Principles by which a model judges, and how it is asked: RLAIF's prompt, which ends where the option's letter comes.

template: |-
  Principle: {principle}

  Question: {question}
  ...
  The better answer is (
options: [A, B]
tasks:
  harmless: [Choose the answer that ..., ...]

A file's tasks are those of the file of affixes beside it, principle by principle (RLCD section 4; Bai et al. 2022,
"Constitutional AI", section 4.1).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.dialogue import chat
from synthalign.dialogue.chat import Message

_PLACE = re.compile(r"\{(\w+)\}")
_NEEDED = {"principle", "a", "b"}
_SUBJECT = {"question", "dialogue"}


class Principles(BaseModel, frozen=True, extra="forbid", strict=True):
    template: str
    """The question put to the labeller: {principle}, {a}, {b}, and {question} (the last user message) or {dialogue}."""

    options: list[str] = Field(min_length=2, max_length=2)
    """What the labeller writes next for the first and for the second answer."""

    tasks: dict[str, list[str]]
    """The principles of every task."""

    @field_validator("template")
    @classmethod
    def _has_its_places(cls, template: str) -> str:
        places = set(_PLACE.findall(template))
        if not places >= _NEEDED or not places & _SUBJECT or places - _NEEDED - _SUBJECT:
            raise ValueError("allowed and needed: {principle}, {a}, {b}, and one of {question} and {dialogue}")
        return template

    def prompt(self, principle: str, messages: Sequence[Message], a: str, b: str) -> str:
        """What the labeller continues with an option; what stands in the answers is never taken for a place."""
        values = {
            "principle": principle,
            "question": messages[-1]["content"].strip(),
            "dialogue": chat.dialogue(messages),
            "a": a.strip(),
            "b": b.strip(),
        }
        return _PLACE.sub(lambda place: values[place[1]], self.template)

    def of(self, task: str, file: str) -> list[str]:
        """The principles of a task; UserError when the file has no such task, or nothing in it."""
        if not self.tasks.get(task):
            raise UserError(f"{file}: has no principles for the task {task!r}; it has {', '.join(self.tasks)}")
        return self.tasks[task]


def load(file: str | Path) -> Principles:
    """A file of principles; UserError with all that is wrong with it."""
    return yaml_file.read(file, Principles, example="data/general/principles.yaml")


def at(principles: Sequence[str], index: int, file: str) -> str:
    """The principle in a place, which a pair names by its index; UserError when there is none."""
    if not 0 <= index < len(principles):
        raise UserError(
            f"{file}: a pair has principle {index + 1}, but there are {len(principles)}; "
            "a task needs a principle for each of its affix pairs, in the same order"
        )
    return principles[index]
