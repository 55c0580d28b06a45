"""Pair the responses to each training query by the rule of thumb, and say of every pair whether to learn from it."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from synthalign import comparisons, filters, stage, tables
from synthalign.comparisons import Response
from synthalign.errors import UserError
from synthalign.tables import Row

VARIANTS = {
    "heuristic": {"keyword": True, "length": True},
    "no_filter": {"keyword": False, "length": False},
    "no_keyword": {"keyword": False, "length": True},
    "no_length": {"keyword": True, "length": False},
}
"""The filter, and the filter without its parts; the last three are there for the ablation."""


class Params(BaseModel, frozen=True, extra="forbid", strict=True):
    ranking: list[str | list[str]]
    """The configurations of `sample_responses`, the strongest first; those of a group in brackets are not compared."""

    mode: Literal["all_pairs", "adjacent"]
    """`all_pairs` as in the paper, or `adjacent`: every response is chosen at most once, as in the released code."""

    size_pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    """Configurations that differ in the size of the model alone, [larger, smaller] each: their responses are of one
    style, so a reward model has to find something else in them. Not compared with the others."""

    min_characters: int = Field(ge=0)
    """A response with fewer characters is taken for an accident (the paper's code: 50)."""


def responses_by_query(
    ranking: Sequence[str | list[str]], queries: Sequence[str], *, min_characters: int
) -> dict[str, list[Response]]:
    """The responses of every ranked configuration to each of the queries, with their reject reasons."""
    found: dict[str, list[Response]] = {query: [] for query in queries}
    for config, rank in comparisons.ranks(ranking).items():
        rows = [row for row in tables.rows(f"responses/{config}") if row["query_id"] in found]
        if not rows:
            raise UserError(
                f"{tables.path(f'responses/{config}')} answers no training query; sample its responses again"
            )
        for row in rows:
            reason = filters.reject_reason(row["text"], min_characters=min_characters)
            found[row["query_id"]].append(Response(row["response_id"], config, rank, row["text"], reason))
    return found


def main(params: Params) -> None:
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "train"}

    def responses_of(ranking: Sequence[str | list[str]]) -> dict[str, list[Response]]:
        return responses_by_query(ranking, list(questions), min_characters=params.min_characters)

    def judge(responses: dict[str, list[Response]], feedback: str, **parts: bool) -> list[Row]:
        return [
            comparisons.row(pair, query_id=query, question=questions[query], feedback=feedback)
            | {"drop_reason": pair.drop_reason}
            for query, given in responses.items()
            for pair in comparisons.ranked_pairs(given, mode=params.mode, **parts)
        ]

    responses = responses_of(params.ranking)
    judged = {feedback: judge(responses, feedback, **parts) for feedback, parts in VARIANTS.items()}
    judged["size"] = [
        row for pair in params.size_pairs for row in judge(responses_of(pair), "size", keyword=True, length=False)
    ]

    tables.write(judged["heuristic"], "comparisons_ranked", key="comparison_id", schema=comparisons.DROPPED_SCHEMA)
    reasons = [response.reject_reason for given in responses.values() for response in given]
    metrics: dict[str, Any] = {"responses": len(reasons), "rejected": dict(Counter(filter(None, reasons)))}
    for feedback, rows in judged.items():
        kept = [{name: row[name] for name in comparisons.SCHEMA.names} for row in rows if row["drop_reason"] is None]
        dropped = Counter(row["drop_reason"] for row in rows if row["drop_reason"] is not None)
        if rows and not kept:
            raise UserError(
                f"none of the {len(rows)} pairs is left for comparisons/{feedback} ({dict(dropped)}); "
                "lower `min_characters`, or look at the responses"
            )
        tables.write(kept, f"comparisons/{feedback}", key="comparison_id", schema=comparisons.SCHEMA)
        metrics[feedback] = comparisons.summary(kept) | {"considered": len(rows), "dropped": dict(dropped)}
    stage.write_metrics("build_comparisons", **metrics)


if __name__ == "__main__":
    stage.run(main, "build_comparisons", Params)
