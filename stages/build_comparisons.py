"""Pair the responses to each training query by the rule of thumb, and say of every pair whether to learn from it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import itemgetter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator

from synthalign.core import stage, tables
from synthalign.core.errors import UserError
from synthalign.core.tables import Row
from synthalign.feedback import comparisons, filters
from synthalign.feedback.comparisons import Response

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

    @field_validator("ranking")
    @classmethod
    def _makes_pairs(cls, ranking: list[str | list[str]]) -> list[str | list[str]]:
        try:
            comparisons.ranks(ranking)
        except UserError as error:
            raise ValueError(str(error)) from error
        return ranking

    @field_validator("size_pairs")
    @classmethod
    def _are_of_two(cls, pairs: list[list[str]]) -> list[list[str]]:
        for larger, smaller in pairs:
            if larger == smaller:
                raise ValueError(f"{[larger, smaller]} is no pair; a pair is two configurations, [larger, smaller]")
        return pairs


def responses_by_query(
    ranking: Sequence[str | list[str]], queries: Sequence[str], *, min_characters: int
) -> dict[str, list[Response]]:
    """The responses of every ranked configuration to each of the queries, with their reject reasons."""
    found: dict[str, list[Response]] = {query: [] for query in queries}
    for config, rank in comparisons.ranks(ranking).items():
        answered = 0
        for row in tables.stream(f"responses/{config}", ["response_id", "query_id", "text", "finish_reason"]):
            if row["query_id"] in found:
                reason = filters.reject_reason(row["text"], min_characters=min_characters)
                given = Response(row["response_id"], config, rank, row["text"], reason, row["finish_reason"])
                found[row["query_id"]].append(given)
                answered += 1
        if not answered:
            raise UserError(
                f"{tables.path(f'responses/{config}')} answers no training query; sample its responses again"
            )
    return found


def kept(rows: Iterable[Row], dropped: Counter[str]) -> Iterator[Row]:
    """The rows to learn from; the reasons of the others are counted in `dropped`."""
    for row in rows:
        reason = row.pop("drop_reason")
        if reason is None:
            yield row
        else:
            dropped[reason] += 1


def main(params: Params) -> None:
    questions = {row["query_id"]: row["text"] for row in tables.rows("queries") if row["split"] == "train"}
    shortest = params.min_characters
    responses = responses_by_query(params.ranking, list(questions), min_characters=shortest)
    of_size = [responses_by_query(pair, list(questions), min_characters=shortest) for pair in params.size_pairs]

    def judged(feedback: str) -> Iterator[Row]:
        if feedback != "size":
            parts = VARIANTS[feedback]
            return comparisons.judged(responses, questions, feedback=feedback, mode=params.mode, **parts)
        return merge(
            *(comparisons.judged(one, questions, feedback="size", mode=params.mode, length=False) for one in of_size),
            key=itemgetter("comparison_id"),
        )

    dropped_size = (row for row in judged("size") if row["drop_reason"] is not None)
    for name, rows in (("comparisons_ranked", judged("heuristic")), ("comparisons_dropped/size", dropped_size)):
        tables.write_ordered(rows, name, key="comparison_id", schema=comparisons.DROPPED_SCHEMA)
    reasons = Counter(response.reject_reason for given in responses.values() for response in given)
    metrics: dict[str, Any] = {"responses": reasons.total()}
    metrics["rejected"] = {reason: number for reason, number in reasons.items() if reason is not None}
    for feedback in (*VARIANTS, "size"):
        name, dropped = f"comparisons/{feedback}", Counter[str]()
        pairs = tables.write_ordered(
            kept(judged(feedback), dropped), name, key="comparison_id", schema=comparisons.SCHEMA
        )
        if dropped and not pairs:
            raise UserError(
                f"none of the {dropped.total()} pairs is left for {name} ({dict(dropped)}); "
                "lower `min_characters`, or look at the responses"
            )
        considered = {"considered": pairs + dropped.total(), "dropped": dict(dropped)}
        read = tables.stream(name, ["query_id", "chosen", "rejected"])
        metrics[feedback] = comparisons.summary(read) | considered
    stage.write_metrics("build_comparisons", **metrics)


if __name__ == "__main__":
    stage.run(main, "build_comparisons", Params)
