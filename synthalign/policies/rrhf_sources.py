"""Whose responses RRHF ranks: the policy's own, those that others wrote, or both to one query (Yuan et al. 2023, 3.1).

own      four samples of the policy                  ranked by the reward less the price of distance
others   the answers of another model, with rewards  as they are; cut off, never the better of two
mixed    own, and of others the best, which is the demonstration, and the worst: the paper's four and two
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from synthalign.core.errors import UserError
from synthalign.dialogue import chat, encoding, endings
from synthalign.policies.answering import Answer, Row
from synthalign.policies.prompting import Prompt
from synthalign.reward import scoring

SAMPLES = pa.schema(
    [
        ("round", pa.int32()),
        ("query_id", pa.string()),
        ("sample_index", pa.int32()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("reward", pa.float64()),
        ("kl", pa.float64()),
        ("rank_reward", pa.float64()),
    ]
)
"""What was learned from; kl (nats, of one answer) is NULL where the policy did not write it."""


class Query(NamedTuple):
    """A query with its responses, as tokens, and what ranks them."""

    prompt: list[int]
    responses: list[list[int]]
    rewards: list[float]
    whole: list[bool]
    """Whether the response ended: one that did not is never a target and never the better of two."""


def usable(rows: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """The responses that can be ranked, and how many were left out for which reason.

    rows  {query_id, text, reward} each

    A reward that is missing or no number ranks nothing, an empty text teaches nothing, and a response that the query
    already has would count twice.
    """
    kept: list[Row] = []
    seen: set[tuple[str, str]] = set()
    dropped = {"without_reward": 0, "empty": 0, "repeated": 0}
    for row in rows:
        key = (row["query_id"], row["text"].strip())
        if row["reward"] is None or not math.isfinite(row["reward"]):
            dropped["without_reward"] += 1
        elif not key[1]:
            dropped["empty"] += 1
        elif key in seen:
            dropped["repeated"] += 1
        else:
            seen.add(key)
            kept.append(row)
    return kept, dropped


class Others(NamedTuple):
    """What others answered to a query: as it is ranked, and as rows of `SAMPLES`."""

    query: Query
    rows: list[Row]


def from_table(rows: Sequence[Row], prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase) -> dict[str, Query]:
    """The queries of rows {query_id, text, finish_reason, reward} that others wrote, by id in the order of `prompts`;
    only those that have a prompt there.

    A response that was cut off has no end-of-sequence token. UserError when none is left.
    """
    by_query: dict[str, list[Row]] = {}
    for row in rows:
        by_query.setdefault(row["query_id"], []).append(row)
    found = {}
    for prompt in prompts:
        mine = by_query.get(prompt.query_id, [])
        said = {"role": "user", "content": prompt.question}
        whole = [endings.is_whole(row["finish_reason"]) for row in mine]
        dialogues = [[said, {"role": "assistant", "content": row["text"]}] for row in mine]
        responses = [answer for _, answer in encoding.encode(tokenizer, dialogues, whole)]
        if mine:
            found[prompt.query_id] = Query(prompt.token_ids, responses, [row["reward"] for row in mine], whole)
    if not found:
        raise UserError(f"none of {len(rows)} responses answers one of {len(prompts)} training queries with a reward")
    return found


def extremes(rows: Sequence[Row]) -> list[Row]:
    """Of each query's responses {query_id, finish_reason, reward, …} the best, which is the highest reward among those
    that ended, as `simulation.best` has it, and the one with the lowest reward; the first of equals, in this order; one
    where there is one.

    In the paper's data they are the response that people preferred and the other one. Where none ended, none of them
    can be a target, and the highest reward of all is taken.
    """
    by_query: dict[str, list[Row]] = {}
    for row in rows:
        by_query.setdefault(row["query_id"], []).append(row)
    found = []
    for given in by_query.values():
        ended = [row for row in given if endings.is_whole(row["finish_reason"])]
        best = max(ended or given, key=lambda row: row["reward"])
        worst = min(given, key=lambda row: row["reward"])
        found += [best] if worst is best else [best, worst]
    return found


def own(answers: Sequence[Sequence[Answer]], rank_rewards: Sequence[Sequence[float]]) -> list[Query]:
    """Queries of the policy's own answers, the tokens as they were sampled; an answer counts once.

    Of an answer that ran into another turn the marker is kept, as that is what has to become less likely: it is only
    ever the worse of two.
    """
    found = []
    for given, rewards in zip(answers, rank_rewards, strict=True):
        once: dict[tuple[int, ...], tuple[float, bool]] = {}
        for one, reward in zip(given, rewards, strict=True):
            once.setdefault(tuple(one.token_ids), (reward, one.is_complete))
        rewards_of, whole = map(list, zip(*once.values(), strict=True))
        found.append(Query(given[0].prompt.token_ids, [list(tokens) for tokens in once], rewards_of, whole))
    return found


def beside(
    rows: Sequence[Row],
    prompts: Sequence[Prompt],
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    after: int,
) -> dict[str, Others]:
    """What others wrote, {query_id, text, finish_reason}, by query, with the rewards of the model that ranks the
    policy's own answers; in the table it comes `after` so many of those.

    UserError when none answers one of the prompts.
    """
    question = {prompt.query_id: prompt.question for prompt in prompts}
    mine = [row for row in rows if row["query_id"] in question]
    dialogues = [
        [{"role": "user", "content": question[row["query_id"]]}, {"role": "assistant", "content": row["text"]}]
        for row in mine
    ]
    rewards = scoring.score(reward_model, tokenizer, dialogues) if mine else []
    mine = [row | {"reward": reward} for row, reward in zip(mine, rewards, strict=True)]
    found = {query_id: Others(query, []) for query_id, query in from_table(mine, prompts, tokenizer).items()}
    for row in table([row | {"sample_index": after} for row in mine], tokenizer):
        known = found[row["query_id"]].rows
        known.append(row | {"sample_index": after + len(known)})
    return found


class Ranked(NamedTuple):
    """What others wrote as RRHF takes it: `given` in the place of the policy's own answers, or `others` beside them."""

    given: list[Query] | None = None
    others: dict[str, Others] | None = None
    samples: Sequence[Row] = ()
    """`given` as rows of `SAMPLES`; others come into the table with the policy's own."""

    dropped: Mapping[str, int] = {}
    """How many responses were left out, by reason."""


def of_candidates(
    candidates: Sequence[Row],
    source: Literal["candidates", "mixed"],
    prompts: Sequence[Prompt],
    reward_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    after: int,
    file: str,
) -> Ranked:
    """The candidates of the first turn, all of them in the place of the policy's own answers or, mixed, the best and
    the worst of each query `after` so many of those.

    UserError, which begins with `file`, when none answers one of the prompts.
    """
    rows, dropped = usable([row for row in candidates if row["turn"] == 1])
    try:
        if source == "candidates":
            given = [*from_table(rows, prompts, tokenizer).values()]
            return Ranked(given, samples=table(rows, tokenizer), dropped=dropped)
        others = beside(extremes(rows), prompts, reward_model, tokenizer, after=after)
        return Ranked(others=others, dropped=dropped)
    except UserError as error:
        raise UserError(
            f"{file}: {error}; look at simulate_demonstrations, or at what was dropped: {dropped}"
        ) from error


def joined(queries: Sequence[Query], others: Sequence[Query | None]) -> list[Query]:
    """Each query with the responses of both, its own first; a response that both have is there once."""
    found = []
    for mine, other in zip(queries, others, strict=True):
        given = [*zip(*other[1:], strict=True)] if other else []
        new = [one for one in given if one[0] not in mine.responses]
        both = [*zip(*mine[1:], strict=True), *new]
        found.append(Query(mine.prompt, *map(list, zip(*both, strict=True))))
    return found


def table(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """Responses that others wrote, {query_id, sample_index, text, finish_reason, reward}, as rows of `SAMPLES`."""
    begin = len(encoding.opening(tokenizer))
    texts = encoding.tokenize(tokenizer, [chat.completion(row["text"]) for row in rows])
    return [
        {
            "round": 0,
            **{name: row[name] for name in ("query_id", "sample_index", "text", "finish_reason", "reward")},
            # as after "Assistant:", with its end of sequence
            "tokens": len(tokens) - begin + endings.is_whole(row["finish_reason"]),
            "kl": None,
            "rank_reward": row["reward"],
        }
        for row, tokens in zip(rows, texts, strict=True)
    ]
