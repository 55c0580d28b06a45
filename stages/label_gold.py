"""Label the raw pairs by an oracle, or bring in human preferences: what the best possible feedback would give.

The only training table that an oracle touches; the reward model trained on it is the upper bound of the others.
"""

from collections import Counter
from pathlib import Path

from pydantic import BaseModel, Field

from synthalign.core import stage, tables
from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.feedback import comparisons, human_pairs
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle labels the pairs of comparisons/no_filter; null where there is none."""

    human_pairs: str | None = Field(min_length=1)
    """Where there is no oracle: a file of people's preferences, rows of prompt, chosen and rejected, each a text or a
    list of messages, in the layouts of docs/data.md."""


def labelled(comparison: Row, oracle: Oracle) -> tuple[Row, str | None]:
    """The comparison as the oracle prefers it, and why not to use it (None: use it)."""
    question = comparisons.text_of(comparison["prompt"])
    chosen = oracle.score(question, comparisons.text_of(comparison["chosen"]))
    rejected = oracle.score(question, comparisons.text_of(comparison["rejected"]))
    row = comparison | {"feedback": "gold"}
    if chosen is None or rejected is None:
        return row, "unjudged"
    if chosen.total == rejected.total:
        return row, "tie"
    return (row if chosen.total > rejected.total else comparisons.swapped(row)), None


def main(params: Params) -> None:
    left_out: Counter[str] = Counter()
    if params.oracle is not None:
        oracle = Oracle.load(params.oracle)
        judged = [labelled(comparison, oracle) for comparison in tables.rows("comparisons/no_filter")]
    elif params.human_pairs is not None:
        rows, left_out = human_pairs.load(Path(params.human_pairs), feedback="gold")
        judged = [(row, None) for row in rows]
    else:
        raise UserError(
            "neither `oracle` nor `human_pairs` is set, so there is nothing to label with; set `human_pairs` to a file "
            "of prompt, chosen and rejected, or take this stage and its reward model out of the run"
        )

    kept = [row for row, reason in judged if reason is None]
    dropped = [row | {"drop_reason": reason} for row, reason in judged if reason is not None]
    if not kept:
        reasons = "".join(f"; {count} left out, {reason}" for reason, count in left_out.items())
        given = len(judged) + left_out.total()
        raise UserError(f"none of the {given} pairs of {params.oracle or params.human_pairs} has a preference{reasons}")

    tables.write(kept, "comparisons/gold", key="comparison_id", schema=comparisons.SCHEMA)
    tables.write(dropped, "comparisons_dropped/gold", key="comparison_id", schema=comparisons.DROPPED_SCHEMA)
    unusable = {"left_out": dict(left_out)} if left_out else {}
    stage.write_metrics("label_gold", dropped=len(dropped), **unusable, **comparisons.summary(kept))


if __name__ == "__main__":
    stage.run(main, "label_gold", Params)
