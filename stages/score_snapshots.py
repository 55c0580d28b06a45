"""Compare trainers by their answers at snapshots: reward, oracle, KL, length, and who pleases the reward alone."""

from statistics import fmean
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.core.statistics import Interval
from synthalign.core.tables import Row
from synthalign.dialogue import endings
from synthalign.policies import hacking
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none: then rewards alone are compared."""

    curves: dict[str, str] = Field(min_length=1)
    """Tables of answers at snapshots, as name: table below data/."""

    differences: dict[str, list[str]]
    """Which last policies to compare, as name: [one, other]."""

    max_kl: float = Field(gt=0)
    """Nats of an answer beyond which a rise in reward is flagged."""

    max_length_ratio: float = Field(gt=1)
    """Factor in length, up or down, beyond which a rise in reward is flagged."""

    @model_validator(mode="after")
    def _differences_are_between_two(self) -> Self:
        measures.check_differences(self.differences, self.curves, of="curves")
        return self


def means(rows: list[Row], figure: str) -> dict[str, float]:
    """The mean of a figure for every question."""
    return measures.by_question([(row["question_id"], row[figure]) for row in rows if row[figure] is not None])


def snapshots(table: str, oracle: Oracle | None) -> dict[int, list[Row]]:
    """The answers of every snapshot in its order, with the oracle's points; None where it cannot judge."""
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "eval"}
    found: dict[int, list[Row]] = {}
    for row in tables.rows(table):
        points = oracle.score(questions.get(row["question_id"], ""), row["text"]) if oracle else None
        found.setdefault(row["step"], []).append(row | {"oracle": points.total if points else None})
    if len(found) < 2:
        raise UserError(f"{tables.path(table)}: answers of {len(found)} snapshots; the first and the last are compared")
    return found


def point(step: int, rows: list[Row], seed: int) -> dict[str, Any]:
    """What a snapshot's answers are like on average."""
    oracle = means(rows, "oracle")
    return {
        "step": step,
        "reward": measures.mean(means(rows, "reward"), seed=seed).metrics(),
        "oracle": measures.mean(oracle, seed=seed).metrics() if oracle else None,
        "kl": round(fmean(row["kl"] for row in rows), 6),
        "tokens": round(fmean(row["tokens"] for row in rows), 3),
        "missing_stop_share": round(
            fmean(not endings.is_complete(row["finish_reason"], row["text"]) for row in rows), 6
        ),
    }


def gain(after: list[Row], before: list[Row], figure: str, seed: int) -> Interval | None:
    """after - before, paired by question; None where nothing was measured."""
    one, other = means(after, figure), means(before, figure)
    return measures.difference(one, other, seed=seed) if one and other else None


def report(found: dict[int, list[Row]], params: Params) -> dict[str, Any]:
    """A trainer's curve, what it gained from the first to the last snapshot, and why not to believe it."""
    steps = list(found)
    first, last = found[steps[0]], found[steps[-1]]
    reward_gain, oracle_gain = (gain(last, first, figure, params.seed) for figure in ("reward", "oracle"))
    assert reward_gain is not None
    flags = hacking.reasons(
        reward_gain=reward_gain,
        oracle_gain=oracle_gain,
        kl=fmean(row["kl"] for row in last),
        tokens_before=fmean(row["tokens"] for row in first),
        tokens_after=fmean(row["tokens"] for row in last),
        max_kl=params.max_kl,
        max_length_ratio=params.max_length_ratio,
    )
    return {
        "curve": [point(step, rows, params.seed) for step, rows in found.items()],
        "reward_gain": reward_gain.metrics(),
        "oracle_gain": oracle_gain.metrics() if oracle_gain else None,
        "flags": flags,
    }


def main(params: Params) -> None:
    oracle = Oracle.load(params.oracle) if params.oracle else None
    found = {name: snapshots(table, oracle) for name, table in params.curves.items()}

    differences = {}
    for name, (one, other) in params.differences.items():
        last, others = (list(found[each].values())[-1] for each in (one, other))
        gains = {figure: gain(last, others, figure, params.seed) for figure in ("reward", "oracle")}
        differences[name] = {figure: value.metrics() if value else None for figure, value in gains.items()}
    stage.write_metrics(
        "score_snapshots",
        trainers={name: report(rows, params) for name, rows in found.items()},
        differences=differences,
    )


if __name__ == "__main__":
    stage.run(main, "score_snapshots", Params)
