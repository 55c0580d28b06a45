"""Constitutional critique and revision: a model says what is wrong with its answer, then writes a better one.

    Human: How can I rob the baker?

    Assistant: First make a secret plan and then do it.

    Critique Request: Say in which way the answer does harm.

    Critique: It helps to hurt someone.

    Revision Request: Write the answer again so that it does no harm.

    Revision: I am sorry, but I can not help you with that.

The revision takes the answer's place and the next step criticises it, by another principle.  Bai et al. 2022,
"Constitutional AI", section 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, Field

from synthalign.core import yaml_file
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.core.tables import Row
from synthalign.dialogue import chat
from synthalign.feedback import contrast

REVISIONS = pa.schema(
    [
        ("query_id", pa.string()),
        ("step", pa.int64()),
        ("principle", pa.int64()),
        ("critique", pa.string()),
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("reject_reason", pa.string()),
    ]
)
"""What was written at each step; step 0 is the answer, without a critique. A rejected revision was not gone on from."""


class Headings(BaseModel, frozen=True, extra="forbid", strict=True):
    """What stands before each part; a model that has never read such words does better with the dialogue's markers."""

    critique_request: str = Field(min_length=1)
    critique: str = Field(min_length=1)
    revision_request: str = Field(min_length=1)
    revision: str = Field(min_length=1)


class Principle(BaseModel, frozen=True, extra="forbid", strict=True):
    critique: str = Field(min_length=1)
    """Asks what is wrong with an answer."""

    revision: str = Field(min_length=1)
    """Asks for a better one; {question} stands for the question that was answered."""


class Example(BaseModel, frozen=True, extra="forbid", strict=True):
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    critique_request: str = Field(min_length=1)
    critique: str = Field(min_length=1)
    revision_request: str = Field(min_length=1)
    revision: str = Field(min_length=1)


class Constitution(BaseModel, frozen=True, extra="forbid", strict=True):
    headings: Headings

    principles: list[Principle] = Field(min_length=1)
    """One is drawn at every step."""

    examples: list[Example]
    """Shown before every critique and revision, so that a vanilla model does not mix the two up."""

    def prefix(self, shots: int, file: str) -> str:
        """The first `shots` examples; UserError for more than there are."""
        if shots > len(self.examples):
            raise UserError(f"{file}: shots = {shots}, but it has {len(self.examples)} examples; lower `shots`")
        return "".join(
            self.revision_prompt(one.question, one.answer, one.critique_request, one.critique, one.revision_request)
            + f" {one.revision.strip()}{chat.SEPARATOR}"
            for one in self.examples[:shots]
        )

    def critique_prompt(self, question: str, answer: str, request: str) -> str:
        """What the model continues with a critique."""
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        asked = f"{self.headings.critique_request} {request.strip()}"
        return chat.TURN.join([chat.dialogue(messages), asked, self.headings.critique])

    def revision_prompt(self, question: str, answer: str, critique_request: str, critique: str, request: str) -> str:
        """What the model continues with a revision."""
        before = self.critique_prompt(question, answer, critique_request)
        asked = f"{self.headings.revision_request} {request.replace('{question}', question).strip()}"
        return chat.TURN.join([f"{before} {critique.strip()}", asked, self.headings.revision])

    @property
    def stops(self) -> tuple[str, ...]:
        """Where a critique or a revision has gone too far."""
        headings = self.headings.model_dump().values()
        return tuple(dict.fromkeys([*contrast.STOPS, *(f"{chat.TURN}{heading}" for heading in headings)]))


def load(file: str | Path) -> Constitution:
    """A file of principles and examples; UserError with every wrong or missing key."""
    return yaml_file.read(file, Constitution, example="data/general/constitution.yaml")


@dataclass
class Draft:
    """The answer to one query as it stands, and everything that was written on the way."""

    query_id: str
    question: str
    answer: str
    rows: list[Row]

    def take(self, step: int, principle: int | None, critique: str | None, text: str, finish_reason: str) -> None:
        """Note what was written at a step; it becomes the answer unless there is a reason against it."""
        cleaned = contrast.clean(text, finish_reason)
        row = {"query_id": self.query_id, "step": step, "principle": principle, "critique": critique}
        row |= {"text": cleaned.text, "finish_reason": cleaned.finish_reason, "reject_reason": cleaned.reason}
        self.rows.append(row)
        if cleaned.reason is None:
            self.answer = cleaned.text


def demonstrations(drafts: Mapping[str, Draft], name: str) -> list[Row]:
    """A demonstration for every revision that was gone on from, of all steps; the first answers are none."""
    return [
        {
            "demonstration_id": content_id("demonstration", name, draft.query_id, row["step"], row["text"]),
            "query_id": draft.query_id,
            "messages": [
                {"role": "user", "content": draft.question},
                {"role": "assistant", "content": row["text"]},
            ],
            "finish_reason": row["finish_reason"],
            "reward": None,
            "taught": None,
        }
        for draft in drafts.values()
        for row in draft.rows
        if row["step"] > 0 and row["reject_reason"] is None
    ]


def answers_by_step(rows: list[Row], steps: int) -> dict[str, list[str]]:
    """The answer in force after each step, from step 0 on, of every query that had an answer to begin with."""
    by_query: dict[str, dict[int, Row]] = {}
    for row in rows:
        by_query.setdefault(row["query_id"], {})[row["step"]] = row
    found: dict[str, list[str]] = {}
    for query, written in by_query.items():
        if written[0]["reject_reason"] is not None:
            continue
        answers = [written[0]["text"]]
        for step in range(1, steps + 1):
            later = written.get(step)
            answers.append(later["text"] if later and later["reject_reason"] is None else answers[-1])
        found[query] = answers
    return found
