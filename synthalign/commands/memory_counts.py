"""How many rows and tokens the stages of a profile have, from its files; None where one is not there yet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthalign.core.errors import UserError
from synthalign.dialogue import demonstrations

CHARACTERS = 4
"""Characters that a token of a few-shot prefix is taken to have."""


def queries(params: Mapping[str, Any], splits: Sequence[str]) -> int | None:
    """At most so many queries of these splits: seeds and what is mined to train on, and the evaluation questions.

    None where their file is not there yet.
    """
    section = params["mine_queries"]
    seeds, questions = lines(section["seed_queries"]), lines(section["eval_questions"])
    found = {"train": None if seeds is None else seeds + section["target"], "eval": questions}
    counts = [count for split in splits if (count := found[split]) is not None]
    return sum(counts) if len(counts) == len(splits) else None


def lines(file: str) -> int | None:
    """How many lines of a file have something in them; None where it is not there yet."""
    path = Path(file)
    return sum(bool(line.strip()) for line in path.read_text("utf-8").splitlines()) if path.is_file() else None


def times(count: int | None, each: int) -> int | None:
    return None if count is None else count * each


def least(*counts: int | None) -> int | None:
    """The smallest of those that are known."""
    return min((count for count in counts if count is not None), default=None)


def most(*counts: int | None) -> int | None:
    """The largest; None where one is not known."""
    known = [count for count in counts if count is not None]
    return max(known) if len(known) == len(counts) else None


def held_rows(rows: int, most: int | None) -> int:
    """As `training.held_rows`, which needs torch: the largest number up to `most` that divides the rows."""
    return max(size for size in range(1, min(rows, most or rows) + 1) if rows % size == 0)


def prefix_tokens(file: str | None, shots: int) -> int:
    """About how many tokens a few-shot prefix has; 0 where its file is not there yet."""
    try:
        return len(demonstrations.prefix(file, shots)) // CHARACTERS if file else 0
    except UserError:
        return 0
