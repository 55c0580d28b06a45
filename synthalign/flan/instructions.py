"""Instruction data: tasks with inputs and targets, some with the reasoning that leads to the target.

A file of them is Parquet or JSON lines with the columns

    task       a task's name                                      required
    input      what is asked, without exemplars or instructions   required
    target     the answer alone                                   required
    family     what kind of task it is; the task's name if left out
    rationale  the reasoning that ends in the target; null or left out for a task without
    options    all answers to choose from; null or left out where the answer is free

Options that the input does not show are listed below it in a second wording, so that a mixture has rows with them and
without, as many (Longpre et al. 2023), and an evaluation always shows them.

    {"task": "animal_colour", "input": "What colour is the red fox?", "target": "red"}
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from synthalign.core import row_file
from synthalign.core.errors import UserError, each
from synthalign.core.ids import content_id

REQUIRED, OPTIONAL = ("task", "input", "target"), ("family", "rationale", "options")


@dataclass(frozen=True)
class Example:
    """One instance of a task.

    asks       wordings of the same question; a file has one, and a second one with its options
    target     the right answer
    rationale  the reasoning that leads to it; None for a task without
    options    all answers to choose from, the right one among them; empty where the answer is free
    kind       how an answer looks, for the instruction that asks for it: a key of templates.DIRECT; of a file, "text"
    accepted   other right answers, for the evaluation alone
    """

    task: str
    family: str
    asks: tuple[str, ...]
    target: str
    rationale: str | None = None
    options: tuple[str, ...] = ()
    kind: str = "text"
    accepted: tuple[str, ...] = ()

    @cached_property
    def example_id(self) -> str:
        """Of its content alone."""
        return content_id(self.task, self.asks[0], self.target)

    def shown(self) -> list[int]:
        """The places of the wordings in which all options stand; of all of them where none has them, or none are."""
        return [at for at, ask in enumerate(self.asks) if shows(ask, self.options)] or list(range(len(self.asks)))


def load(file: Path) -> list[Example]:
    """The examples of a .parquet or .jsonl file; UserError names the file and the rows that are none."""
    if file.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"{file}: instruction data are a .parquet or a .jsonl file")
    given = row_file.rows(file, "example", step="fetch it, or set its key in params.yaml to null")
    examples = each(given, lambda one: example(one[1], one[0]))
    if not examples:
        raise UserError(f"{file}: no examples; every row needs {', '.join(REQUIRED)}")
    return examples


def example(row: Any, place: str) -> Example:
    """One row as an example; UserError, with `place`, when it is none."""
    if not isinstance(row, Mapping):
        raise UserError(f"{place}: {str(row)[:60]!r} is no object with {', '.join(REQUIRED)}")
    for key in row:
        if key not in REQUIRED + OPTIONAL:
            raise UserError(f"{place}: unknown column {key!r}; allowed: {', '.join(REQUIRED + OPTIONAL)}")
    for key in REQUIRED:
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise UserError(f"{place}: {key} is {row.get(key)!r}; every row needs a text there")
    for key in ("family", "rationale"):
        if row.get(key) is not None and (not isinstance(row[key], str) or not row[key].strip()):
            raise UserError(f"{place}: {key} is {row[key]!r}; it is a text, null, or left out")
    options = row.get("options")
    if options is not None and not (isinstance(options, list) and all(isinstance(one, str) for one in options)):
        raise UserError(f"{place}: options is {options!r}; it is a list of texts, null, or left out")
    target, answers = row["target"].strip(), [one.strip() for one in options or ()]
    if len(answers) == 1:
        raise UserError(f"{place}: options is {options!r}; name two or more to choose from, or leave it out")
    if answers and (target not in answers or len(set(answers)) != len(answers)):
        raise UserError(f"{place}: options is {options!r}; it needs each answer once, {target!r} too")
    asked = row["input"].strip()
    listed = "\n".join([f"{asked}\n\nOptions:", *(f"- {one}" for one in answers)])
    return Example(
        task=row["task"],
        family=row.get("family") or row["task"],
        asks=(asked,) if shows(asked, answers) else (asked, listed),
        target=target,
        rationale=row.get("rationale"),
        options=tuple(answers),
    )


def shows(ask: str, options: Sequence[str]) -> bool:
    """Whether every option stands in a question, as words of its own; without options, yes."""
    return all(re.search(rf"(?<!\w){re.escape(option)}(?!\w)", ask) for option in options)


def folded(examples: Sequence[Example]) -> list[Example]:
    """One example for each question, the first; the targets of the others are right answers too."""
    found: dict[str, Example] = {}
    for one in examples:
        first = found.setdefault(one.asks[0], one)
        if one.target != first.target:
            found[one.asks[0]] = replace(first, accepted=(*first.accepted, one.target))
    return list(found.values())


def by_task(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """The examples of each task, each once, in the order of their ids."""
    tasks: dict[str, dict[str, Example]] = {}
    for one in examples:
        tasks.setdefault(one.task, {})[one.example_id] = one
    return {task: [found[key] for key in sorted(found)] for task, found in tasks.items()}
