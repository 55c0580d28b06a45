"""Context distillation: answers written with a prompt become demonstrations without it.

What a phrase or a few-shot prompt brought out, a model fine-tuned on them (`train_sft`) does by itself."""

from collections import Counter
from typing import NamedTuple

from pydantic import BaseModel, Field

from synthalign.core import stage, tables
from synthalign.core.errors import UserError
from synthalign.core.ids import content_id
from synthalign.core.tables import Row
from synthalign.dialogue import endings
from synthalign.dialogue.chat import Message
from synthalign.feedback import comparisons, contrast, simulation


class Source(BaseModel, frozen=True, extra="forbid", strict=True):
    table: str = Field(min_length=1)
    """comparisons/<name>, whose chosen answers are taken (RLCD's o+), or responses/<configuration>."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    sources: dict[str, Source]
    """The members of the family by name."""

    max_demonstrations: int = Field(gt=0)
    """At most so many, drawn by a hash of their content."""


class Answered(NamedTuple):
    """A dialogue that ends with an answer, how that ended, and why not to use it (None: use it)."""

    query: str
    messages: list[Message]
    finish_reason: str | None
    reason: str | None


def of_comparison(row: Row) -> Answered:
    """The bare prompt with the chosen answer: those of RLCD are clean, others may be cut off."""
    ended = endings.is_whole(row["chosen_finish_reason"])
    messages = [*row["prompt"], *row["chosen"]]
    return Answered(row["query_id"], messages, row["chosen_finish_reason"], None if ended else "missing_stop")


def of_response(row: Row, questions: dict[str, str]) -> Answered:
    """The question with the response, by the rules of RLCD's own answers."""
    cleaned = contrast.clean(row["text"], row["finish_reason"])
    messages = [{"role": "user", "content": questions[row["query_id"]]}, {"role": "assistant", "content": cleaned.text}]
    return Answered(row["query_id"], messages, cleaned.finish_reason, cleaned.reason)


def main(params: Params, name: str) -> None:
    table = stage.member("distill_context", "source", params.sources, name).table
    if table.startswith("comparisons/"):
        found = [of_comparison(row) for row in tables.rows(table)]
    elif table.startswith("responses/"):
        questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "train"}
        found = [of_response(row, questions) for row in tables.rows(table) if row["query_id"] in questions]
    else:
        raise UserError(f"distill_context.sources.{name}: table = {table!r}; allowed: comparisons/… and responses/…")

    rows: list[Row] = [
        {
            "demonstration_id": content_id(
                "demonstration", name, one.query, *(message["content"] for message in one.messages)
            ),
            "query_id": one.query,
            "messages": one.messages,
            "finish_reason": one.finish_reason,
            "reward": None,
            "taught": 1,  # answers of earlier turns were brought, and not written with the prompt
        }
        for one in found
        if one.reason is None
    ]
    rows = sorted({row["demonstration_id"]: row for row in rows}.values(), key=lambda row: row["demonstration_id"])
    rows = rows[: params.max_demonstrations]
    if not rows:
        raise UserError(f"{tables.path(table)}: none of {len(found)} answers to training queries may be used")

    tables.write(rows, f"demonstrations/{name}", key="demonstration_id", schema=simulation.DEMONSTRATIONS)
    lengths = [len(comparisons.text_of(row["messages"])) for row in rows]
    stage.write_metrics(
        f"distill_context/{name}",
        demonstrations=len(rows),
        characters=round(sum(lengths) / len(lengths), 3),
        rejected=dict(Counter(one.reason for one in found if one.reason is not None)),
    )


if __name__ == "__main__":
    stage.run(main, "distill_context", Params)
