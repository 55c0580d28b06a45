"""Ask the oracle, or people's reward model, whether the best of n by reward is better, or only longer."""

from statistics import fmean
from typing import Any

from pydantic import BaseModel, Field

from synthalign.core import measures, stage, tables
from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.feedback import simulation
from synthalign.feedback.simulation import Said
from synthalign.judging.verdicts import Oracle as Judge
from world.oracle import Oracle


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    seed: int = Field(ge=0)
    """Of the bootstrap."""

    oracle: str | None = Field(min_length=1)
    """The folder of the world whose oracle judges; null where there is none."""

    people: str | None = Field(min_length=1)
    """Where there is no oracle: the folder of the reward model trained on people's pairs, which judges; null for none,
    and then nothing is measured."""

    guide: str = Field(min_length=1)
    """The candidates to look at: those of which `simulate_demonstrations` kept the best by this guide."""


def first_turns(guide: str, oracle: Judge) -> dict[str, list[Row]]:
    """The candidates for the first answer to every query, where the oracle can judge them, with their points."""
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries")}
    rows = tables.rows(f"candidates/{guide}")
    if not rows:
        raise UserError(f"{tables.path(f'candidates/{guide}')} has no rows, so there is no curve to draw")
    first = min(row["turn"] for row in rows)
    found: dict[str, list[Row]] = {}
    for row in rows:
        scores = oracle.score(questions[row["query_id"]], row["text"]) if row["turn"] == first else None
        if scores is not None:
            found.setdefault(row["query_id"], []).append(row | {"total": scores.total})
    return found


def main(params: Params) -> None:
    if not stage.is_main_process():
        return
    if params.oracle is not None:
        found = figures(params, Oracle.load(params.oracle))
        stage.write_metrics("score_candidates", **found)
        stage.write_metrics("plots/best_of_n", best_of_n=found["curve"])
        return
    of_people = {}
    if params.people is not None:
        from synthalign.judging import people_model  # with torch, which an oracle does not need

        questions = {row["query_id"]: row["text"] for row in tables.rows("queries")}
        asked = people_model.answered(tables.rows(f"candidates/{params.guide}"), questions, "query_id")
        of_people["people"] = figures(params, people_model.PeopleModel.reading(params.people, asked))
    stage.write_metrics("score_candidates", **of_people)
    stage.write_metrics("plots/best_of_n")


def figures(params: Params, oracle: Judge) -> dict[str, Any]:
    """What a judge says of the best of n for every n, and of what is gained by choosing."""
    candidates = first_turns(params.guide, oracle)
    most = max(map(len, candidates.values()), default=0)
    full = {query: rows for query, rows in candidates.items() if len(rows) == most}
    if most < 1 or any(row["reward"] is None for rows in full.values() for row in rows):
        raise UserError(f"{tables.path(f'candidates/{params.guide}')}: candidates without a reward or known question")

    def best(order_by: str, worth: str, n: int) -> dict[str, float]:
        """What the best of n candidates is worth, for every query, chosen as RMSP chooses what is said."""
        return {
            query: measures.expected_best(
                [simulation.worth(Said(row["text"], row["finish_reason"]), row[order_by]) for row in rows],
                [row[worth] for row in rows],
                n,
            )
            for query, rows in full.items()
        }

    for rows in full.values():
        for row in rows:
            row["characters"] = len(row["text"])
    curve = []
    for n in range(1, most + 1):
        oracle_mean = measures.mean(best("reward", "total", n), seed=params.seed).metrics()
        point = oracle_mean | {"reward": round(fmean(best("reward", "reward", n).values()), 6)}
        point |= {"longest": round(fmean(best("characters", "total", n).values()), 6)}
        point |= {"oracle_pick": round(fmean(best("total", "total", n).values()), 6)}
        curve.append(point | {"characters": round(fmean(best("reward", "characters", n).values()), 3)})
    picks = [best("reward", "total", n) for n in range(1, most + 1)]
    steps = [
        {"candidates": n} | measures.difference(more, fewer, seed=params.seed).metrics()
        for n, (fewer, more) in enumerate(zip(picks, picks[1:], strict=False), start=2)
    ]
    one, last = picks[0], picks[-1]
    gain = measures.difference(last, one, seed=params.seed).metrics()
    over_longest = measures.difference(last, best("characters", "total", most), seed=params.seed).metrics()

    points = [{"candidates": n} | point for n, point in enumerate(curve, start=1)]
    found = {"queries": len(full), "candidates": most, "curve": points, "steps": steps, "gain": gain}
    return found | {"minus_longest": over_longest}


if __name__ == "__main__":
    stage.run(main, "score_candidates", Params)
